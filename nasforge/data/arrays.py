"""Checks on the arrays that users bring, and their one layout: inputs and targets of known kinds, by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nasforge.data.dataset import IGNORE, PARTS
from nasforge.data.images import Images
from nasforge.data.numbers import (
    DIGITS,
    MOST_CLASSES,
    Input,
    as_input,
    checked,
    chunks,
    integers,
    loses_digits,
    many_labels,
    shaped,
    values,
)
from nasforge.data.rows import Rows
from nasforge.errors import UserError, nearest

VOID = 255  # the label that is ignored in maps on disk
SAMPLES = ("image", "sequence")
Origin = Callable[[int], Any]


@dataclass(frozen=True)
class Arrays:
    """The inputs and targets of a part by name; the first axis of each array is the sample."""

    inputs: Mapping[str, Input]
    targets: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.targets.values())))

    @property
    def x(self) -> Input:
        """The first input."""
        return next(iter(self.inputs.values()))

    @property
    def y(self) -> np.ndarray:
        """The first target."""
        return next(iter(self.targets.values()))

    def __getitem__(self, which: Any) -> Arrays:
        return Arrays({k: v[which] for k, v in self.inputs.items()}, {k: v[which] for k, v in self.targets.items()})


@dataclass(frozen=True)
class Raw:
    """What a reader found, not yet split: arrays by part, `train` at least.

    Attributes:
        kinds: of the targets by name, see `nasforge.data.dataset`.
        vocab: number of tokens of each input that holds tokens.
        labels: names of the classes, labels or values of the first target, where the format has them.
        ordered: neighboring samples belong together, so parts must be contiguous.
        padded: inputs whose samples may end early: NaN from there on, or the token -1.
        task: the task that such data are for, where the kind of the target does not tell.
        notes: what the user should know of how the data were read.
        about: how the inputs are read from files, as far as their arrays do not tell; see `nasforge.data.preprocess`.
        origins: by part, what gives the bytes of the file, or the cells by column, that sample i was read from.
    """

    name: str
    parts: Mapping[str, Arrays]
    kinds: Mapping[str, str]
    vocab: Mapping[str, int] | None = None
    labels: tuple[str, ...] = ()
    ordered: bool = False
    padded: frozenset[str] = frozenset()
    task: str | None = None
    notes: tuple[str, ...] = ()
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)


def raw_of(
    arrays: Mapping[str, Any], name: str, kind: str | None = None, labels: tuple[str, ...] = (), reads: tuple[int, ...] | None = None
) -> Raw:
    """Return the raw data of arrays named `x, y` or `x_train, y_train, ...`, each checked and laid out.

    Several inputs or targets are told apart as `x_train:NAME` and `y_train:NAME`. An optional array `kind`, `image` or `sequence`,
    settles what (N, a, b) floats are, without it sequences, and that (N, T) floats are a sequence of numbers and no vectors of T features.
    Samples of unequal length are padded at the end, with NaN, tokens with -1: a list of arrays, or `lengths` (`lengths_train`, ...) beside
    the arrays. Names as classes are numbered in their order.

    Args:
        kind: of the target where it is not what the array suggests: `value` or `labels`.
        reads: [channels, height, width] of a network, whose layout images of unclear layout have.
    """
    arrays = {key: _together(array, f"{name}: {key}", kind is None or key.startswith("x")) for key, array in arrays.items()}
    sample = str(arrays.pop("kind")) if "kind" in arrays else None
    if sample not in (None, *SAMPLES):
        raise UserError(f"{name}: kind must be a kind of sample, got {sample!r}; {nearest(sample, SAMPLES)}")
    arrays = _equally_long(arrays, name)
    arrays, labels = _numbered(arrays, name, labels)
    arrays, notes = _channels_first(arrays, name, sample, reads)
    found = _by_part(arrays, name)
    parts: dict[str, Arrays] = {}
    kinds: dict[str, str] = {}
    for part, (xs, ys) in found.items():
        where = name if len(found) == 1 else f"{name} ({part})"
        parts[part], kinds = _laid_out(xs, ys, where, sample, kind)
    parts = _narrowed(parts)
    _check_alike(parts, name)
    train = parts["train"]
    padded = frozenset(key for key in train.inputs if any(_is_padded(part.inputs[key], name) for part in parts.values()))
    tokens = {key for key, x in train.inputs.items() if x.dtype == np.int64}
    steps = "steps" in kinds.values()
    largest = {key: max(int(chunk.max()) for p in parts.values() for chunk in chunks(p.inputs[key])) for key in tokens}
    for key, n in largest.items():
        if n >= MOST_CLASSES:
            raise UserError(f"{name}: tokens must be integers from 0 to {MOST_CLASSES - 1}, got {n}" + f" in {key}" * (key != "input") +
                            "; number the tokens 0, 1, ..., or give numbers as floats")  # fmt: skip
    vocab = {key: 1 + max(n, *(int(p.y.max()) if steps else 0 for p in parts.values())) for key, n in largest.items()}
    return Raw(name, parts, kinds, vocab or None, labels, ordered=steps and bool(tokens) and not padded, padded=padded, notes=notes)


def plain(array: Any, steps: bool = False) -> Any:
    """Return an array, or a list of arrays, as NumPy's: tensors of torch without their gradient, what a mask hides as missing.

    Missing is NaN, or of `steps`, which are (N, T) or (T,) whole numbers, -1.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        return (array.float() if "bfloat16" in str(array.dtype) else array).numpy()
    if isinstance(array, np.ma.MaskedArray):
        if not np.ma.is_masked(array):
            return array.data
        if steps and array.dtype.kind in "ui":
            return np.ma.filled(array.astype(np.int64), -1)
        if array.dtype.kind not in "buif":
            return np.where(np.ma.getmaskarray(array), np.array(None), np.ma.getdata(array).astype(object))  # no names
        return np.ma.filled(array if array.dtype.kind == "f" else array.astype(np.float64), np.nan)
    return array


