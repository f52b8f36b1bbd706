"""Space and architecture files: safe YAML in, readable YAML out, and where the packaged ones lie."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from nasforge.errors import UserError, nearest
from nasforge.files import content, write_whole

MAX_NODES = 20_000  # values of a file, those that an alias or a merge repeats counted again; the largest network of the zoo has 2,100
MAX_DEPTH = 100
MAX_BYTES = 2**24
MAX_DIGITS = 300  # of a whole number; a float reaches as far
SUFFIXES = (".yaml", ".yml", ".json")
MOST_BESIDE = 1000  # files of a folder among which a near name is looked for
PACKAGE = Path(__file__).resolve().parent.parent
SPACES = (PACKAGE / "search_spaces", PACKAGE.parent / "search_spaces")  # in an installed wheel, in a clone


class _Loader(Composer, SafeConstructor, Resolver):
    """Safe YAML with the numbers and words a researcher means: 1e-3 is a number, `on` and `no` are words. What reads the text follows."""

    check_event: Any

    def __init__(self, where: str) -> None:
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.name, self.composed, self.depth = where, 0, 0
        self.sizes: dict[int, int] = {}  # of the nodes that were read whole: values below them, aliases written out

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; the bounds are kept while a file is read, so that one beyond them is never read to its end."""
        alias, self.depth = self.check_event(yaml.AliasEvent), self.depth + 1
        self.composed += 1
        node: Any = super().compose_node(parent, index)
        self.depth -= 1
        if not alias:
            self.sizes[id(node)] = 1 + sum(self.sizes[id(child)] for child in _children(node) if id(child) in self.sizes)
        elif id(node) not in self.sizes:
            raise UserError(f"{_mark(node)}: an alias must not stand inside what it names; write the values out")
        if max(self.composed, self.sizes[id(node)]) > MAX_NODES or self.depth > MAX_DEPTH:
            allowed = f"at most {MAX_NODES:,}, nested at most {MAX_DEPTH} deep"
            raise UserError(f"{self.name}: too many values; {allowed}, are allowed in one file")
        return node


class _Slow(_Loader, Reader, Scanner, Parser):
    """Reads text by Python alone."""

    def __init__(self, text: str, where: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        _Loader.__init__(self, where)


class _Text(io.StringIO):
    """Text of which marks and errors say where it is from."""

    name = ""


_Fast: Any = _Slow
if yaml.__with_libyaml__:
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

    class _Fast(_Loader, CParser):  # type: ignore[no-redef,misc]
        """Reads text by libyaml, in a fifth of the time; nodes, bounds and values are those of `_Loader` all the same."""

        def __init__(self, text: str, where: str) -> None:
            stream = _Text(text)
            stream.name = where
            CParser.__init__(self, stream)
            _Loader.__init__(self, where)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, rule)
        for tag, rule in rules
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_FLOAT = r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"

_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_FLOAT), list("-+0123456789."))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    out: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        name = loader.construct_object(key_node, deep=True)
        if not isinstance(name, str | int | float | bool | None):
            raise UserError(f"{_mark(key_node)}: a key must be a word or a number, got {name!r}")
        if name in out:
            raise UserError(f"{_mark(key_node)}: the key {name!r} stands twice; keep one")
        out[name] = loader.construct_object(value_node, deep=True)
    return out


def _mark(node: yaml.Node) -> str:
    return f"{node.start_mark.name}:{node.start_mark.line + 1}"


def _whole(text: str) -> int:
    """A whole number as YAML 1.1 writes it: 12, 0x1f, 0o17 or 017, 0b1, and 1:30 in sixties."""
    if len(text) > MAX_DIGITS:
        raise ValueError
    return yaml.SafeLoader("").construct_yaml_int(yaml.ScalarNode("", text))


