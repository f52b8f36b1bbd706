"""Text as tokens: one file of characters, and pairs of sentences in two languages."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nasforge.data.arrays import Arrays, Raw
from nasforge.data.dataset import IGNORE, Source
from nasforge.errors import UserError, nearest
from nasforge.files import content, unpacked

WINDOW = 64  # characters of a text that make one sample
PAD, UNKNOWN, BEGIN, END = range(4)  # the first tokens of every vocabulary of words
MOST_WORDS = 4000  # of a language; rarer ones are UNKNOWN
FEWEST_SEEN = 2  # times in the training part, for a word to be one of these
LONGEST = 0.95  # share of the training sentences that fit whole; longer ones are cut off
_PARALLEL = re.compile(r"^(train|val|valid|validation|dev|test)[\w-]*\.([a-z]{2})(\.gz)?$")
_PART = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}


def read_characters(source: Source, kind: str | None) -> Raw:
    """Return windows of 64 characters, none overlapping, each with the characters one further on as its target."""
    path = Path(source.spec).expanduser()
    try:
        text = io.TextIOWrapper(io.BytesIO(content(path)), encoding="utf-8").read()  # all ends of lines as one
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: text must be UTF-8, got a wrong byte at {error.start}; convert it first") from error
    windows = (len(text) - 1) // WINDOW
    if windows < 5:
        raise UserError(f"{path}: text must have at least {5 * WINDOW + 1} characters, got {len(text)}")
    letters, tokens = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32), return_inverse=True)
    tokens = tokens.astype(np.int64)
    x, y = (tokens[shift : shift + windows * WINDOW].reshape(windows, WINDOW) for shift in (0, 1))
    parts = {"train": Arrays({"input": x}, {"steps": y})}
    names = tuple(map(chr, letters.tolist()))
    about = {"input": {"kind": "characters", "characters": list(names)}}
    return Raw(path.stem, parts, {"steps": "steps"}, {"input": len(letters)}, names, ordered=True, about=about)


# ---------------------------------------------------------------- two languages


def is_parallel(folder: Path) -> bool:
    """Return whether a folder holds `train.XX` and `train.YY`, plain or gzipped, in two languages."""
    return folder.is_dir() and len(_files(folder).get("train", {})) == 2


def read_parallel(source: Source, kind: str | None) -> Raw:
    """Return pairs of sentences: `source` is read whole, `target` is the sentence written so far, the target its next word.

    Line i of `train.XX` belongs to line i of `train.YY`; likewise `val` and `test`. Words are lower-case, punctuation stands alone.
    `Source.target` names the language that is written, by default the second by name, or the other one beside `en`.
    """
    folder = Path(source.spec).expanduser()
    files = _files(folder)
    languages = sorted(files["train"])
    written = source.target or next((x for x in languages if x != "en" and "en" in languages), languages[1])
    if written not in languages:
        raise UserError(f"--target {written}: {folder} has no such language; {nearest(written, languages)}")
    read = next(x for x in languages if x != written)
    texts = {part: (_sentences(found[read]), _sentences(found[written])) for part, found in files.items() if set(found) >= set(languages)}
    for part, (ours, theirs) in texts.items():
        if len(ours) != len(theirs) or not ours:
            raise UserError(f"{folder}: {part} must have one line of {written} for each of {read}, got {len(theirs)} and {len(ours)}")
    vocabularies = [_vocabulary(sentences) for sentences in texts["train"]]
    lengths = [int(np.quantile([len(s) for s in sentences], LONGEST)) + 1 for sentences in texts["train"]]
    parts = {part: _pairs(*pair, vocabularies, lengths) for part, pair in texts.items()}
    sizes = {"source": len(vocabularies[0]), "target": len(vocabularies[1])}
    note = f"{read} to {written}: {sizes['source']:,} and {sizes['target']:,} words, at most {lengths[0]} and {lengths[1]} a sentence"
    return Raw(folder.name, parts, {"steps": "steps"}, sizes, tuple(vocabularies[1]), task="seq2seq", notes=(note,))


def _files(folder: Path) -> dict[str, dict[str, Path]]:
    """Files by part and language; of several test sets the first by name."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _PARALLEL.match(path.name)
        if match:
            found.setdefault(_PART[match[1]], {}).setdefault(match[2], path)
    return found


def _sentences(path: Path) -> list[list[str]]:
    try:
        data = unpacked(content(path)) if path.suffix == ".gz" else content(path)
        lines = data.decode("utf-8").removesuffix("\n").split("\n")  # a text may hold other marks, at which Python breaks lines too
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: must be UTF-8 text, one sentence a line, got: {error}; fetch or convert it again") from error
    return [re.findall(r"\w+|[^\w\s]", line.lower()) for line in lines] if data else []


def _vocabulary(sentences: Iterable[Sequence[str]]) -> dict[str, int]:
    """Tokens by word: four special ones, then words from the most frequent on."""
    seen = Counter(word for sentence in sentences for word in sentence)
    words = [w for w, n in sorted(seen.items(), key=lambda item: (-item[1], item[0])) if n >= FEWEST_SEEN][:MOST_WORDS]
    return {word: i for i, word in enumerate(["<pad>", "<unknown>", "<begin>", "<end>", *words])}


def _pairs(ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]], vocabularies: Sequence[dict[str, int]],
           lengths: Sequence[int]) -> Arrays:  # fmt: skip
    source = np.full((len(ours), lengths[0]), PAD, dtype=np.int64)
    target = np.full((len(ours), lengths[1]), PAD, dtype=np.int64)
    following = np.full((len(ours), lengths[1]), IGNORE, dtype=np.int64)
    for i, pair in enumerate(zip(ours, theirs, strict=True)):
        read, written = ([words.get(w, UNKNOWN) for w in sentence] for words, sentence in zip(vocabularies, pair, strict=True))
        read, before, after = read[: lengths[0]], [BEGIN, *written][: lengths[1]], [*written, END][: lengths[1]]
        source[i, : len(read)], target[i, : len(before)], following[i, : len(after)] = read, before, after
    return Arrays({"source": source, "target": target}, {"steps": following})
