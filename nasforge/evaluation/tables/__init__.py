"""Tabular benchmarks: every network of a small space with what it scored, so that a strategy can be judged in seconds.

A table is a csv file (plain or gzipped) of one line per network: columns that say which network, and numeric columns. Which network:
either `arch`, the strings of NAS-Bench-201 (Dong & Yang 2020), read as choices of the packaged space `cell`; or one column per domain
of the space in the yaml file of the same name beside it, as `benchmarks/make_table.py` writes them. The json file of NAS-Bench-Macro and
the json lines of NAS-Bench-NLP are read as they are (`nasbench_macro` and `nasbench_nlp` beside this file).
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nasforge.errors import UserError, nearest
from nasforge.evaluation.tables.nasbench_macro import USUAL as MACRO_COLUMNS
from nasforge.evaluation.tables.nasbench_macro import macro_rows
from nasforge.evaluation.tables.nasbench_nlp import USUAL as RECURRENT_COLUMNS
from nasforge.evaluation.tables.nasbench_nlp import is_recurrent, recurrent_rows
from nasforge.files import content, unpacked
from nasforge.networks.build import key
from nasforge.spaces.choosers import replay
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.files import find_space, read
from nasforge.spaces.space import Choices, Space

OURS = Path(__file__).resolve().parent / "digits_table.csv.gz"
OUR_COLUMNS = ("val", "test")  # selected, reported
THEIR_COLUMNS = ("c10_valid_e12", "c10_test_e200")  # of a table of NAS-Bench-201
_NODE = re.compile(r"\|(?:\w+~\d\|)+")
_EDGE = re.compile(r"(\w+)~(\d)")

Row = tuple[tuple[str, Scalar], ...]  # choices, ordered by name


class Table:
    """What every network of a space scored: `evaluate(choices, column)`.

    usual: the columns that are selected and reported if none is named. minimize: whether less is better in its columns. An infinite
    number is a training that failed, a NaN one that the table does not hold.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        rows: Mapping[Row, int],
        columns: Mapping[str, Sequence[float]],
        usual: tuple[str, str] = OUR_COLUMNS,
        minimize: bool = False,
    ) -> None:
        self.name, self.space, self.rows, self.columns, self.usual, self.minimize = name, space, rows, columns, usual, minimize
        self._keys: dict[Row, str] = {}

    def column(self, name: str, option: str = "column") -> Sequence[float]:
        """The numbers of a column, NaN where the file has none. Raises UserError for another name."""
        if name not in self.columns:
            raise UserError(f"{option} {name}: {self.name} has no such numeric column; {nearest(name, self.columns)}")
        return self.columns[name]

    def best(self, name: str) -> float:
        """The best number of a column."""
        return (min if self.minimize else max)(self._finite(name), default=math.nan)

    def worst(self, name: str) -> float:
        """The worst number of a column."""
        return (max if self.minimize else min)(self._finite(name), default=math.nan)

    def _finite(self, name: str) -> list[float]:
        return [v for v in self.column(name) if math.isfinite(v)]

    def evaluate(self, choices: Choices, column: str) -> float:
        """What the network of these choices scored; NaN where the table does not hold it."""
        row = self.rows.get(_row(choices))
        return math.nan if row is None else self.column(column)[row]

    def key(self, choices: Choices) -> str:
        """The canonical key of the network of these choices, worked out once."""
        row = _row(choices)
        if row not in self._keys:
            self._keys[row] = key(self.space.draw(replay(choices))[0])
        return self._keys[row]


def _row(choices: Mapping[str, Scalar]) -> Row:
    return tuple(sorted(choices.items()))


def read_table(path: Path = OURS) -> Table:
    """The table in a file. Raises UserError, with the line, for one that is not a table."""
    text = _text(path)
    if is_recurrent(text):
        data, choices_of, numbers = recurrent_rows(text, path)
        return Table(str(path), Space(data), {_row(c): i for i, c in enumerate(choices_of)}, numbers, RECURRENT_COLUMNS, minimize=True)
    if text.startswith("{"):
        choices_of, numbers = macro_rows(text, path)
        space = Space(read(find_space("macro")))
        return Table(str(path), space, {_row(c): i for i, c in enumerate(choices_of)}, _told(numbers), MACRO_COLUMNS)
    lines = list(csv.DictReader(io.StringIO(text)))
    if not lines:
        raise UserError(f"{path}: must hold a header and at least one network, got nothing")
    official = "arch" in lines[0]
    space = Space(read(find_space("cell") if official else _beside(path)))
    domains = {o.name: o for o in space.domains()}
    if not official and not domains.keys() & lines[0].keys():
        raise UserError(f"{path}: needs the column `arch` or columns named as the domains of {_beside(path)}, got {', '.join(lines[0])}")
    rows: dict[Row, int] = {}
    for number, line in enumerate(lines):
        where = f"{path}:{number + 2}"
        choices = _of_string(line["arch"] or "", domains, where) if official else _of_columns(line, domains, where)
        rows.setdefault(_row(choices), number)
    columns = {n: [_number(line[n]) for line in lines] for n in lines[0] if n is not None and n not in domains}
    return Table(str(path), space, rows, _told(columns), THEIR_COLUMNS if official else OUR_COLUMNS)


def _told(columns: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """The columns that hold numbers."""
    return {name: values for name, values in columns.items() if not all(map(math.isnan, values))}


def _text(path: Path) -> str:
    try:
        data = content(path)
        return (unpacked(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as csv or gzipped csv ({error})") from None


def _beside(path: Path) -> Path:
    """The space of a table without official strings."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".csv") + ".yaml")


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _of_string(arch: str, domains: Mapping[str, Domain], where: str) -> dict[str, Scalar]:
    """The choices of `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`: edge i -> j is the domain `let.op<i><j>`."""
    nodes = arch.split("+")
    out: dict[str, Scalar] = {}
    for target, node in enumerate(nodes, 1):
        if not _NODE.fullmatch(node):
            break
        out |= {f"let.op{source}{target}": name for name, source in _EDGE.findall(node)}
    if out.keys() != domains.keys():
        raise UserError(f"{where}: arch must be like |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, got {arch!r}")
    for name, value in out.items():
        if not domains[name].valid(value):
            raise UserError(f"{where}: {value!r} is no operation of the space; {nearest(value, domains[name].options)}")
    return out


def _of_columns(line: Mapping[str, str | None], domains: Mapping[str, Domain], where: str) -> dict[str, Scalar]:
    """The choices in the columns of the domains; an empty one was not asked."""
    out: dict[str, Scalar] = {}
    for name, domain in domains.items():
        text = line.get(name)
        if text:
            options = {str(o): o for o in domain.options} if domain.kind == "choose" else {text: _whole(text)}
            if text not in options or not domain.valid(options[text]):
                raise UserError(f"{where}: {name} must be {domain}, got {text!r}")
            out[name] = options[text]
    return out


def _whole(text: str) -> Scalar:
    number = _number(text)
    return int(number) if number == number // 1 else number