def _of_kind(kind: str, what: str, read: Callable[[str], Any]) -> None:
    """Let scalars with this tag be read so, and those that are something else be refused by name."""

    def construct(loader: _Loader, node: yaml.Node) -> Any:
        try:
            return read(str(loader.construct_scalar(node)))  # type: ignore[arg-type]
        except (ValueError, KeyError, IndexError):
            got = str(node.value)
            got = repr(got) if len(got) <= 40 else f"{got[:40]!r}... of {len(got):,} characters"
            raise UserError(f"{_mark(node)}: must be {what}, got {got}") from None

    _Loader.add_constructor(f"tag:yaml.org,2002:{kind}", construct)  # type: ignore[type-var]


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)  # type: ignore[type-var]
_of_kind("int", f"a whole number of at most {MAX_DIGITS} digits", _whole)
_of_kind("float", "a number", lambda text: float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")))
_of_kind("bool", "true or false", lambda text: {"true": True, "false": False}[text.lower()])
for _kind in ("timestamp", "binary", "set", "omap", "pairs"):  # no block takes one
    del _Loader.yaml_constructors[f"tag:yaml.org,2002:{_kind}"]


def _strange(loader: _Loader, node: yaml.Node) -> Any:
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    raise UserError(f"{_mark(node)}: must be a word, a number, true or false, a list or a mapping, got the tag {tag:.80}; remove it")


_Loader.add_constructor(None, _strange)  # type: ignore[type-var]


def parse(text: str, where: str = "text", loader: Any = _Fast) -> Any:
    """Return the plain data of YAML (or JSON) text. Raises UserError with file and line."""
    reading = None
    try:
        reading = loader(text, where)
        return reading.get_single_data()
    except yaml.YAMLError as error:
        if loader is not _Slow:  # which says better what is wrong
            return parse(text, where, _Slow)
        if isinstance(error, ReaderError):
            raise UserError(f"{where}: holds characters that no text has ({str(error).splitlines()[0]})") from None
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{where}{line}: not valid YAML ({getattr(error, 'problem', None) or error})") from None
    except RecursionError:
        raise UserError(f"{where}: nested too deeply to be an architecture") from None
    finally:
        if reading is not None:
            reading.dispose()


def read(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file. Raises UserError if it is absent or no mapping."""
    path = Path(path)
    try:
        text = content(path, MAX_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from None
    data = parse(text, str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path}: a space or architecture file is a mapping with input, body, head ..., got {type(data).__name__}")
    return data


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(data: Any) -> str:
    """YAML text that reads back to equal data; short blocks stay on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def write(data: Any, path: str | Path) -> Path:
    """Return the path of the YAML file written; the file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, dump(data))
    return path


def space_names() -> list[str]:
    """Return the packaged spaces, sorted."""
    return sorted({p.stem for folder in SPACES for p in folder.glob("*.yaml")})


def check_there(name: str) -> None:
    """Raise UserError where `name` is a path, by its look, and no file is there."""
    path = Path(name)
    if path.is_dir():
        raise UserError(f"{name}: is a folder without a search; give a file, or the folder of a run")
    if path.exists() and not path.is_file():
        raise UserError(f"{name}: must be a regular file, got a FIFO, a device or a socket; copy what it gives into a file")
    if path.suffix.lower() not in SUFFIXES and "/" not in name:
        return
    if not path.parent.is_dir():
        raise UserError(f"{name}: no such file, for there is no folder {path.parent}")
    beside = [p.name for p in islice(path.parent.iterdir(), MOST_BESIDE) if p.suffix.lower() in SUFFIXES]
    near = get_close_matches(path.name, beside, n=1, cutoff=0.6)
    what = "file" if path.suffix.lower() in SUFFIXES else "file or folder"
    raise UserError(f"{name}: no such {what}" + (f"; did you mean {str(path.with_name(near[0]))!r}?" if near else ""))


def check_folder(run: Path) -> None:
    """Raise UserError where the folder of a run is none."""
    if not run.is_dir():
        raise UserError(f"{run}: there is no such folder; give that of a search, such as runs/digits")


def find_space(name: str) -> Path:
    """Return the file that `name` means: a path, or the name of a packaged space."""
    if Path(name).is_file():
        return Path(name)
    for folder in SPACES:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    check_there(name)
    raise UserError(f"{name}: no such file, and no packaged space has that name; {nearest(name, space_names(), 'nasforge spaces')}")
