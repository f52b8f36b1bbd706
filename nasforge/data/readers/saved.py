"""Data sets of Hugging Face as `save_to_disk` writes them: images, tables, sequences, token ids. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nasforge.data.arrays import Raw, raw_of
from nasforge.data.dataset import Source
from nasforge.data.images import Broken, Encoded
from nasforge.data.readers.images import PART_FOLDERS, of_encoded
from nasforge.data.readers.tables import MOST_NAMES, TARGETS, Column, place_of, raw_of_columns, target_of, targets_of
from nasforge.errors import UserError
from nasforge.files import content

TOKENS, MASK = "input_ids", "attention_mask"
BESIDE = (MASK, "token_type_ids", "special_tokens_mask")  # what a tokenizer gives beside the tokens
NUMBERS = ("int", "uint", "float", "bool", "decimal")
WRITTEN = ("dataset_info.json", "state.json")


def is_saved(folder: Path) -> bool:
    """Return whether `save_to_disk` wrote a folder: of a `DatasetDict`, or of a `Dataset`."""
    return (folder / "dataset_dict.json").is_file() or all((folder / name).is_file() for name in WRITTEN)


def read_saved(source: Source, kind: str | None) -> Raw:
    """Return the data of a folder that `save_to_disk` wrote. Needs the package datasets.

    The splits train, validation and test are the parts. The target is the column that is named, else the one called label, y, target or
    class, else the only one of classes, else the last one. Of the others are read:

    * a column of images, and nothing else;
    * lists of unequal length or of lists, and `input_ids`: sequences, padded at the end; of the tokens those that `attention_mask` counts;
    * else all, as a table: a list of numbers is a column for each of them; see `raw_of_columns`.

    Raises:
        UserError: the package is missing, or a column that is needed holds what is not read.
    """
    saved = Saved.opened(source, kind)
    if saved.of_kind("image"):
        return _of_images(saved, source, kind)
    lists = {name: _cells(saved, name) for name in saved.of_kind("numbers") if name not in (*saved.wanted, *BESIDE)}
    unequal = any(len({cell.shape for cell in cells}) > 1 or cells[0].ndim > 1 for cells in lists.values())
    whole = _of_sequences(saved, lists, kind) if unequal or saved.by_step or TOKENS in lists else _of_table(saved, lists, kind)
    every, parts, start = whole.parts["train"], {}, 0
    for part, n in saved.sizes.items():
        parts[part], start = every[start : start + n], start + n
    return replace(whole, name=saved.root.name, parts=parts, notes=(*saved.said, *whole.notes))


# ---------------------------------------------------------------- what was saved


@dataclass(frozen=True)
class Saved:
    """The rows of all parts, one part after the other.

    Attributes:
        sizes: rows of each part.
        kinds: of the columns: `image`, `class`, `number`, `text`, with an s for lists of these, or the name of another type.
        wanted: the columns that are the target.
        by_step: whether the target is a class for each step of a sequence.
        said: notes.
    """

    root: Path
    rows: Any
    sizes: Mapping[str, int]
    kinds: Mapping[str, str]
    wanted: Sequence[str]
    by_step: bool
    said: tuple[str, ...]

    @classmethod
    def opened(cls, source: Source, kind: str | None) -> Saved:
        """Return the data set of a folder. Raise UserError where it cannot be opened, or has no target."""
        root = Path(source.spec).expanduser()
        splits, said = _splits(root)
        features = splits["train"].features
        kinds = {name: _kind(feature) for name, feature in features.items()}
        wanted = _wanted({n: k for n, k in kinds.items() if k != "image" and n not in BESIDE}, source.target, str(root))
        for part in [part for part in splits if part != "train" and not _has_target(splits[part], wanted, kinds)]:
            said.append(f"{part} has no {wanted[0]}: left out")
            del splits[part]
        by_step = kind is None and kinds[wanted[0]] in ("numbers", "classes")
        sizes = {part: len(rows) for part, rows in splits.items()}
        return cls(root, _concatenated(list(splits.values()), root), sizes, kinds, wanted, by_step, tuple(said))

    def of_kind(self, kind: str) -> list[str]:
        return [name for name, found in self.kinds.items() if found == kind]

    def column(self, name: str) -> Any:
        """Return a column as pyarrow has it."""
        return self.rows.select_columns(name).with_format("arrow")[:].column(name)

    def classes(self, name: str) -> tuple[str, ...]:
        """Return the names of the classes of a column, or of its lists."""
        feature = _inner(self.rows.features[name])
        return tuple(getattr(feature, "names", None) or ())

    def place(self, i: int) -> str:
        return place_of(self.sizes, i)

    def ignored(self, used: Sequence[str]) -> tuple[str, ...]:
        """Return what is said of columns that are not read."""
        left = [name for name in self.kinds if name not in (*used, *self.wanted)]
        return (f"the columns {', '.join(left)} are not read",) if left else ()


def _splits(root: Path) -> tuple[dict[str, Any], list[str]]:
    """The splits by part, `train` among them, and what is said of others."""
    try:
        from datasets import Dataset, load_from_disk
    except ImportError:
        raise UserError(f"{root}: needs the package datasets, which is not installed; pip install 'nasforge[huggingface]'") from None
    try:
        found = load_from_disk(str(root.resolve()), keep_in_memory=False)
    except IndexError as error:  # as the package datasets says it
        raise UserError(f"{root}: must be a data set as save_to_disk writes it, with rows in every split, got one without; remove it, and "
                        "save again") from error  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{root}: must be a data set as save_to_disk writes it, got: {error}; save it again") from error
    splits = {"train": found} if isinstance(found, Dataset) else dict(found)
    parts: dict[str, Any] = {}
    for name, rows in splits.items():
        if (part := PART_FOLDERS.get(name.lower())) and len(rows):
            if part in parts:
                twice = " and ".join(other for other in splits if PART_FOLDERS.get(other.lower()) == part)
                raise UserError(f"{root}: must have one split for {part}, got {twice}; remove or rename one, and save again")
            parts[part] = rows
    others = [name for name in splits if name.lower() not in PART_FOLDERS]
    if "train" not in parts:
        raise UserError(f"{root}: must have rows in a split train, got {', '.join(splits)}; save it as DatasetDict(train=...)")
    return parts, [f"the splits {', '.join(others)} are not read"] if others else []


def _concatenated(splits: Sequence[Any], root: Path) -> Any:
    from datasets import concatenate_datasets

    if any(rows.features != splits[0].features for rows in splits):
        raise UserError(f"{root}: all splits must have the columns and types of train; cast them and save again")
    return concatenate_datasets(splits)


def _kind(feature: Any) -> str:
    inner, name = _inner(feature), type(_inner(feature)).__name__
    listed = "es" if name == "ClassLabel" else "s"
    listed = listed if inner is not feature or name.startswith("Array") else ""
    if name == "ClassLabel":
        return f"class{listed}"
    if name == "Image":
        return f"image{listed}"
    dtype = str(getattr(inner, "dtype", name))
    if dtype.startswith(NUMBERS):
        return f"number{listed}"
    return f"text{listed}" if "string" in dtype else dtype


def _inner(feature: Any) -> Any:
    """What lists hold."""
    while isinstance(feature, list) or hasattr(feature, "feature"):
        feature = feature[0] if isinstance(feature, list) else feature.feature
    return feature


def _wanted(kinds: Mapping[str, str], target: str | None, where: str) -> list[str]:
    if not kinds:
        raise UserError(f"{where}: must have a column beside its inputs that is the target, got none")
    classes = [name for name, kind in kinds.items() if kind in ("class", "classes")]
    usual = any(name.lower() in TARGETS for name in kinds)
    return targets_of(tuple(kinds), classes[0] if target is None and not usual and len(classes) == 1 else target, where)


def _has_target(rows: Any, wanted: Sequence[str], kinds: Mapping[str, str]) -> bool:
    """Whether a part has targets: a test set is often published without them, as nothing or class -1."""
    column = rows.select_columns(wanted[0]).with_format("arrow")[:].column(wanted[0])
    return column.null_count < len(column) and not (kinds[wanted[0]] == "class" and (column.to_numpy() == -1).all())


# ---------------------------------------------------------------- columns


def _cells(saved: Saved, name: str) -> list[np.ndarray]:
    """A column of lists as arrays."""
    try:
        cells = [_array(cell) for cell in saved.column(name).to_numpy()]
    except (ValueError, TypeError) as error:
        raise UserError(f"{saved.root}: {name}: lists of lists must be equally long inside, and none missing; {error}") from error
    empty = next((i for i, cell in enumerate(cells) if not cell.size), None)
    if empty is not None:
        raise UserError(f"{saved.root}: {saved.place(empty)}: {name} must hold numbers, got an empty list; drop the row")
    return cells


def _array(cell: Any) -> np.ndarray:
    return np.stack([_array(one) for one in cell]) if getattr(cell, "dtype", None) == np.dtype(object) else np.asarray(cell)


def _numbers(saved: Saved, name: str) -> np.ndarray:
    """A column of numbers or classes as float64, NaN where one is missing."""
    found = saved.column(name).cast("float64", safe=False).to_numpy()
    return np.where(found < 0, np.nan, found) if saved.kinds[name] == "class" else found


def _column(saved: Saved, name: str) -> Column:
    """A column of a table."""
    kind = saved.kinds[name]
    if kind in ("number", "class"):
        return _numbers(saved, name)
    if kind != "text":
        raise UserError(f"{saved.root}: {name} must hold numbers, names, lists of numbers or images, got {kind}; remove it "
                        "with remove_columns")  # fmt: skip
    cells = ["" if cell is None else str(cell) for cell in saved.column(name).to_numpy()]
    return np.array(cells) if name in saved.wanted else cells


def _check_text(saved: Saved, names: Sequence[str]) -> None:
    """Raise UserError for columns of text, which are no names of categories."""
    for name in names:
        kind = saved.kinds[name]
        many = len(set(saved.rows[name])) if kind == "text" else 0
        if kind == "texts" or many > (MOST_NAMES if name not in saved.wanted else max(MOST_NAMES, len(saved.rows) // 2)):
            what = f"{many} different texts" if many else "lists of texts"
            raise UserError(f"{saved.root}: {name} must be numbers or at most {MOST_NAMES} names, got {what}; text is not read from here "
                            f"yet: save it as token ids ({TOKENS}), or remove it with remove_columns")  # fmt: skip


def _spread(name: str, cells: Sequence[np.ndarray]) -> dict[str, Column]:
    """Equally long lists as a column for each place."""
    rows = np.stack(cells).astype(np.float64)
    return {f"{name}.{i}": rows[:, i] for i in range(rows.shape[1])}


def _targets(saved: Saved, kind: str | None) -> dict[str, Column]:
    """The columns of the target; a list of classes is one of zeros and ones for each."""
    _check_text(saved, saved.wanted)
    found: dict[str, Column] = {}
    for name in saved.wanted:
        listed = saved.kinds[name]
        if listed not in ("numbers", "classes"):
            found[name] = _column(saved, name)
            continue
        cells = _cells(saved, name) if listed == "numbers" else [_array(cell) for cell in saved.column(name).to_numpy()]
        if listed == "classes" and kind == "labels":
            for k, word in enumerate(saved.classes(name)):
                found[f"{name}.{word}" if word in saved.kinds else word] = np.array([float(k in cell) for cell in cells])
        elif len({cell.shape for cell in cells}) == 1 and cells[0].ndim == 1 and kind is not None:
            found |= _spread(name, cells)
        else:
            raise UserError(f"{saved.root}: the target {name} must be one class a row, got lists; of classes add --task multilabel, of "
                            "equally many numbers --task regression, or name another --target")  # fmt: skip
    return found


def _named(saved: Saved, labels: tuple[str, ...], kind: str | None) -> tuple[str, ...]:
    """The names of the classes that occur, which `labels` has as numbers."""
    names = saved.classes(saved.wanted[0])
    return tuple(names[int(label)] for label in labels) if names and kind is None else labels


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class SavedImages(Encoded):
    """A column of images: bytes in the files of a saved data set, which are mapped, or files that these name.

    Attributes:
        rows: a `datasets.Dataset` whose images are not decoded.
        sizes: rows of each part.
    """

    rows: Any = None
    column: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, i: int) -> bytes:
        cell = self.rows[i][self.column] or {}
        if cell.get("bytes"):
            return cell["bytes"]
        if cell.get("path"):
            return content(cell["path"])
        raise Broken("an empty cell")

    def where(self, i: int) -> str:
        return f"{self.name}: {place_of(self.sizes, i)}, {self.column}"


def _of_images(saved: Saved, source: Source, kind: str | None) -> Raw:
    from datasets import Image

    column, *others = saved.of_kind("image")
    if others:
        raise UserError(f"{saved.root}: must have one column of images, got also {', '.join(others)}; remove it with remove_columns")
    y, labels = target_of(_targets(saved, kind), str(saved.root), kind, saved.place)
    rows = saved.rows.select_columns(column).cast_column(column, Image(decode=False))
    encoded = SavedImages(name=str(saved.root), rows=rows, column=column, sizes=saved.sizes)
    parts = [part for part, n in saved.sizes.items() for _ in range(n)]
    said = (*saved.said, *saved.ignored([column]))
    return of_encoded(encoded, y, parts, source, saved.root.name, kind, _named(saved, labels, kind), said)


def _of_sequences(saved: Saved, lists: Mapping[str, list[np.ndarray]], kind: str | None) -> Raw:
    inputs = dict(lists)
    if not inputs:
        _check_text(saved, list(saved.kinds))
        raise UserError(f"{saved.root}: must have lists of numbers beside the classes of their steps, got {', '.join(saved.kinds)}")
    if TOKENS in inputs and MASK in saved.kinds:
        masks = [cell.astype(bool) for cell in _cells(saved, MASK)]
        inputs[TOKENS] = _counted(saved, TOKENS, inputs[TOKENS], masks)
    labels: tuple[str, ...] = ()
    if saved.by_step:
        y: Any = _cells(saved, saved.wanted[0])
        if TOKENS in inputs and MASK in saved.kinds:
            y = _counted(saved, saved.wanted[0], y, masks)
        labels = saved.classes(saved.wanted[0])
    else:
        y, labels = target_of(_targets(saved, kind), str(saved.root), kind, saved.place)
        labels = _named(saved, labels, kind)
    names = {name: "x" if len(inputs) == 1 else f"x:{name}" for name in inputs}
    raw = raw_of({**{names[name]: _together(cells) for name, cells in inputs.items()}, "y": _together(y)}, str(saved.root), kind, labels)
    return replace(raw, notes=(*saved.ignored([*lists, *BESIDE]), *raw.notes))


def _counted(saved: Saved, name: str, cells: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Of each list what its mask counts."""
    for i, (cell, mask) in enumerate(zip(cells, masks, strict=True)):
        if cell.shape[:1] != mask.shape:
            raise UserError(f"{saved.root}: {saved.place(i)}: {MASK} must be as long as {name}, {len(cell)}, got {len(mask)}; drop the row")
        if not mask.any():
            raise UserError(f"{saved.root}: {saved.place(i)}: {MASK} must count a token, got none; drop the row")
    return [cell[mask] for cell, mask in zip(cells, masks, strict=True)]


def _together(cells: Any) -> Any:
    """Arrays of one shape as one array."""
    return np.stack(cells) if isinstance(cells, list) and len({cell.shape for cell in cells}) == 1 else cells


def _of_table(saved: Saved, lists: Mapping[str, list[np.ndarray]], kind: str | None) -> Raw:
    inputs = [name for name in saved.kinds if name not in saved.wanted]
    _check_text(saved, inputs)
    columns: dict[str, Column] = {}
    for name in inputs:
        if name in lists:
            spread = _spread(name, lists[name])
            if twice := sorted(set(spread) & set(saved.kinds)):
                raise UserError(f"{saved.root}: every column must have a name of its own, got {twice[0]!r} twice, once of the list {name}; "
                                "rename one")  # fmt: skip
            columns |= spread
        elif saved.kinds[name] == "class":
            names = saved.classes(name)
            columns[name] = ["" if np.isnan(k) else names[int(k)] for k in _numbers(saved, name)]
        else:
            columns[name] = _column(saved, name)
    targets = _targets(saved, kind)
    raw = raw_of_columns({**columns, **targets}, str(saved.root), kind, ",".join(targets), saved.place)
    return replace(raw, labels=_named(saved, raw.labels, kind))
