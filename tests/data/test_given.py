"""Data as users have them: frames, names as classes, layouts of images, sequences of unequal length."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import shared_data

from nasforge.data import Dataset, Source
from nasforge.errors import UserError
from nasforge.tasks import data_of, load_data, task_of

RNG = np.random.default_rng(0)


def flowers() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_iris

    bunch = load_iris()
    return bunch.data, bunch.target_names[bunch.target]


def test_one_data_set_in_every_form_has_one_key(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    x, names = flowers()
    frame = pandas.DataFrame(x, columns=list("abcd")).assign(label=names)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    np.savez(tmp_path / "t.npz", x=x, y=names.astype(str))
    files = [load_data(Source(str(tmp_path / name))) for name in ("t.csv", "t.parquet", "t.jsonl", "t.npz")]
    apart = (frame[list("abcd")], frame["label"])
    found = [data_of(given) for given in ((x, names), {"x": x, "y": names}, frame, apart, (torch.from_numpy(x), names.tolist()))]
    assert len({data.key for data in (*files, *found)}) == 1
    assert all(data.spec.input == [4] and data.spec.target.names == ("setosa", "versicolor", "virginica") for data in (*files, *found))


@pytest.mark.parametrize(("given", "options", "said"), [
    ("frame", {"target": "colour"}, "no column 'colour'; did you mean 'color'"),
    ("frame", {"task": "regression", "target": "color"}, "row 0: the target color must be a number, got 'red'"),
    ("frame", {"task": "regresion"}, "no such task; did you mean 'regression'"),
    ((RNG.random((20, 3)), ["a", "b"] * 10), {"target": "y"}, "names a column of a frame"),
    ((np.array([["a", "b"]] * 20), [0, 1] * 10), {}, "x must hold numbers"),
    (7, {}, "must be a name, (x, y)"),
    (([RNG.random((3, 2)), RNG.random((4, 3))] * 10, [0, 1] * 10), {}, "must be (T,) or (T, F) numbers with the same F"),
    (([RNG.random((3, 2)), RNG.random((0, 2))] * 10, [0, 1] * 10), {}, "must be (T,) or (T, F) numbers"),
])  # fmt: skip
def test_mistakes_in_what_is_given(given: Any, options: dict[str, Any], said: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(40), "color": ["red", "blue"] * 20})
    with pytest.raises(UserError) as caught:
        data_of(frame if isinstance(given, str) else given, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(("shape", "reads", "found"), [
    ((32, 9, 9), None, [32, 9, 9]),  # two equal sides, though the channels are more
    ((9, 9, 32), None, [32, 9, 9]),
    ((3, 6, 7), None, [3, 6, 7]),
    ((6, 7, 3), None, [3, 6, 7]),
    ((8, 8, 8), None, [8, 8, 8]),
    ((9, 12, 12), (12, 9, 12), [12, 9, 12]),  # the network decides
    ((5, 6, 7), None, [5, 6, 7]),
    ((7, 6, 5), None, [5, 7, 6]),
    ((5, 6, 7), (7, 5, 6), [7, 5, 6]),
    ((32, 9, 9), (32, 9, 9), [32, 9, 9]),
    ((4, 4, 3), (4, 8, 8), [4, 4, 3]),  # its number of channels alone
])  # fmt: skip
def test_the_layout_of_images_is_that_of_the_network_or_told_by_the_sides(shape: Any, reads: Any, found: list[int]) -> None:
    x = RNG.random((20, *shape)).astype(np.float32)
    data = data_of((x, [0, 1] * 10), reads=reads)
    assert data.spec.input == found
    moved = found != list(shape) or (shape[0] == shape[2] and found[0] != shape[0])
    assert ("channels" in " ".join(data.spec.notes)) or not moved, "nothing is transposed silently"
    whole = torch.cat([next(data.batches(part, 20)).x for part in ("train", "val", "test")])
    mean = whole.mean((0, 2, 3))
    assert len(mean) == found[0]


def series(n: int = 60) -> tuple[list[np.ndarray], list[int]]:
    lengths = RNG.integers(2, 9, n)
    return [RNG.normal(i % 2, 1, (int(t), 3)).astype(np.float32) for i, t in enumerate(lengths)], [i % 2 for i in range(n)]


def steps_known(data: Dataset) -> int:
    parts = [next(data.batches(part, 1000)).x for part in ("train", "val", "test")]
    return int(sum((~x.isnan().all(2)).sum() for x in parts))


def test_sequences_of_unequal_length_in_every_form(tmp_path: Path) -> None:
    x, y = series()
    longest = max(map(len, x))
    nan, zeros = np.full((60, longest, 3), np.nan, np.float32), np.zeros((60, longest, 3), np.float32)
    for i, sample in enumerate(x):
        nan[i, : len(sample)] = zeros[i, : len(sample)] = sample
    np.savez(tmp_path / "l.npz", x=zeros, y=y, lengths=[len(s) for s in x])
    found = [data_of((x, y)), data_of((nan, y)), load_data(Source(str(tmp_path / "l.npz")))]
    assert len({data.key for data in found}) == 1
    for data in found:
        assert data.spec.padded == {"input"} and data.spec.input == [longest, 3] and task_of(data.spec).name == "classification"
        assert steps_known(data) == sum(map(len, x))
        train = next(data.batches("train", 1000)).x
        assert train.nanmean((0, 1)).abs().max() < 1e-5 and (train**2).nanmean((0, 1)).sub(1).abs().max() < 1e-4


def test_tokens_and_steps_of_unequal_length() -> None:
    x = [RNG.integers(0, 7, int(t)) for t in RNG.integers(2, 6, 40)]
    tags = [sample % 3 for sample in x]
    data = data_of((x, tags))
    batch = next(data.batches("train", 1000))
    assert data.spec.padded == {"input"} and data.spec.input == {"tokens": 7, "length": 5} and data.spec.target.kind == "steps"
    assert bool(((batch.x < 0) == (batch.y < 0)).all()) and int(batch.y.min()) == -100
    plain = data_of(([RNG.random(int(t)) for t in RNG.integers(2, 6, 40)], [0, 1] * 20))
    assert plain.spec.input == [5, 1] and plain.spec.padded == {"input"}


def test_multilabel_arff_as_mulan_writes_it() -> None:
    path = shared_data("multilabel/scene-train.arff.gz")
    data = load_data(Source(str(path), task="multilabel"))
    assert data.spec.input == [294] and data.spec.target.names == ("Beach", "Sunset", "FallFoliage", "Field", "Mountain", "Urban")
    assert data.size("train") + data.size("val") == 1211 and data.size("test") == 1196
    two = load_data(Source(str(path), task="multilabel", target="Beach,Urban"))
    assert two.spec.target.size == 2 and two.spec.input == [298]


# --- frames and columns ---------------------------------------------------------------------------------------------

N = 40
V = RNG.normal(size=(N, 2))
TWO = np.arange(N) % 2


def everything(data: Dataset) -> dict[str, torch.Tensor]:
    return {part: next(data.batches(part, 1000)).x for part in ("train", "val", "test")}


def test_frames_of_parts_are_matched_by_the_names_of_their_columns() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(V, columns=["a", "b"])
    right = data_of({"x_train": V, "y_train": TWO, "x_test": V, "y_test": TWO})
    swapped = data_of({"x_train": frame, "y_train": TWO, "x_test": frame[["b", "a"]], "y_test": pandas.Series(TWO, name="other")})
    assert right.key == swapped.key and torch.equal(everything(right)["test"], everything(swapped)["test"])
    whole = pandas.DataFrame({"a": range(N), "c": ["red", "blue"] * (N // 2)})
    found = data_of({"x_train": whole, "y_train": TWO, "x_test": whole[whole.c == "red"], "y_test": TWO[::2]})
    assert found.spec.input == [3] == data_of((whole, TWO)).spec.input, "numbers and names, in one part as in both"
    both = pandas.DataFrame({"p": V[:, 0], "q": V[:, 1]})
    values = data_of({"x_train": V, "y_train": both, "x_test": V, "y_test": both[["q", "p"]]}, task="regression")
    assert torch.equal(next(values.batches("test", N)).y, torch.tensor(V).float())
    assert data_of((V, pandas.DataFrame({"kind": np.array(["u", "v"])[TWO]}))).spec.target.names == ("u", "v")
    for x in (V, frame):
        assert torch.equal(*(next(data_of((x, y), task="regression").batches("train", N)).y for y in (both, V)))


def test_frames_that_cannot_be_matched() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(V, columns=["a", "b"])
    for given, said in [
        ({"x_train": frame, "y_train": TWO, "x_test": frame[["a"]], "y_test": TWO}, "test must have the columns of train, got 'b'"),
        ({"x_train": frame, "y_train": TWO, "x_test": V, "y_test": TWO}, "a frame in every part or in none, got ndarray as x_test"),
        ({"x:a": frame, "x:b": V, "y": TWO}, "frames must be x beside y"),
        ((frame, TWO[:-1]), "one row for each sample, got [39, 40] rows"),
        ((frame, V), "are for --task multilabel or regression"),
        ((pandas.DataFrame(V, columns=["a", "a"]), TWO), "a name of its own, got 'a' twice"),
        ((pandas.DataFrame(V, columns=[1, "1"]), TWO), "a name of its own, got '1' twice"),
        (pandas.DataFrame(np.column_stack([V, TWO]), columns=["a", "a", "label"]), "a name of its own, got 'a' twice"),
        (pandas.DataFrame({"a": [np.ones(2)] * N, "label": TWO}), "a, row 0: must be a number or a name, got a ndarray"),
        ({0: V, 1: TWO}, "arrays must have names such as x and y, got 0"),
    ]:
        with pytest.raises(UserError) as caught:
            data_of(given)
        assert said in str(caught.value)


def test_classes_that_are_written_differently_are_different() -> None:
    pandas = pytest.importorskip("pandas")
    for words, names in [
        (["1_1", "11", "2", "2"], ("11", "1_1", "2")),
        (["01", "1", "2", "2"], ("1", "01", "2")),
        (["1.0", "1", "2", "2e0"], ("1", "2")),
        ([2**53, 2**53 + 1, 3, 3], ("3", str(2**53), str(2**53 + 1))),
        ([str(2**70), str(2**70), "3", "3"], ("3", str(2**70))),
        ([20240101, 20240102, 2000000, 2000000], ("2000000", "20240101", "20240102")),
        ([20240101.0, 20240102.0, 2e6, 2e6], ("2000000", "20240101", "20240102")),
    ]:
        y = words * 10
        found = data_of(pandas.DataFrame({"a": range(40), "label": y})).spec.target
        assert found.names == names and found.size == len(names)


def test_numbers_as_a_table_holds_them_and_what_is_missing() -> None:
    pandas = pytest.importorskip("pandas")
    arrow = pytest.importorskip("pyarrow")
    plain = pandas.DataFrame({"a": V[:, 0], "label": TWO})
    assert data_of(arrow.Table.from_pandas(plain)).key == data_of(plain).key
    for kind, values in (("string", ["u", pandas.NA] * 20), ("boolean", [True, pandas.NA] * 20), ("Int64", [7, pandas.NA] * 20)):
        found = data_of(plain.assign(b=pandas.Series(values, dtype=kind)))
        assert found.spec.input == [2]
    days = pandas.date_range("2024-01-01", periods=N, freq="D")
    keys = set()
    for unit in ("s", "ms", "us", "ns"):
        found = data_of(plain.assign(b=days.as_unit(unit)))
        keys |= {found.key, data_of(plain.assign(b=[day.to_pydatetime() for day in days.as_unit(unit)])).key}
        assert found.spec.input == [2]
    assert keys == {data_of(plain.assign(b=1704067200.0 + 86400 * np.arange(N))).key}, "seconds since 1970, which 2024-01-01 is"


def test_what_a_mask_hides_is_missing_and_tensors_come_as_they_are() -> None:
    hidden = np.ma.masked_array(V, mask=np.zeros_like(V, bool))
    hidden[::4, 0] = np.ma.masked
    assert data_of((hidden, TWO)).key == data_of((hidden.filled(np.nan), TWO)).key != data_of((V, TWO)).key
    tokens = np.ma.masked_array(RNG.integers(0, 5, (N, 3)), mask=np.zeros((N, 3), bool))
    tokens[::2, 2] = np.ma.masked
    assert data_of((tokens, TWO)).spec.padded == {"input"}
    with pytest.raises(UserError, match="must be integers from 0, got nan"):
        data_of((V, np.ma.masked_equal(TWO, 1)))
    with pytest.raises(UserError, match="labels y must be integers from 0, got an array of type object"):
        data_of((V, np.ma.masked_array(np.array(["a", "b"])[TWO], mask=TWO == 1)))
    x = torch.tensor(V, dtype=torch.float32)
    assert data_of((x.requires_grad_(), TWO)).key == data_of((V, TWO)).key
    assert data_of((x.bfloat16(), TWO)).key == data_of((x.detach().bfloat16().float(), TWO)).key
    ragged = tuple(RNG.random((2 + i % 3, 2)) for i in range(N))
    assert data_of((ragged, TWO)).key == data_of((list(ragged), TWO)).key
    with pytest.raises(UserError, match="x must hold an entry for each sample, got None as sample 1"):
        data_of(([V[0], None] * 20, TWO))
    with pytest.raises(UserError, match="x must be numbers of one shape"):
        data_of(([[[1, 2], [3]]] * N, TWO))


# --- numbers as they are --------------------------------------------------------------------------------------------


def test_digits_far_from_zero_last_until_they_are_centered(tmp_path: Path) -> None:
    far = 1.7e9 + np.arange(N)[:, None] * np.array([1.0, 3.0])
    x = np.concatenate([everything(data_of((far, TWO)))[part] for part in ("train", "val", "test")])
    assert len(np.unique(x)) > N - 5
    series = np.repeat(far[:, None], 5, 1)
    for name, given in (("vectors", far), ("sequences", series), ("whole", series.astype(np.int64)), ("images", far[:, :, None, None])):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", given)
        np.save(tmp_path / name / "y.npy", TWO)
        found = [load_data(Source.of({"data": str(tmp_path / name), "data_memory": memory})) for memory in (0, 1)]
        assert found[0].key == found[1].key == data_of((given, TWO)).key
        for part, x in everything(found[0]).items():
            torch.testing.assert_close(x, everything(found[1])[part], atol=1e-5, rtol=1e-5)
            assert x.dtype == torch.float32
        train = everything(found[0])["train"]
        assert abs(float(train.mean())) < 1e-5 and abs(float(train.std(correction=0)) - 1) < 1e-4
    ragged = [np.full((2 + i % 3, 1), 1.7e9 + i) for i in range(N)]
    assert len(everything(data_of((ragged, TWO)))["train"].flatten().unique()) > 20


def test_numbers_that_float32_cannot_hold_are_refused(tmp_path: Path) -> None:
    for given, options, said in [
        ((1e300 * V, TWO), {}, "numbers of at most 3.4e+38, the largest of float32"),
        ((V, 1e300 * V[:, 0]), {"task": "regression"}, "y must hold numbers of at most 3.4e+38"),
        ((V, 1.7e9 + np.arange(N)), {"task": "regression"}, "got 1700000000 to 1700000039; subtract their mean first"),
        ((np.full((N, 2), 2**40), TWO), {}, "tokens must be integers from 0 to 9999999, got 1099511627776; number the tokens"),
        ((np.full((N, 2), 2**64 - 1, np.uint64), TWO), {}, "tokens x must be integers from 0 to 9999999, got 18446744073709551615"),
        ((V, TWO * 2**40), {}, "labels y must be integers from 0 to 9999999, got 1099511627776; number the classes"),
        ((V, TWO.astype(np.uint64) * np.uint64(2**63)), {}, "labels y must be integers from 0 to 9999999, got 9223372036854775808"),
        ((V[:, :0], TWO), {}, "samples of x must hold numbers, got the shape (40, 0)"),
        ((TWO[:, None][:, :0], TWO), {}, "samples of x must hold numbers, got the shape (40, 0)"),
        ((np.zeros((N, 3, 0, 4)), TWO), {}, "samples of x must hold numbers, got the shape (40, 3, 0, 4)"),
    ]:
        with pytest.raises(UserError) as caught:
            data_of(given, **options)
        assert said in str(caught.value)
    (tmp_path / "far").mkdir()
    np.save(tmp_path / "far" / "x.npy", 1e300 * V)
    np.save(tmp_path / "far" / "y.npy", TWO)
    with pytest.raises(UserError, match="the largest of float32"):
        load_data(Source.of({"data": str(tmp_path / "far"), "data_memory": 0}))
    np.save(tmp_path / "far" / "x.npy", np.float64(1))
    with pytest.raises(UserError, match="one entry for each sample"):
        load_data(Source.of({"data": str(tmp_path / "far"), "data_memory": 0}))


@pytest.mark.parametrize("lengths", [None, "unequal", "equal"])
@pytest.mark.parametrize(("shape", "kind"), [
    ((5,), np.uint8), ((5,), np.int32), ((5,), np.float32), ((5, 2), np.float64), ((5, 2), np.uint8), ((5, 2), np.int64),
])  # fmt: skip
def test_mapped_arrays_are_what_they_are_in_memory(tmp_path: Path, shape: Any, kind: Any, lengths: str | None) -> None:
    np.save(tmp_path / "x.npy", RNG.integers(0, 9, (N, *shape)).astype(kind))
    np.save(tmp_path / "y.npy", TWO)
    if lengths:
        np.save(tmp_path / "lengths.npy", 2 + np.arange(N) % 3 * (lengths == "unequal"))
    inside, mapped = (load_data(Source.of({"data": str(tmp_path), "data_memory": memory})) for memory in (1, 0))
    assert mapped.spec == inside.spec and mapped.key == inside.key
    sent = pickle.loads(pickle.dumps(mapped))
    for part, x in everything(inside).items():
        torch.testing.assert_close(everything(mapped)[part], x, equal_nan=True, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(everything(sent)[part], x, equal_nan=True, atol=1e-5, rtol=1e-5)


def test_a_part_of_equal_samples_beside_parts_of_unequal_ones() -> None:
    x, y = series()
    longest = max(map(len, x))
    short = [sample[:2] for sample in x]
    for part in (short, np.stack(short)):
        data = data_of({"x_train": x, "y_train": y, "x_test": part, "y_test": y})
        assert data.spec.input == [longest, 3] and steps_known(data) == sum(map(len, x)) + 2 * len(x)


def test_names_of_inputs_and_targets_and_no_order_are_in_the_key() -> None:
    a, b = V, V[::-1].copy()
    key = data_of({"x:p": a, "x:q": b, "y": TWO}).key
    assert key == data_of({"x:q": b, "x:p": a, "y": TWO}).key != data_of({"x:q": a, "x:p": b, "y": TWO}).key
    other = np.arange(N) // 2 % 2
    assert data_of({"x": a, "y:p": TWO, "y:q": other}).key != data_of({"x": a, "y:q": TWO, "y:p": other}).key
