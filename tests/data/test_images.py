"""Image files as people have them: of many sizes and kinds, some broken; more than the memory holds."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasforge.cli import main
from nasforge.data import PARTS, Dataset, Source, StoredDataset, TensorDataset, load
from nasforge.data.images import decode
from nasforge.errors import UserError

SPACE = """
name: photos
input: [3, 24, 24]
classes: 2
search: {data: digits, trials: 2, finalists: 1, final_seeds: 1, epochs: 1, final_epochs: 1}
stem: [{conv: {out: {choose: [4, 6]}, kernel: 3, stride: 2}}]
head: [gap_head]
"""


def photos(root: Path, broken: bool = True) -> Path:
    """Two classes of bright and dark pictures of every kind, a class without any, and one file that is no picture."""
    rng = np.random.default_rng(0)
    for i in range(40):
        kind, folder = i % 8, root / ("bright" if i % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        height, width = 24 + 3 * kind, 40 - 2 * kind
        base = rng.integers(0, 90, (height, width, 3)) + (150 if i % 2 else 10)
        picture = Image.fromarray(base.astype(np.uint8))
        path = folder / f"{i:02}.png"
        if kind == 1:
            picture.convert("L").save(path)
        elif kind == 2:
            picture.putalpha(Image.new("L", picture.size, 128))
            picture.save(path)
        elif kind == 3:
            Image.fromarray(base[..., 0].astype(np.uint16) * 257).save(path)
        elif kind == 4:
            exif = Image.Exif()
            exif[0x0112] = 6
            picture.save(path.with_suffix(".jpg"), exif=exif, quality=95)
        elif kind == 5:
            picture.convert("P").save(path.with_suffix(".gif"))
        else:
            picture.save(path)
    (root / "nothing").mkdir()
    if broken:
        (root / "dark" / "torn.jpg").write_bytes((root / "dark" / "04.jpg").read_bytes()[:200])
        (root / "dark" / "text.png").write_text("no picture", encoding="utf-8")
    return root


def test_a_folder_of_photographs_trains_and_searches_and_says_what_was_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    (tmp_path / "photos.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "net.yaml").write_text("input: [3, 24, 24]\nclasses: 2\nbody: [{conv: {out: 4, kernel: 3}}, gap_head]", encoding="utf-8")
    assert main(["train", "net.yaml", "--data", "photos", "--epochs", "1"]) == 2
    said = capsys.readouterr().err
    assert "text.png: must be a readable image" in said and "(1 more broken: dark/torn.jpg)" in said
    assert "class nothing has no image" in said and "--skip-broken" in said
    assert not (tmp_path / "runs").exists()
    assert main(["train", "net.yaml", "--data", "photos", "--epochs", "1", "--skip-broken"]) == 0
    said = capsys.readouterr().err
    for words in (
        "class nothing has no image: left out",
        "are resized to cover 29 x 29, and the middle is cut out (--image-size)",
        "5 images turned as EXIF says",
        "5 images partly transparent, put on white",
        "5 images of 16 bits, read as 8",
        "10 images grey, repeated as three channels",
        "2 broken images left out: photos/dark/text.png, photos/dark/torn.jpg",
    ):
        assert words in said, words
    flags = ["--skip-broken", "--image-size", "20x24", "--runner", "inline", "--no-control", "--run", "run"]
    assert main(["search", "photos.yaml", "--data", "photos", *flags]) == 0
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]["image_size"] == [20, 24]
    assert "cover 24 x 20" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "said"), [
    ({"image_size": "0"}, "--image-size: must be a side, or HEIGHTxWIDTH"),
    ({"image_size": "12by3"}, "--image-size: must be a side"),
    ({"data_memory": -1}, "--data-memory: must be a number of GiB"),
])  # fmt: skip
def test_mistakes_in_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Source.of(options)


def saved(picture: Image.Image, kind: str, **values: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **values)
    return file.getvalue()


def test_the_rule_by_which_images_come_to_one_size() -> None:
    ramp = np.tile(np.arange(30, dtype=np.uint8) * 8, (10, 1))  # (10, 30): grey from left to right
    middle = decode(saved(Image.fromarray(ramp), "PNG"), (10, 10), 1)
    assert middle.shape == (1, 10, 10) and (middle[0] == ramp[:, 10:20]).all()
    half = decode(saved(Image.fromarray(ramp), "PNG"), (5, 5), 1)
    assert abs(int(half[0, 2, 0]) - 84) <= 4 and abs(int(half[0, 2, -1]) - 148) <= 4
    deep = decode(saved(Image.fromarray(ramp.astype(np.uint16) * 257), "PNG"), None, None)
    assert (deep[0] == ramp).all()
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (decode(saved(clear, "PNG"), None, None) == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    turned = decode(saved(Image.fromarray(ramp), "JPEG", exif=exif, quality=100), None, None)
    assert turned.shape == (1, 30, 10) and turned[0, 0, 5] < 20 and turned[0, -1, 5] > 210
    colour = decode(saved(Image.fromarray(ramp), "PNG"), None, 3)
    assert colour.shape == (3, 10, 30) and (colour == ramp).all()


def together(data: Dataset, part: Any) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(data.batches(part, 7))
    return torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])


@pytest.mark.parametrize("memory", [0.0, 40 * 3 * 29 * 29 / 2**30 + 1e-9], ids=["files", "bytes"])
def test_what_is_not_kept_as_numbers_is_the_same(memory: float, tmp_path: Path) -> None:
    folder = str(photos(tmp_path / "photos", broken=False))
    whole, stored = load(Source.of({"data": folder})), load(Source.of({"data": folder, "data_memory": memory}))
    assert isinstance(whole, TensorDataset) and isinstance(stored, StoredDataset)
    assert stored.spec == whole.spec and (memory == 0) == any("decoded when needed" in note for note in stored.spec.notes)
    assert memory == 0 or stored.key == whole.key
    again = pickle.loads(pickle.dumps(stored))
    for part in PARTS:
        x, y = together(whole, part)
        for data in (stored, again):
            other, labels = together(data, part)
            torch.testing.assert_close(other, x, atol=1e-4, rtol=1e-4)
            assert torch.equal(labels, y)
    half = stored.subset(0.5)
    assert half.size("train") == whole.subset(0.5).size("train")
    torch.testing.assert_close(together(half, "train")[0], together(whole.subset(0.5), "train")[0], atol=1e-4, rtol=1e-4)
    orders = [torch.cat([b.y for b in d.batches("train", 5, generator=torch.Generator().manual_seed(1))]) for d in (whole, stored)]
    assert torch.equal(*orders)
    small = stored.map(lambda batch: batch.with_inputs(lambda x: x[..., ::2, ::2]), "half")
    assert small.spec.input == [3, 15, 15] and next(small.batches("val", 2)).x.shape[1:] == (3, 15, 15) and small.key != stored.key


def test_a_file_that_goes_away_is_an_error_with_its_name(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", broken=False)
    data = load(Source.of({"data": str(folder), "data_memory": 0}))
    (folder / "dark" / "00.png").unlink()
    with pytest.raises(UserError, match=r"00\.png: could be read before, and cannot now"):
        for part in PARTS:
            together(data, part)


def test_arrays_in_a_file_are_mapped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 9, 9, 3)).astype(np.uint8), np.arange(60) % 3
    for name, array in {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    whole, mapped = load(str(tmp_path)), load(Source.of({"data": str(tmp_path), "data_memory": 0}))
    assert isinstance(mapped, StoredDataset) and mapped.key == whole.key and mapped.spec == whole.spec
    sent = pickle.dumps(mapped)
    assert len(sent) < x.nbytes  # the name of the file, not its content
    for part in PARTS:
        torch.testing.assert_close(together(pickle.loads(sent), part)[0], together(whole, part)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(60, 5), (60, 6, 3), (60, 6)], ids=["vectors", "sequences", "tokens"])
def test_other_arrays_are_mapped(shape: tuple[int, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, shape) if shape == (60, 6) else rng.normal(size=shape)
    if x.ndim == 2 and x.dtype.kind == "f":
        x[3, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(60) % 3)
    whole, mapped = load(str(tmp_path)), load(Source.of({"data": str(tmp_path), "data_memory": 0}))
    assert mapped.key == whole.key and mapped.spec == whole.spec
    for part in PARTS:
        torch.testing.assert_close(together(mapped, part)[0], together(whole, part)[0], atol=1e-4, rtol=1e-4)


def test_labels_in_a_file(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", broken=False)
    files = sorted(str(p.relative_to(folder)) for p in folder.glob("*/*.*"))
    rows = [f"{name},{i % 7 / 7:.3f},{'test' if i % 4 == 0 else 'train'},{i}" for i, name in enumerate(files)]
    (folder / "labels.csv").write_text("\n".join(["filename,score,split,person", *rows]), encoding="utf-8")
    data = load(Source.of({"data": str(folder), "target": "score"}), "value")
    assert data.spec.target.kind == "value" and data.size("test") == 10 and data.spec.input == [3, 29, 29]
    assert "labels.csv: the columns person are not read" in data.spec.notes
    Path(folder / files[0]).unlink()
    with pytest.raises(UserError, match=r"which is not there \(1 of 40 are not\)"):
        load(Source.of({"data": str(folder), "target": "score"}), "value")


@pytest.mark.parametrize("name", ["test", "Train", "val"])
def test_a_part_beside_classes_is_no_class(name: str, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", broken=False)
    (folder / name).mkdir()
    said = f"{name}/ stands beside class folders such as bright/, .*if it is a class, put all classes into .*train/bright/, train/{name}/"
    with pytest.raises(UserError, match=said):
        load(str(folder))
    (folder / name).rename(folder / f"{name}_images")
    assert f"class {name}_images has no image: left out" in load(str(folder)).spec.notes


def test_of_a_large_array_only_the_rows_that_are_used_are_kept_and_sent(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).integers(0, 256, (2000, 3, 8, 8)).astype(np.uint8), np.arange(2000) % 2
    np.savez(tmp_path / "set.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    memory = 4 * x.nbytes / 2**30
    whole, few = (load(Source.of({"data": str(tmp_path / "set.npz"), "data_memory": memory, "data_limit": n})) for n in (None, 100))
    assert isinstance(whole, StoredDataset) and isinstance(few, StoredDataset)
    assert [few.size(part) for part in PARTS] == [100, 400, 50] and few.inputs["train"]["input"].array.nbytes == 100 * 192
    assert len(pickle.dumps(few)) < 150_000 < x.nbytes < len(pickle.dumps(whole)) < 1.2 * x.nbytes
    for part in PARTS:
        assert torch.equal(together(few, part)[0], together(pickle.loads(pickle.dumps(few)), part)[0])


def test_batches_that_are_kept_stay_as_they_were(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", broken=False)
    data = load(Source.of({"data": str(folder), "data_memory": 0}))
    kept = list(data.batches("train", 3))
    copies = [batch.x.clone() for batch in data.batches("train", 3)]
    assert len(kept) > 6 and all(torch.equal(batch.x, copy) for batch, copy in zip(kept, copies, strict=True))
    views = [batch.x[1:] for batch in data.batches("train", 3)]
    assert all(torch.equal(view, copy[1:]) for view, copy in zip(views, copies, strict=True))


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "I;16", "P"])
def test_a_color_that_counts_as_transparent_is_put_on_white(mode: str) -> None:
    pixels = np.zeros((4, 4), np.uint8)
    pixels[0] = 200
    made = Image.fromarray(pixels.astype(np.uint16)) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    made.save(file, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)
    found = decode(file.getvalue(), None, None)
    assert (found[:, 1:] == 255).all(), mode
    kept = {"I;16": 1, "1": 255}.get(mode, 200)
    assert (found[:, 0] == kept).all(), mode


def few(root: Path, *folders: str, count: int = 6) -> None:
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.fromarray(np.full((4, 4), 40 * i, np.uint8)).save(root / folder / f"{i}.png")


def test_images_in_folders_of_a_class_are_of_it_and_those_beside_the_classes_are_told(tmp_path: Path) -> None:
    few(tmp_path, "cat", "cat/old", "cat/old/older", "dog/new")
    few(tmp_path, ".", count=4)
    data = load(str(tmp_path))
    assert data.spec.target.names == ("cat", "dog") and sum(data.size(part) for part in PARTS) == 24
    assert data.spec.notes[0] == "4 images beside the folders of the classes are left out: 0.png, 1.png, 2.png, ..."


def test_one_image_is_not_told_as_several(tmp_path: Path) -> None:
    few(tmp_path, "cat", "dog")
    few(tmp_path, ".", count=1)
    (tmp_path / "cat" / "torn.png").write_bytes(b"no image")
    data = load(str(tmp_path), skip_broken=True)
    assert data.spec.notes[0] == "1 image beside the folders of the classes is left out: 0.png"
    assert any(note.startswith("1 broken image left out: ") for note in data.spec.notes)


def test_folders_of_parts_that_are_not_clear(tmp_path: Path) -> None:
    few(tmp_path / "two", "train/a", "train/b", "val/a", "validation/a")
    few(tmp_path / "case", "train/a", "train/b", "Train/a")
    few(tmp_path / "inside", "a/train", "a/test", "b/train")
    for name, said in (("two", "got val/ and validation/"), ("case", "got Train/ and train/"), ("inside", "give test/a/ instead")):
        with pytest.raises(UserError) as caught:
            load(str(tmp_path / name))
        assert said in str(caught.value)


def test_files_that_labels_name_by_number_or_by_their_whole_path(tmp_path: Path) -> None:
    few(tmp_path, ".", count=6)
    names = [1_000_000 + i for i in range(30)]
    for name in names:
        Image.fromarray(np.full((4, 4), name % 250, np.uint8)).save(tmp_path / str(name), "PNG")
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{name},{name % 2}\n" for name in names), encoding="utf-8")
    assert sum(load(str(tmp_path)).size(part) for part in PARTS) == 30
    (tmp_path / "labels.csv").write_text("file,label\n/nowhere/0.png,1\n1.png,0\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"lists /nowhere/0\.png, which is not there \(1 of 2 are not\)"):
        load(str(tmp_path))
