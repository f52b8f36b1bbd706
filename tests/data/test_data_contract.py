"""What holds for every format, and for every data set however it was read."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import made
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator

from nasforge.data import PARTS, Batch, Dataset, Source, load
from nasforge.data.dataset import KINDS
from nasforge.data.readers import READERS, read
from nasforge.errors import UserError
from nasforge.tasks import TASKS, forget_data, load_data, task_of


def _arrays(n: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    return {"x": rng.integers(0, 256, (n, 6, 7, 3)).astype(np.uint8), "y": y}


def _npz(root: Path) -> str:
    np.savez(root / "set.npz", **_arrays())
    return str(root / "set.npz")


def _npz_folder(root: Path) -> str:
    return str(Path(_npz(root)).parent)


def _npy_folder(root: Path) -> str:
    for name, array in _arrays().items():
        np.save(root / f"{name}.npy", array)
    return str(root)


def _npy(root: Path) -> str:
    return f"{_npy_folder(root)}/x.npy"


def _table(root: Path) -> str:
    rows = "\n".join(f"{i},{'' if i == 3 else i * i},{'red' if i % 3 else 'blue'},{i % 2}" for i in range(40))
    (root / "t.csv.gz").write_bytes(gzip.compress(f"a,b,color,class\n{rows}\n".encode()))
    return str(root / "t.csv.gz")


def _text(root: Path) -> str:
    (root / "t.txt").write_text("".join(chr(97 + i * i % 23) for i in range(64 * 30)), encoding="utf-8")
    return str(root / "t.txt")


def _rows() -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    n = 60
    return {"a": rng.normal(size=n).tolist(), "b": [int(v) for v in rng.integers(0, 9, n)],
            "color": [("red", "green")[i % 2] for i in range(n)], "label": [f"kind{i % 3}" for i in range(n)]}  # fmt: skip


def _json_lines(root: Path) -> str:
    rows = _rows()
    lines = [json.dumps({name: column[i] for name, column in rows.items()}) for i in range(len(rows["a"]))]
    (root / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(root / "t.jsonl")


def _parquet(root: Path) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(_rows()), root / "t.parquet")
    return str(root / "t.parquet")


def _arff(root: Path) -> str:
    rows = _rows()
    head = "@relation t\n@attribute a numeric\n@attribute b numeric\n@attribute color {red,green}\n@attribute label {kind0,kind1,kind2}"
    lines = [",".join(str(column[i]) for column in rows.values()) for i in range(len(rows["a"]))]
    (root / "t.arff").write_text("\n".join([head, "@data", *lines, ""]), encoding="utf-8")
    return str(root / "t.arff")


def _idx(root: Path) -> str:
    arrays = _arrays()
    for name, array in (("images", arrays["x"][..., 0]), ("labels", arrays["y"].astype(np.uint8))):
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (root / f"train-{name}-idx{array.ndim}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return str(root)


def _parallel(root: Path) -> str:
    for part, n in (("train", 40), ("val", 10), ("test", 12)):
        for language, words in (("en", ("one", "two", "three")), ("fr", ("un", "deux", "trois"))):
            lines = [" ".join(words[(i + j) % 3] for j in range(1 + i % 4)) + "." for i in range(n)]
            (root / f"{part}.{language}").write_text("\n".join(lines), encoding="utf-8")
    return str(root)


def _images(root: Path) -> str:
    arrays = _arrays()
    for i, (x, y) in enumerate(zip(arrays["x"], arrays["y"], strict=True)):
        (root / f"class{y}").mkdir(exist_ok=True)
        Image.fromarray(x).save(root / f"class{y}" / f"{i}.png")
    return str(root)


def _masked(root: Path) -> str:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i, x in enumerate(_arrays()["x"]):
        Image.fromarray(x).save(root / "images" / f"{i}.png")
        Image.fromarray((x[..., 0] > x[..., 0].mean()).astype(np.uint8)).save(root / "masks" / f"{i}.png")
    return str(root)


def _labelled(root: Path) -> str:
    folder = Path(_images(root))
    files = sorted(folder.glob("*/*.png"))
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in files]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    return str(root)


def _saved(root: Path) -> str:
    hf = pytest.importorskip("datasets")
    arrays = _arrays()
    features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["cat", "dog"])})
    hf.disable_progress_bars()
    rows = hf.Dataset.from_dict({"image": [Image.fromarray(x) for x in arrays["x"]], "label": arrays["y"]}, features=features)
    rows.save_to_disk(root / "saved")
    return str(root / "saved")


WRITTEN: Mapping[str, Callable[[Path], str]] = {
    "digits": lambda root: "digits",
    "digit_scenes": lambda root: "digit_scenes",
    "diabetes": lambda root: "diabetes",
    "npz": _npz,
    "table": _table,
    "json lines": _json_lines,
    "columnar": _parquet,
    "arff": _arff,
    "characters": _text,
    "npy": _npy,
    "idx": _idx,
    "npy folder": _npy_folder,
    "npz folder": _npz_folder,
    "parallel": _parallel,
    "saved": _saved,
    "labelled images": _labelled,
    "images and masks": _masked,
    "images": _images,
    "function": lambda root: f"{made.__file__}:label",
}
EVERY = [*WRITTEN, "mask", "steps", "value", "labels", "seq2seq", "several"]
OWN = {"value": "regression", "labels": "multilabel", "seq2seq": "seq2seq"}


def data_of(name: str, root: Path, **values: Any) -> Dataset:
    if name not in WRITTEN:
        return load_data(Source(f"{made.__file__}:{name}", allow_code=True, task=OWN.get(name), **values))
    task = "regression" if name == "diabetes" else None
    return load_data(Source(WRITTEN[name](root), allow_code=True, task=task, **values))


@pytest.fixture(params=EVERY)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    return data_of(request.param, tmp_path)


def joined(data: Dataset, part: Any, size: int = 10_000, **values: Any) -> Batch:
    """All samples of a part as one batch."""
    batches = list(data.batches(part, size, **values))
    first = batches[0]
    inputs = {k: torch.cat([b.inputs[k] for b in batches]) for k in first.inputs}
    return Batch(inputs, {k: torch.cat([b.targets[k] for b in batches]) for k in first.targets})


def same(first: Batch, second: Batch) -> bool:
    return all(
        a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())
        for a, b in ((first.inputs, second.inputs), (first.targets, second.targets))
    )


def rows(batch: Batch) -> list[bytes]:
    """Each sample as bytes, so that samples can be sorted and counted."""
    tensors = (*batch.inputs.values(), *batch.targets.values())
    return [b"".join(t[i].numpy().tobytes() for t in tensors) for i in range(len(batch))]


# --- formats ----------------------------------------------------------------------------------------------------------


def test_every_format_is_tried_here() -> None:
    assert list(WRITTEN) == list(READERS)


@pytest.mark.parametrize("name", list(WRITTEN))
def test_one_format_reads_what_is_its_own_and_tells_what_it_is(name: str, tmp_path: Path) -> None:
    spec = WRITTEN[name](tmp_path)
    assert next(key for key, reader in READERS.items() if reader.accepts(spec)) == name
    raw = read(Source(spec, allow_code=True))
    assert raw.name and "train" in raw.parts and set(raw.parts) <= set(PARTS)
    for part in raw.parts.values():
        assert part.targets.keys() == raw.kinds.keys() and set(raw.kinds.values()) <= set(KINDS)
        assert {len(array) for array in (*part.inputs.values(), *part.targets.values())} == {len(part)}
        assert all(x.dtype in (np.uint8, np.float32, np.int64) for x in part.inputs.values())
        assert all(y.dtype in (np.float32, np.int64) for y in part.targets.values())
    tokens = {key for key, x in raw.parts["train"].inputs.items() if x.dtype == np.int64}
    assert set(raw.vocab or ()) == tokens
    again = read(Source(spec, allow_code=True))
    assert all(
        np.array_equal(a, again.parts["train"].inputs[k], equal_nan=True)
        for k, a in raw.parts["train"].inputs.items()
        if a.dtype != np.uint8
    )


def test_every_name_is_listed_where_nothing_is_found(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(str(tmp_path / "nothing"))
    assert all(reader.what in str(error.value) for reader in READERS.values())


# --- the contract -----------------------------------------------------------------------------------------------------


def test_what_data_say_of_themselves_is_so(data: Dataset) -> None:
    spec = data.spec
    assert data.name and data.key and task_of(spec).name in (*TASKS, "heads")
    for part in PARTS:
        batch = joined(data, part)
        assert len(batch) == data.size(part) > 0
        assert batch.inputs.keys() == spec.inputs.keys() and batch.targets.keys() == spec.targets.keys() and batch.mix is None
        for name, shape in spec.inputs.items():
            x = batch.inputs[name]
            if isinstance(shape, Mapping):
                assert x.shape[1:] == (shape["length"],) and 0 <= int(x.min()) <= int(x.max()) < shape["tokens"]
            else:
                assert list(x.shape[1:]) == shape and x.dtype == torch.float32 and bool(torch.isfinite(x).all())
        for name, target in spec.targets.items():
            y = batch.targets[name]
            if target.kind in ("value", "labels"):
                assert y.shape == (len(batch), target.size) and y.dtype == torch.float32
            else:
                known = y[y != -100]
                assert y.ndim == {"label": 1, "steps": 2, "mask": 3}[target.kind]
                assert 0 <= int(known.min()) <= int(known.max()) < target.size
            assert not target.names or len(target.names) == target.size


def test_targets_are_described_by_the_training_part(data: Dataset) -> None:
    train = joined(data, "train")
    for name, target in data.spec.targets.items():
        y = train.targets[name]
        assert target.samples == len(train)
        if target.kind == "value":
            assert target.mean == pytest.approx(y.double().mean(0).tolist())
            assert target.std == pytest.approx(y.double().std(0, correction=0).tolist())
        elif target.kind == "labels":
            assert target.counts == tuple(int(n) for n in y.sum(0))
        else:
            assert target.counts == tuple(y[y != -100].bincount(minlength=target.size).tolist())


def test_inputs_are_normalized_by_the_training_part_alone(data: Dataset) -> None:
    for name, x in joined(data, "train").inputs.items():
        if not x.is_floating_point():
            continue
        dims = {2: [0], 3: [0, 1], 4: [0, 2, 3]}[x.ndim]
        assert float(x.mean(dims).abs().max()) < 1e-4
        deviation = x.double().std(dims, correction=0)
        assert bool(((deviation - 1).abs() < 5e-2).logical_or(deviation < 1e-6).all()), name  # a little less where a number was missing
        val = joined(data, "val").inputs[name]
        assert float(val.mean(dims).abs().max()) > 1e-6  # by the statistics of train, not by its own


def test_batches_hold_each_sample_once_in_the_order_in_which_they_lie(data: Dataset) -> None:
    for part in PARTS:
        n = data.size(part)
        for size in (1 if n < 100 else 33, 7 if n < 100 else 64, n, n + 5):
            sizes = [len(batch) for batch in data.batches(part, size)]
            assert sizes == [size] * (n // size) + ([n % size] if n % size else [])
            assert same(joined(data, part, size), joined(data, part))


def test_a_generator_gives_a_permutation_and_another_one_each_time(data: Dataset) -> None:
    generator = Generator().manual_seed(1)
    first, second = (joined(data, "train", 16, generator=generator) for _ in range(2))
    again = joined(data, "train", 16, generator=Generator().manual_seed(1))
    plain = joined(data, "train")
    assert same(first, again) and not same(first, second) and not same(first, plain)
    assert sorted(rows(first)) == sorted(rows(plain))
    assert same(joined(data, "train", 5, generator=Generator().manual_seed(1)), first)  # whatever the size of a batch


def test_a_share_is_the_beginning_of_the_training_part_and_leaves_the_rest_alone(data: Dataset) -> None:
    assert data.subset(1.0) is data
    n = data.size("train")
    half = data.subset(0.5)
    assert half.size("train") == max(2, round(0.5 * n)) and half.spec.inputs == data.spec.inputs
    assert set(rows(joined(half, "train"))) <= set(rows(joined(data, "train")))
    assert all(same(joined(half, part), joined(data, part)) for part in ("val", "test"))
    assert same(joined(data.subset(0.5), "train"), joined(half, "train")) and data.size("train") == n
    assert data.subset(1e-9).size("train") == 2


def test_a_change_is_made_in_every_batch_and_told_by_the_key(data: Dataset) -> None:
    floats = {name for name, x in joined(data, "train").inputs.items() if x.is_floating_point()}
    twice = data.map(lambda batch: batch.with_inputs(lambda x: torch.cat([x, x], 1)), "twice")
    assert twice.key != data.key and "twice" in twice.key and twice.name == data.name
    for name, shape in twice.spec.inputs.items():
        before = data.spec.inputs[name]
        if name in floats:
            assert shape == [2 * before[0], *before[1:]]
        else:
            assert shape == {"tokens": before["tokens"], "length": 2 * before["length"]}
    for part in PARTS:
        found, plain = joined(twice, part), joined(data, part)
        assert all(torch.equal(found.inputs[name], torch.cat([x, x], 1)) for name, x in plain.inputs.items())
        assert same(Batch(plain.inputs, found.targets), plain)
    both = twice.map(lambda batch: batch.with_inputs(lambda x: x[:, :1]), "first").subset(0.5)
    assert all(torch.equal(x, joined(data.subset(0.5), "train").inputs[k][:, :1]) for k, x in joined(both, "train").inputs.items())
    assert both.key not in (twice.key, data.key)


def test_a_device_changes_nothing_else(data: Dataset) -> None:
    assert data.to("cpu").key == data.key and same(joined(data.to("cpu"), "val"), joined(data, "val"))
    meta = data.to("meta")
    batch = next(meta.batches("train", 4))
    assert all(t.device.type == "meta" for t in (*batch.inputs.values(), *batch.targets.values())) and meta.size("val") == data.size("val")
    assert next(data.batches("train", 4)).x.device.type == "cpu"


@pytest.mark.parametrize("name", EVERY)
def test_the_key_is_of_the_content_and_the_split(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, again = data_of(name, tmp_path / "a"), data_of(name, tmp_path / "b")
    forget_data()
    assert first.key == again.key == data_of(name, tmp_path / "a").key
    assert data_of(name, tmp_path / "a", seed=1).key != first.key
    assert data_of(name, tmp_path / "a", limit=first.size("train") - 4).key != first.key


def test_the_key_changes_with_one_number(tmp_path: Path) -> None:
    arrays = _arrays()
    keys = set()
    for change in ("nothing", "x", "y"):
        changed = {k: v.copy() for k, v in arrays.items()}
        if change != "nothing":
            changed[change].reshape(-1)[0] ^= 1
        np.savez(tmp_path / f"{change}.npz", **changed)
        keys.add(load(str(tmp_path / f"{change}.npz")).key)
    assert len(keys) == 3


# --- tables -----------------------------------------------------------------------------------------------------------


def _csv(root: Path, text: str, **values: Any) -> Dataset:
    (root / "t.csv").write_text(text, encoding="utf-8")
    forget_data()
    return load_data(Source(str(root / "t.csv"), **values))


def test_names_become_columns_and_blanks_the_mean_of_the_training_part(tmp_path: Path) -> None:
    lines = [f"{'' if i in (5, 6) else i},{('red', 'green', '')[i % 3]},{i % 2}" for i in range(60)]
    data = _csv(tmp_path, "size,color,y\n" + "\n".join(lines))
    assert data.spec.input == [3] and data.spec.target.names == ("0", "1")
    assert data.spec.notes == (
        "size: 2 empty cells, counted as the mean of the column", "color: 2 names, one column each; 20 empty cells, counted as none of them"
    )  # fmt: skip
    x = torch.cat([joined(data, part).x for part in PARTS])
    assert int((x[:, 0] == 0).sum()) == 2  # the mean of what is normalized
    kinds = {tuple(int(v > 0) for v in row[1:]) for row in x}
    assert kinds == {(1, 0), (0, 1), (0, 0)}  # a blank among names is none of them
    known = [i for i in range(60) if i not in (5, 6)]
    whole = torch.tensor(known, dtype=torch.float)
    spread = sorted(v for v in x[:, 0].tolist() if v)
    assert np.diff(spread).min() == pytest.approx(np.diff(spread).max() / 3, rel=1e-3) and len(spread) == len(whole)


def test_the_target_is_named_or_the_usual_one_or_the_last(tmp_path: Path) -> None:
    rows_ = "\n".join(f"{i % 2},{i},{i / 7:.3f},{i % 3}" for i in range(60))
    named = f"class,a,b,c\n{rows_}"
    assert _csv(tmp_path, named).spec.target.size == 2
    assert _csv(tmp_path, named, target="c").spec.target.size == 3
    found = _csv(tmp_path, named, target="b", task="regression")
    assert found.spec.target.names == ("b",) and found.spec.input == [3] and task_of(found.spec).name == "regression"
    assert _csv(tmp_path, rows_).spec.target.size == 3
    assert _csv(tmp_path, rows_, target="1").spec.target.size == 2
    with pytest.raises(UserError, match=r"--target d: .* has no column 'd'; valid: a, b, c, class"):
        _csv(tmp_path, named, target="d")
    with pytest.raises(UserError, match=r"--target 5: .* has no column '5'; .*valid: 1, 2, 3, 4"):
        _csv(tmp_path, rows_, target="5")


@pytest.mark.parametrize(
    ("text", "task", "message"),
    [
        ("a,y\n" + "1,0.5\n" * 30, None, "labels must be integers or names, got '0.5'; for numbers to predict, add --task regression"),
        ("a,y\n" + "1,x\n2,z\n" * 30, "regression", "line 2: the target y must be a number, got 'x'"),
        ("a,y\n1,\n" + "1,2\n" * 30, "regression", "line 2: the target y must be a number, got ''"),
        ("a,y\n" + "1,7\n" * 30, "regression", "the target must differ between samples, got"),
        ("y,z\n" + "".join(f"{i % 2},name{i}\n" for i in range(80)), None, "line 2: z must .* at most 50 names, got 80 different"),
        ("y,z\n" + "0,1\n1,\n1,a\n" * 30, None, "line 4: z must hold numbers, or at most 50 names, got 'a' beside numbers"),
    ],
)
def test_mistakes_in_tables(tmp_path: Path, text: str, task: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _csv(tmp_path, text, task=task)


def test_values_far_from_nothing_keep_their_digits(tmp_path: Path) -> None:
    text = "a,y\n" + "\n".join(f"{i},{1_000_000 + i % 10}" for i in range(100))
    target = _csv(tmp_path, text, task="regression", target="y").spec.target
    y = [1_000_000 + i % 10 for i in range(100)]
    assert target.mean[0] == pytest.approx(sum(y) / len(y), abs=1) and target.std[0] == pytest.approx(math.sqrt(8.25), rel=0.1)
    constant = "a,y\n" + "\n".join(f"{i},1000000.3" for i in range(60))
    with pytest.raises(UserError, match="the target must differ between samples"):
        _csv(tmp_path, constant, task="regression", target="y")


def test_options_that_a_format_would_not_look_at_are_refused(tmp_path: Path) -> None:
    npz = _npz(tmp_path)
    for spec in ("digits", npz):
        with pytest.raises(UserError, match=r"--target: names a column .* a search ends is --until; .* has none; leave it out"):
            load_data(Source(spec, target="accuracy>=.9"))
    table = tmp_path / "t.csv"
    table.write_text("a,y\n" + "\n".join(f"{i},{i % 2}" for i in range(40)), encoding="utf-8")
    for spec in ("digits", npz, str(table)):
        with pytest.raises(UserError, match=r"--image-size: brings image files to a size; .* has none; leave it out"):
            load_data(Source(spec, image_size=(16, 16)))


# --- sentences --------------------------------------------------------------------------------------------------------


def test_sentences_are_told_from_what_was_written_before(tmp_path: Path) -> None:
    data = load(_parallel(tmp_path))
    assert data.spec.task == "seq2seq" and [data.size(part) for part in PARTS] == [40, 10, 12]
    batch = data.test
    before, after, labels = batch.inputs["target"], batch.targets["steps"], data.spec.target.names
    known = after != -100
    assert torch.equal(before[:, 0], torch.full((12,), 2))  # <begin>
    assert torch.equal(before[:, 1:][known[:, 1:]], after[:, :-1][known[:, 1:]])  # each word is the input of the next place
    sentences = [" ".join(labels[int(t)] for t in row if t != -100) for row in after]
    assert sentences[:3] == ["un . <end>", "deux trois . <end>", "trois un deux . <end>"]
    assert data.spec.inputs["source"] == {"tokens": 8, "length": 6}
    other = load(str(tmp_path), target="en")
    assert "one" in other.spec.target.names and "un" not in other.spec.target.names
    with pytest.raises(UserError, match=r"--target de: .* has no such language; .*valid: en, fr"):
        load(str(tmp_path), target="de")
    (tmp_path / "val.fr").write_text("un\n", encoding="utf-8")
    with pytest.raises(UserError, match="val must have one line of fr for each of en, got 1 and 10"):
        load(str(tmp_path))
