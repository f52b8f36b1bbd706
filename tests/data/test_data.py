"""Every format on real or written files, the split, and every mistake a user can make with them."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import shared_data

from nasforge.data import Normalization, load, prepared
from nasforge.data.arrays import Arrays, input_of, raw_of
from nasforge.data.dataset import PARTS
from nasforge.data.splits import divide, held_out, stratified_order
from nasforge.errors import UserError

RNG = np.random.default_rng(0)


def labels(n: int, classes: int = 2) -> np.ndarray:
    return np.arange(n) % classes


def write_npz(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "set.npz", **arrays)
    return str(folder / "set.npz")


def write_images(root: Path, mode: str = "L", size: tuple[int, int] = (6, 5), count: int = 5) -> None:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
            Image.fromarray(RNG.integers(0, 256, shape).astype(np.uint8)).save(root / name / f"{mode}{i}.png")


# --- real data ------------------------------------------------------------------------------------------------------


def test_digits_are_split_60_20_20_by_class_and_normalised_by_train() -> None:
    data = load()
    assert (data.name, data.classes, data.shape, data.vocab) == ("digits", 10, (1, 8, 8), None)
    assert [len(p) for p in (data.train, data.val, data.test)] == [1079, 359, 359]  # 1,797 images: scikit-learn's page
    for part, share in ((data.train, 0.6), (data.val, 0.2), (data.test, 0.2)):
        assert part.x.dtype == torch.float32 and part.y.dtype == torch.int64
        counts = part.y.bincount()  # a class has 174 to 183 samples: scikit-learn's page
        assert 174 * share - 1 <= counts.min() and counts.max() <= 183 * share + 1
    assert abs(float(data.train.x.mean())) < 1e-5 and abs(float(data.train.x.std(correction=0)) - 1) < 1e-5
    assert 0 < abs(float(data.val.x.mean())) < 0.05  # by the statistics of train, not by its own


def test_the_split_follows_the_seed_and_so_does_the_key() -> None:
    first, again, other = load(seed=3), load(seed=3), load(seed=4)
    assert torch.equal(first.test.x, again.test.x) and first.key == again.key
    assert not torch.equal(first.test.x, other.test.x) and first.key != other.key
    assert load(seed=3, limit=100).key != first.key


def test_limit_keeps_a_stratified_share_and_enough_to_judge() -> None:
    data = load(limit=200)
    assert len(data.train) == 200 and data.train.y.bincount().tolist() == pytest.approx([20] * 10, abs=1)
    assert len(data.val) == len(data.test) == 359  # below 1,000 there is nothing to cut
    assert torch.equal(load(limit=10**6).train.x, load().train.x)


def test_mnist_keeps_its_official_test_set() -> None:
    data = load(str(shared_data("images/mnist")))
    assert [len(p) for p in (data.train, data.val, data.test)] == [54_000, 6_000, 10_000]
    assert (data.classes, data.shape) == (10, (1, 28, 28))
    assert data.mean[0] == pytest.approx(0.1307, abs=5e-4) and data.std[0] == pytest.approx(0.3081, abs=5e-4)
    assert data.test.y[:5].tolist() == [7, 2, 1, 0, 4]  # the well-known first test images
    small = load(str(shared_data("images/mnist/train-images-idx3-ubyte.gz")), limit=2_000)
    assert [len(p) for p in (small.train, small.val, small.test)] == [2_000, 1_000, 10_000]


@pytest.mark.thorough
@pytest.mark.slow
def test_cifar_is_decoded_and_keeps_its_official_test_set() -> None:
    data = load(str(shared_data("images/cifar10")), limit=1_000)
    assert [len(p) for p in (data.train, data.val, data.test)] == [1_000, 1_000, 10_000]
    assert (data.classes, data.shape) == (10, (3, 32, 32))
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.01)  # the customary means and deviations
    assert data.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=0.01)
    assert data.train.y.bincount().tolist() == [100] * 10 and data.test.y.bincount().tolist() == [1_000] * 10


def test_shakespeare_becomes_characters_with_the_next_one_as_target() -> None:
    data = load(str(shared_data("text/tinyshakespeare.txt")))
    assert data.vocab == data.classes == 65 and data.shape == (64,)
    assert sum(len(p) for p in (data.train, data.val, data.test)) == (1_115_394 - 1) // 64
    for part in (data.train, data.val, data.test):
        assert torch.equal(part.x[:, 1:], part.y[:, :-1])
        assert torch.equal(part.x[1:, 0], part.y[:-1, -1])  # windows of one part follow one another: no other part between
    assert data.val.x[0, 0] == data.train.y[-1, -1]


def test_spoken_digits_as_sequences_of_the_official_split(tmp_path: Path) -> None:
    with np.load(shared_data("audio/fsdd_900.npz")) as file:
        sound, starts, y, take = file["data"], file["offsets"], file["labels"], file["take"]
    cut = [sound[a:b][:2_048] for a, b in pairwise(starts)]
    x = np.stack([np.pad(c, (0, 2_048 - len(c))) for c in cut]).astype(np.float32).reshape(len(y), 32, 64)
    test = take < 5
    spec = write_npz(tmp_path, x_train=x[~test], y_train=y[~test], x_test=x[test], y_test=y[test])
    data = load(spec)
    assert [len(p) for p in (data.train, data.val, data.test)] == [480, 120, 300]
    assert (data.classes, data.shape, len(data.mean)) == (10, (32, 64), 64)


def test_camvid_as_label_maps_with_void_ignored(tmp_path: Path) -> None:
    names, x, y = [], [], []
    with zipfile.ZipFile(shared_data("segmentation/camvid_240x180.zip")) as pack:
        names = [n for n in pack.namelist() if "/trainannot/" in f"/{n}" and n.endswith(".png")][:12]
        for name in names:
            image = Image.open(io.BytesIO(pack.read(name.replace("trainannot", "train").replace(".png", ".jpg"))))
            x.append(np.asarray(image.convert("RGB").resize((60, 45))))
            y.append(np.asarray(Image.open(io.BytesIO(pack.read(name))).resize((60, 45), Image.Resampling.NEAREST)))
    void = np.where(np.stack(y) == 11, 255, np.stack(y))
    data = load(write_npz(tmp_path, x=np.stack(x), y=void))
    assert data.shape == (3, 45, 60) and data.train.y.shape == (8, 45, 60) and data.classes <= 11
    assert int(data.train.y.min()) == -100 and int(data.train.y.max()) < 11
    void_share = sum(int((p.y == -100).sum()) for p in (data.train, data.val, data.test)) / void.size
    assert void_share == pytest.approx(float((void == 255).mean()))


def test_film_reviews_as_a_folder_of_texts_are_refused_with_what_is_readable(tmp_path: Path) -> None:
    with tarfile.open(shared_data("text/review_polarity.tar.gz")) as pack:
        pack.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # not in the first Pythons 3.11
    with pytest.raises(UserError, match="must hold images"):
        load(str(tmp_path / "txt_sentoken"))


# --- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (RNG.integers(0, 256, (20, 6, 7)).astype(np.uint8), (1, 6, 7)),
        (RNG.integers(0, 256, (20, 6, 7, 3)).astype(np.uint8), (3, 6, 7)),
        (RNG.random((20, 3, 6, 7)), (3, 6, 7)),
        (RNG.random((20, 9, 4)), (9, 4)),
        (RNG.random((20, 9)), (9,)),
        (RNG.integers(0, 5, (20, 9)), (9,)),
    ],
    ids=["NHW bytes", "NHWC bytes", "NCHW floats", "NTF floats", "NF floats", "NT tokens"],
)
def test_npz_shapes(tmp_path: Path, x: np.ndarray, shape: tuple[int, ...]) -> None:
    data = load(write_npz(tmp_path, x=x, y=labels(20)))
    assert data.shape == shape and data.classes == 2
    assert data.vocab == (5 if x.dtype.kind == "i" else None)


def test_channels_last_pixels_end_up_where_they_belong(tmp_path: Path) -> None:
    x = np.zeros((20, 6, 7, 3), dtype=np.uint8)
    x[..., 1], x[:, 2, 5, 2] = 255, labels(20) * 255
    data = load(write_npz(tmp_path, x=x, y=labels(20)))
    assert data.mean[:2] == (0.0, 1.0)
    assert torch.equal(data.train.x[:, 2, 2, 5] > 0, data.train.y == 1)


def test_kind_settles_what_floats_of_three_axes_are(tmp_path: Path) -> None:
    x = RNG.random((20, 6, 7))
    assert load(write_npz(tmp_path, x=x, y=labels(20), kind="image")).shape == (1, 6, 7)
    assert load(write_npz(tmp_path, x=x, y=labels(20))).shape == (6, 7)


def test_next_tokens_are_split_in_order(tmp_path: Path) -> None:
    text = RNG.integers(0, 7, 201)
    data = load(write_npz(tmp_path, x=text[:-1].reshape(20, 10), y=text[1:].reshape(20, 10)))
    assert data.vocab == data.classes == 7
    joined = torch.cat([data.train.x, data.val.x, data.test.x]).flatten()
    assert joined.tolist() == text[:-1].tolist()


def test_given_parts_are_kept(tmp_path: Path) -> None:
    x, y = RNG.random((40, 5, 2)), labels(40)
    parts = {"train": slice(0, 20), "val": slice(20, 28), "test": slice(28, 40)}
    arrays = {f"{n}_{p}": a[s] for p, s in parts.items() for n, a in (("x", x), ("y", y))}
    data = load(write_npz(tmp_path, **arrays))
    assert [len(p) for p in (data.train, data.val, data.test)] == [20, 8, 12]
    del arrays["x_test"], arrays["y_test"]
    data = load(write_npz(tmp_path, **arrays))
    assert [len(p) for p in (data.train, data.val, data.test)] == [16, 8, 4]


def test_npy_pair_in_a_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.random((20, 9, 4)))
    np.save(tmp_path / "y.npy", labels(20))
    assert load(str(tmp_path)).shape == load(str(tmp_path / "x.npy")).shape == (9, 4)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_folder_of_images(tmp_path: Path, mode: str, channels: int) -> None:
    write_images(tmp_path, mode)
    data = load(str(tmp_path))
    assert data.shape == (channels, 5, 6) and data.classes == 2
    assert [len(p) for p in (data.train, data.val, data.test)] == [6, 2, 2]


def test_folder_with_parts_and_grey_images_among_coloured_ones(tmp_path: Path) -> None:
    write_images(tmp_path / "train", "L", count=10)
    write_images(tmp_path / "test", "RGB", count=3)
    data = load(str(tmp_path))
    assert data.shape == (3, 5, 6) and len(data.test) == 6 and len(data.train) + len(data.val) == 20
    assert torch.allclose(data.train.x[:, 0], data.train.x[:, 1])  # grey


def test_csv_with_header_and_named_classes(tmp_path: Path) -> None:
    rows = "\n".join(f"{'yes' if i % 2 else 'no'},{i},{100 * i}" for i in range(20))
    (tmp_path / "t.csv").write_text(f"label,a,b\n{rows}\n", encoding="utf-8")
    data = load(str(tmp_path / "t.csv"))
    assert data.shape == (2,) and data.classes == 2
    assert torch.allclose(data.train.x[:, 0], data.train.x[:, 1], atol=1e-5)  # each column by its own mean and deviation


def test_csv_without_header_has_its_label_last(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join(f"{i};{i % 3};{7 + i % 2}" for i in range(20)), encoding="utf-8")
    data = load(str(tmp_path / "t.csv"))
    assert data.shape == (2,) and data.classes == 2 and sum(len(p) for p in (data.train, data.val, data.test)) == 20


def test_own_function_runs_only_when_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import torch\ndef make():\n    return torch.arange(40.).reshape(20, 2), torch.arange(20) % 2\n"
    (tmp_path / "own_data_xyz.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--allow-code"):
        load("own_data_xyz:make")
    assert load("own_data_xyz:make", allow_code=True).shape == (2,)
    assert load(f"{tmp_path}/own_data_xyz.py:make", allow_code=True).shape == (2,)
    with pytest.raises(UserError, match="must have a function 'mak'"):
        load("own_data_xyz:mak", allow_code=True)
    with pytest.raises(UserError, match="no_such_module_xyz"):
        load("no_such_module_xyz:make", allow_code=True)


def test_function_must_return_arrays(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def make():\n    return 3\n", encoding="utf-8")
    with pytest.raises(UserError, match="must return"):
        load(f"{tmp_path}/own.py:make", allow_code=True)


# --- the split ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(5, 40), min_size=2, max_size=6), seed=st.integers(0, 99), limit=st.none() | st.integers(9, 50))
def test_parts_never_share_a_sample_and_hold_every_class(counts: list[int], seed: int, limit: int | None) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    try:
        made = {"train": Arrays({"input": np.arange(len(y))}, {"label": y})}
        parts = divide(made, seed=seed, limit=limit, ordered=False, stratified=True, where="set")
    except UserError as error:
        assert limit is not None and "raise limit" in str(error)
        return
    everything = np.concatenate([part.x for part in parts.values()])
    assert len(np.unique(everything)) == len(everything) <= len(y)
    assert all((y[part.x] == part.y).all() for part in parts.values())
    assert set(parts["train"].y) == set(y)
    if limit is None:
        assert len(everything) == len(y)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99), start=st.integers(0, 300), length=st.integers(1, 300))
def test_every_slice_of_the_order_is_stratified(seed: int, start: int, length: int) -> None:
    y = np.repeat(np.arange(3), [100, 200, 300])
    part = y[stratified_order(y, np.random.default_rng(seed))][start : start + length]
    expected = len(part) * np.array([1, 2, 3]) / 6
    assert np.abs(np.bincount(part, minlength=3) - expected).max() <= 2


@pytest.mark.parametrize(("counts", "share", "held"), [
    ([1, 2, 3, 10], 0.2, [0, 0, 1, 2]),  # a class with few samples keeps them for training
    ([1, 2, 2], 0.2, [0, 1, 0]),
    ([1, 1], 0.2, [0, 0]),
    ([4, 6], 0.9, [3, 5]),
    ([50], 0.1, [5]),
])  # fmt: skip
def test_a_share_of_each_class_is_held_out(counts: list[int], share: float, held: list[int]) -> None:
    y = np.random.default_rng(3).permutation(np.repeat(np.arange(len(counts)), counts))
    chosen = held_out(y, share, np.random.default_rng(0))
    assert np.bincount(y[chosen], minlength=len(counts)).tolist() == held


@pytest.mark.parametrize("memory_bytes", [1e9, 0.0])
def test_without_a_test_part_two_samples_of_a_class_are_enough(memory_bytes: float) -> None:
    raw = raw_of({"x": RNG.random((12, 3)), "y": [0, 1] * 5 + [2, 2]}, "set")
    with pytest.raises(UserError, match="at least 5 training samples, got 2"):
        prepared(raw)
    data = prepared(raw, test=False, memory_bytes=memory_bytes)
    assert [data.size(part) for part in PARTS] == [10, 2, 0] and data.key != prepared(raw, test=False, seed=1).key
    parts = {"x_train": RNG.random((3, 3)), "y_train": [0, 1, 2], "x_val": RNG.random((2, 3)), "y_val": [0, 1]}
    assert [prepared(raw_of(parts, "set"), test=False).size(part) for part in PARTS] == [3, 2, 0]


@pytest.mark.parametrize("memory_bytes", [1e9, 0.0])
@pytest.mark.parametrize("x", [
    np.where(RNG.random((20, 3)) < 0.2, np.nan, RNG.random((20, 3))), RNG.random((20, 5, 3)), RNG.random((20, 2, 4, 4)),
    RNG.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8), RNG.integers(0, 256, (20, 6, 5), dtype=np.uint8),
])  # fmt: skip
def test_new_samples_are_normalized_as_those_of_the_data_set(x: np.ndarray, memory_bytes: float) -> None:
    parts = {"x_train": x[:12], "y_train": [0, 1] * 6, "x_val": x[12:], "y_val": [0, 1] * 4}
    data = prepared(raw_of(parts, "set"), test=False, memory_bytes=memory_bytes)
    made = Normalization.of(data, 1 / 255 if x.dtype == np.uint8 else 1.0)(input_of(x[12:], "set"))
    have = next(data.batches("val", 8)).x
    assert made.dtype == torch.float32 and made.shape == have.shape
    assert all(((made - row).flatten(1).abs().amax(1) < 1e-5).any() for row in have), "in the order of the split"


# --- mistakes -------------------------------------------------------------------------------------------------------

X, Y = RNG.random((20, 6, 4)), labels(20)
NAN = np.where(np.arange(20)[:, None, None] == 7, np.nan, X)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": Y[:-1]}, "one entry for each sample"),
        ({"x": NAN, "y": Y}, "x must be finite, with NaN at most .* in sample 7"),
        ({"x": X, "y": Y + 0.5}, "must be integers from 0, got 0.5"),
        ({"x": X, "y": Y - 1}, "must be integers from 0, got -1"),
        ({"x_train": X, "y_train": np.array(["a", "b"] * 10), "x_test": X, "y_test": Y}, "names in every part"),
        ({"x": X, "y": Y, "lengths": Y}, r"lengths must hold one whole number from 1 to 6 .* got int64 \(20,\) from 0 to 1"),
        ({"x": X, "y": Y, "lengths_train": Y}, "lengths_train must stand beside x_train"),
        ({"x": np.array([["a"]] * 20), "y": Y}, "x must hold numbers"),
        ({"x": X, "y": np.zeros(20, int)}, "at least 2 classes"),
        ({"x": X, "y": np.where(np.arange(20) == 3, 5, Y)}, "class 2 must have at least 5 training samples, got 0"),
        ({"x": X, "y": np.eye(2)[Y]}, r"one-hot labels store y.argmax\(1\)"),
        ({"x": X, "lable": Y}, "unknown array 'lable'"),
        ({"x": X, "y": Y, "z": Y}, "unknown array 'z'; valid: kind, x, x_test"),
        ({"x_train": X, "y_train": Y, "x_tset": X}, "did you mean 'x_test'"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "in pairs"),
        ({"x": X}, "must hold x and y"),
        ({"x": X, "y": Y, "kind": "picture"}, "kind must be a kind of sample"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :5], "y_test": Y}, "samples of test must be as those of train"),
        ({"x": np.full((20, 3), -1), "y": Y}, "tokens x must be integers from 0"),
        ({"x": RNG.random((20, 2, 2, 2, 2)), "y": Y}, "x must be"),
        ({"x": RNG.random((20, 3, 8, 8)), "y": np.zeros((20, 4, 4), int)}, "label maps must be as large"),
        ({"x": X[:0], "y": Y[:0]}, "one entry for each sample"),
    ],
)  # fmt: skip
def test_mistakes_in_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(write_npz(tmp_path, **arrays))


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pickle"):
        load(write_npz(tmp_path, x=np.array([{}] * 20, dtype=object), y=Y))
    np.save(tmp_path / "x.npy", np.array([{}] * 20, dtype=object))
    np.save(tmp_path / "y.npy", Y)
    with pytest.raises(UserError, match="pickle"):
        load(str(tmp_path / "x.npy"))


def _truncated_idx(root: Path) -> str:
    content = b"\0\0\x08\x03" + np.array([9, 4, 4], ">u4").tobytes() + bytes(20)
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    return str(root)


def _no_gzip(root: Path) -> str:
    (root / "train-images-idx3-ubyte.gz").write_bytes(b"nothing")
    return str(root)


def _only_images(root: Path) -> str:
    content = b"\0\0\x08\x03" + np.array([9, 1, 1], ">u4").tobytes() + bytes(9)
    (root / "train-images-idx3-ubyte").write_bytes(content)
    return str(root)


def _broken_image(root: Path) -> str:
    write_images(root)
    (root / "dog" / "odd.png").write_bytes(b"no image")
    return str(root)


def _deep_image(root: Path) -> str:
    write_images(root)
    Image.fromarray(np.zeros((5, 6), np.float32)).save(root / "dog" / "odd.tif")
    return str(root)


def _few_images(root: Path) -> str:
    write_images(root)
    (root / "dog" / "L0.png").unlink()
    return str(root)


def _unknown_test_class(root: Path) -> str:
    write_images(root / "train")
    write_images(root / "test")
    (root / "test" / "cow").mkdir()
    return str(root)


def _file(name: str, content: str | bytes) -> Callable[[Path], str]:
    def write(root: Path) -> str:
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return str(root / name)

    return write


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda root: str(root / "nothing.npz"),
            r"no file or folder '.*nothing.npz'; valid: digits, digit_scenes, diabetes, FILE.npz, .*module:function",
        ),
        (lambda root: str(root), "empty folder"),
        (_truncated_idx, r"must hold \(9, 4, 4\) numbers"),
        (_no_gzip, "must be an idx file, plain or gzipped"),
        (_only_images, "must hold x and y"),
        (_broken_image, "odd.png: must be a readable image"),
        (_deep_image, "odd.tif: must be a readable image, got: must have 8 or 16 bits a channel"),
        (_few_images, r"class 1 \(dog\) must have at least 5 training samples, got 4"),
        (_unknown_test_class, "got also cow"),
        (_file("a.npz", b"PK nothing"), "must be an array file"),
        (_file("a.json", "{}"), "must be of a known kind, got .json"),
        (_file("a.txt", "too short"), "at least 321 characters"),
        (_file("a.txt", b"\xff\xfe\xff" * 200), "must be UTF-8"),
        (_file("a.csv", "1,2,0\n1,x,1\n"), "line 2, column 2 must be a number, got 'x'"),
        (_file("a.csv", "1,2,0\n1,1\n"), "line 2 must have 3 cells"),
        (_file("a.csv", "1,2,0.5\n" * 9), "must be integers or names, got '0.5'"),
        (_file("a.csv", "1,nan,0\n1,2,1\n"), "line 1, column 2 must be a number, got 'nan'; fill or drop it"),
        (_file("a.csv", "a,b,y\n1,inf,0\n1,2,1\n"), "numbers must be finite, got infinity in line 2"),
        (_file("a.csv", "1,,0\n1,2,1\n"), "line 1, column 2 must be a number, got ''"),  # without names a blank is a mistake
        (_file("a.csv", "y\n"), "a table must have rows"),
        (_file("a.csv.gz", b"no gzip"), "must be a table, plain or gzipped"),
        (_file("a.csv", ""), "a table must have rows"),
        (_file("x.npy", b""), "y.npy is missing"),
    ],
)
def test_mistakes_in_files(tmp_path: Path, make: Callable[[Path], str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(make(tmp_path))


@pytest.mark.parametrize(("limit", "message"), [(0, "at least 1"), (5, "raise limit")])
def test_limits_that_leave_too_little(limit: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(limit=limit)


# --- names and columns that files hold ------------------------------------------------------------------------------


def test_classes_of_a_table_keep_what_is_written(tmp_path: Path) -> None:
    def names(words: list[str]) -> tuple[str, ...]:
        (tmp_path / "t.csv").write_text("a,label\n" + "".join(f"{i},{word}\n" for i, word in enumerate(words * 10)), encoding="utf-8")
        return load(str(tmp_path / "t.csv")).spec.target.names

    assert names(["1_1", "11", "2", "2"]) == ("11", "1_1", "2")
    assert names(["01", "1", "2", "2"]) == ("1", "01", "2")
    assert names(["9007199254740992", "9007199254740993"]) == ("9007199254740992", "9007199254740993")
    assert names(["20240101", "2000000"]) == ("2000000", "20240101")
    with pytest.raises(UserError, match=r"labels must be integers or names, got '1\.5'"):
        names(["1.5", "2"])
    with pytest.raises(UserError, match="line 2: the target is empty"):
        names(["nan", "2"])


def test_suffixes_in_capital_letters(tmp_path: Path) -> None:
    text = "a,label\n" + "".join(f"{i},{i % 2}\n" for i in range(40))
    (tmp_path / "U.CSV.GZ").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert load(str(tmp_path / "U.CSV.GZ")).key == load(str(tmp_path / "t.csv")).key
    assert load(str(tmp_path / "U.CSV.GZ")).name == "U"
    pandas = pytest.importorskip("pandas")
    pandas.read_csv(tmp_path / "t.csv").to_parquet(tmp_path / "U.PARQUET")
    assert load(str(tmp_path / "U.PARQUET")).key == load(str(tmp_path / "t.csv")).key


def test_columns_of_parquet_with_one_name(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    numbers = arrow.array(range(40))
    parquet.write_table(arrow.table([numbers, numbers, numbers], names=["a", "a", "label"]), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t.parquet: every column must have a name of its own, got 'a' twice; rename one"):
        load(str(tmp_path / "t.parquet"))
    parquet.write_table(arrow.table({"a": [[1, 2]] * 40, "label": range(40)}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="a, row 0: must be a number or a name"):
        load(str(tmp_path / "t.parquet"))


def test_json_lines_with_one_name_twice_or_with_marks_of_lines_in_a_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    for lines, said in [
        (['{"a": [1, 2], "a.0": 9, "label": 1}'] * 9, "got 'a.0' twice, once of a list"),
        (['{"a": [1, 2], "label": 1}', '{"a.0": 9, "label": 1}'] * 9, "line 2: every column must have a name of its own, got 'a.0' twice"),
        (['{"a": 1, "a": 2, "label": 1}'] * 9, "line 1 must be JSON, got: the key 'a' twice in one object"),
        (["[" * 100_000], "line 1 must be JSON"),
    ]:
        path.write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(UserError) as caught:
            load(str(path))
        assert said in str(caught.value)
    path.write_text("".join(f'{{"a": {i}, "label": "u{mark}v{i % 2}"}}\r\n' for i in range(40) for mark in "\u2028"), encoding="utf-8")
    assert load(str(path)).spec.target.names == ("u\u2028v0", "u\u2028v1")


def test_lines_of_two_languages_end_at_line_feeds_alone(tmp_path: Path) -> None:
    words = [f"one{mark}two" for mark in ("\u2028", "\x85", "\x0b", "\x0c", "\x1c")] * 8
    (tmp_path / "train.en").write_bytes("".join(f"{word}\r\n" for word in words).encode())
    (tmp_path / "train.de").write_bytes("".join(f"eins zwei {i % 3}\n" for i in range(40)).encode())
    data = load(str(tmp_path))
    assert sum(data.size(part) for part in PARTS) == 40 and data.spec.inputs["source"]["tokens"] == 6  # four special ones
    (tmp_path / "train.en").write_bytes(b"")
    with pytest.raises(UserError, match="must have one line of de for each of en, got 40 and 0"):
        load(str(tmp_path))