def _together(array: Any, where: str, steps: bool) -> Any:
    """An array as NumPy's, or a list of arrays that are not of one length."""
    if isinstance(array, Rows | Images | str):
        return array
    if not isinstance(array, list | tuple):
        return np.asarray(plain(array, steps and getattr(array, "ndim", 0) == 2))
    made = [plain(one, steps and getattr(one, "ndim", 0) == 1) if isinstance(one, np.ndarray) or hasattr(one, "detach") else one
            for one in array]  # fmt: skip
    gone = next((i for i, one in enumerate(made) if one is None), None)
    if gone is not None:
        raise UserError(f"{where} must hold an entry for each sample, got None as sample {gone}; fill or drop such samples")
    try:
        return made if _is_ragged(made) else np.asarray(made)
    except ValueError as error:
        raise UserError(f"{where} must be numbers of one shape, or arrays of (T,) or (T, F) numbers, got others: {error}") from error


def input_of(x: np.ndarray, where: str, sample: str | None = None, reads: tuple[int, ...] | None = None) -> np.ndarray:
    """Return samples without a target as `raw_of` lays them out: (N, C, H, W), (N, T, F) or (N, F); `sample` is its `kind`.

    Raises:
        UserError: a number is infinite, or missing where none may be; the shape is of no sample.
    """
    found, _ = _channels_first({"x": x}, where, sample, reads)
    made = shaped(checked(found["x"], where), where, sample)
    _is_padded(made, where)  # raises where a step before the end is missing
    return np.asarray(made)


def _is_array(key: str, word: str) -> bool:
    """Whether an array is called `x`, `x_train`, `x:NAME` and so on, for the word x."""
    return key.partition(":")[0].partition("_")[0] == word


def _equally_long(arrays: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The arrays with samples of unequal length padded at the end, NaN or -1; the parts of one array to one length."""
    given = {key: np.asarray(array) for key, array in arrays.items() if _is_array(key, "lengths")}
    found: dict[str, Any] = {key: array for key, array in arrays.items() if key not in given}
    for key, lengths in given.items():
        x_key = "x" + key.removeprefix("lengths")
        if x_key not in found:
            raise UserError(f"{where}: {key} must stand beside {x_key}, which is missing")
        x = found[x_key] if isinstance(found[x_key], Rows) else np.asarray(found[x_key])
        if lengths.shape != x.shape[:1] or x.ndim < 2 or lengths.dtype.kind not in "ui" or lengths.min() < 1 or lengths.max() > x.shape[1]:
            raise UserError(
                f"{where}: {key} must hold one whole number from 1 to {x.shape[1] if x.ndim > 1 else 1} for each sample of {x_key}, got "
                f"{lengths.dtype} {lengths.shape}" + (f" from {lengths.min()} to {lengths.max()}" if lengths.size else "")
            )
        if not isinstance(x, Rows):
            found[x_key] = [sample[:length] for sample, length in zip(x, lengths, strict=True)]
        elif x.ndim > 3:
            raise UserError(f"{where}: {key} must stand beside sequences (N, T) or (N, T, F), got {x_key} {x.shape}")
        else:
            found[x_key] = x.cut(lengths)
    for word, name in dict.fromkeys((word, key.partition(":")[2]) for word in "xy" for key in found if _is_array(key, word)):
        same = [key for key in found if _is_array(key, word) and key.partition(":")[2] == name]  # one input in all parts
        mapped = {key: found[key] for key in same if isinstance(found[key], Rows)}
        if any(x.lengths is not None for x in mapped.values()):
            found |= {key: x.cut(x.lengths, max(x.shape[1] for x in mapped.values())) for key, x in mapped.items() if x.lengths is not None}
        if not any(_is_ragged(found[key]) for key in same):
            continue
        ragged = {key: list(map(np.asarray, found[key])) for key in same if key not in mapped}
        shapes = {sample.shape[1:] for samples in ragged.values() for sample in samples}
        kinds = {sample.dtype.kind for samples in ragged.values() for sample in samples}
        if len(shapes) != 1 or not kinds <= set("buif") or any(s.ndim < 1 or not len(s) for samples in ragged.values() for s in samples):
            raise UserError(f"{where}: samples of unequal length must be (T,) or (T, F) numbers with the same F, got {sorted(shapes)[:3]}")
        if any(s.dtype == np.uint64 and s.max() > np.iinfo(np.int64).max for samples in ragged.values() for s in samples):
            raise UserError(f"{where}: {same[0]} must hold numbers below 2**63, got larger ones; number the tokens 0, 1, ...")
        longest = max(len(sample) for samples in ragged.values() for sample in samples)
        whole = kinds <= set("ui") and shapes == {()}
        wide = np.result_type(np.float32, *{s.dtype for samples in ragged.values() for s in samples})
        for key, samples in ragged.items():
            made = np.full((len(samples), longest, *next(iter(shapes))), -1 if whole else np.nan, np.int64 if whole else wide)
            for i, sample in enumerate(samples):
                made[i, : len(sample)] = sample
            found[key] = made if made.ndim == 3 or whole or word == "y" else made[:, :, None]
    return found


def _is_ragged(array: Any) -> bool:
    """Whether an array is a list of arrays, not all of one length."""
    if isinstance(array, Rows | Images) or (isinstance(array, np.ndarray) and array.dtype != object):
        return False
    try:
        lengths = {len(sample) for sample in array}
    except TypeError:  # numbers
        return False
    return len(lengths) > 1 and not any(isinstance(sample, str) for sample in array)


def _is_padded(x: Input, where: str) -> bool:
    """Whether some samples end before the last step. Raise UserError where a step in between is missing."""
    if x.ndim != 2 + (x.dtype != np.int64) or x.dtype == np.uint8:
        return False
    padded, before = False, 0
    for chunk in chunks(x):
        gone = chunk < 0 if chunk.dtype == np.int64 else np.isnan(chunk).all(2)  # (N, T)
        wrong = (gone[:, :-1] & ~gone[:, 1:]).any(1) | gone[:, 0]
        if wrong.any():
            what = "tokens x must be integers from 0, with -1" if x.dtype == np.int64 else "x must be finite, with NaN"
            raise UserError(f"{where}: {what} at most from the end of a sample on; got a step missing before the end, or all, in sample "
                            f"{before + int(np.argmax(wrong))}; fill or drop such samples")  # fmt: skip
        padded, before = padded or bool(gone.any()), before + len(chunk)
    return padded


def _numbered(arrays: Mapping[str, Any], where: str, labels: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arrays with names of classes as numbers, and the names."""
    found = dict(arrays)
    named = [key for key in found if _is_array(key, "y") and np.asarray(found[key]).dtype.kind in "US" + "O" * _holds_names(found[key])]
    if not named:
        return found, labels
    if len(named) != sum(_is_array(key, "y") for key in found):
        raise UserError(f"{where}: names as classes must be names in every part, got numbers in some")
    names = np.unique(np.concatenate([np.asarray(found[key]).astype(str).ravel() for key in named]))
    for key in named:
        found[key] = np.searchsorted(names, np.asarray(found[key]).astype(str))
    return found, tuple(str(n) for n in names)


def _holds_names(array: Any) -> bool:
    return all(isinstance(value, str) for value in np.asarray(array, dtype=object).ravel())


def _channels_first(
    arrays: Mapping[str, Any], where: str, sample: str | None, reads: tuple[int, ...] | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arrays with images as (N, C, H, W), and what is to be said of it.

    The layout is that of the network where its input tells, else the one with two equal sides, else the one with a usual number of
    channels (1, 3 or 4), else the smaller axis is that of the channels.
    """
    found, notes = dict(arrays), []
    for key, array in found.items():
        if not _is_array(key, "x") or getattr(array, "ndim", 0) != 4 or isinstance(array, Images):
            continue
        a, b, c = array.shape[1:]
        likes = [] if reads is None else [((a, b, c) == reads, (c, a, b) == reads), (a == reads[0], c == reads[0])]
        tells = [*likes, (b == c != a, a == b != c), (a in (1, 3, 4), c in (1, 3, 4)), (a < c, c < a)]
        last = next((last for first, last in tells if first != last), False)
        if last:
            found[key] = array.laid_out("last") if isinstance(array, Rows) else np.moveaxis(array, 3, 1)
        if last or not any(first != last for first, last in tells[:-1]):
            notes.append(f"{key} {tuple(array.shape)}: {c if last else a} channels, the {'last' if last else 'first'} axis of an image")
    return found, tuple(notes)


def _by_part(arrays: Mapping[str, Any], where: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The inputs and targets of each part by name, '' where there is no name."""
    valid = ["x", "y", *(f"{a}_{part}" for part in PARTS for a in "xy")]
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for key, array in arrays.items():
        word, _, name = key.partition(":")
        if word not in valid:
            raise UserError(f"{where}: unknown array {key!r}; {nearest(word, [*valid, 'kind'])}; of several, x:NAME and y:NAME")
        found.setdefault(word[2:] or "", ({}, {}))["xy".index(word[0])][name] = array
    if set(found) == {""}:
        found = {"train": found[""]}
    names = [tuple(map(frozenset, pair)) for pair in found.values()]
    if "train" not in found or "" in found or len(set(names)) > 1 or not all(all(pair) for pair in names):
        raise UserError(
            f"{where}: must hold x and y, or x_train and y_train with, where there are, x_val, y_val, x_test and "
            f"y_test in pairs; got {', '.join(sorted(arrays)) or 'no array'}"
        )
    return {part: found[part] for part in PARTS if part in found}


def _laid_out(
    xs: Mapping[str, Any], ys: Mapping[str, Any], where: str, sample: str | None, kind: str | None
) -> tuple[Arrays, dict[str, str]]:
    """A part with its inputs and targets as they are used, and the kinds of the targets."""
    inputs, targets, kinds = {}, {}, {}
    for y_name, y in ys.items():
        mistakes = []
        for x_name, x in xs.items():  # a target belongs to the whole sample, or to the axes of one of the inputs
            try:
                made, target, found = lay_out(x, y, where, sample, kind)
            except UserError as error:
                mistakes.append(error)
                continue
            inputs[x_name or "input"] = made
            targets[y_name or found], kinds[y_name or found] = target, found
        if len(mistakes) == len(xs):
            raise mistakes[0]
    inputs = {name or "input": inputs[name or "input"] if (name or "input") in inputs else shaped(as_input(x), where, sample)
              for name, x in xs.items()}  # fmt: skip
    return Arrays(inputs, targets), kinds


def lay_out(x: Any, y: Any, where: str, sample: str | None = None, kind: str | None = None) -> tuple[Input, np.ndarray, str]:
    """Return an input, a target and the kind of the target.

    Inputs become (N, C, H, W) bytes or float32, (N, T, F) float32, (N, F) float32 or (N, T) int64 tokens; classes int64, values float32.

    Raises:
        UserError: lengths differ, a number is missing, labels are no integers, the shapes fit no kind.
    """
    x, y = as_input(x), np.asarray(y)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
        raise UserError(f"{where}: x and y must hold one entry for each sample, got shapes {x.shape} and {y.shape}")
    x = checked(x, where)
    if kind == "value":
        return shaped(x, where, sample), values(y, where), "value"
    if kind == "labels":
        return shaped(x, where, sample), many_labels(y, where), "labels"
    y = integers(y, where)
    if y.ndim == 1:
        if y.min() < 0:
            raise UserError(f"{where}: class ids y must be integers from 0, got {int(y.min())}")
        return shaped(x, where, sample), y, "label"
    if y.ndim == 3:
        x = shaped(x, where, "image")
        if x.shape[-2:] != y.shape[-2:]:
            raise UserError(f"{where}: label maps must be as large as the images {x.shape[-2:]}, got {y.shape[-2:]}")
        return x, np.where((y < 0) | (y == VOID), IGNORE, y), "mask"
    if y.ndim == 2 and x.shape[:2] == y.shape and x.ndim < 4:
        return shaped(x, where, "sequence"), np.where(y < 0, IGNORE, y), "steps"
    hint = "; for one-hot labels store y.argmax(1); of several labels a sample, add --task multilabel" if y.ndim == 2 else ""
    raise UserError(
        f"{where}: y must be (N,) classes, (N, H, W) label maps or (N, T) one class a step, got {y.shape} beside x {x.shape}{hint}"
    )


def _narrowed(parts: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """The inputs as float32, but for those of whose differences it would lose too much."""
    found = {part: dict(arrays.inputs) for part, arrays in parts.items()}
    for key in found["train"]:
        every = [inputs[key] for inputs in found.values()]
        if not any(x.dtype == np.float64 for x in every):
            continue
        wide = len({x.shape[1:] for x in every}) == 1 and loses_digits(every, DIGITS)
        for inputs in found.values():
            x = inputs[key]
            if isinstance(x, Rows):
                inputs[key] = replace(x, wide=wide)
            elif isinstance(x, np.ndarray) and x.dtype.kind == "f":
                inputs[key] = x.astype(np.float64 if wide else np.float32, copy=False)
    return {part: Arrays(inputs, parts[part].targets) for part, inputs in found.items()}


def _check_alike(parts: Mapping[str, Arrays], where: str) -> None:
    first = parts["train"]
    for name, part in parts.items():
        for key, x in part.inputs.items():
            if (x.shape[1:], x.dtype) != (first.inputs[key].shape[1:], first.inputs[key].dtype) or part.y.ndim != first.y.ndim:
                wanted = first.inputs[key]
                raise UserError(
                    f"{where}: samples of {name} must be as those of train, {wanted.dtype} {wanted.shape[1:]}, got {x.dtype} {x.shape[1:]}"
                )
