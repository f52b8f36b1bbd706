"""Folders as people have them: wrapped, with folders in folders, with stray files, with masks beside the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasforge.data import Dataset, Source
from nasforge.data.dataset import IGNORE
from nasforge.errors import UserError
from nasforge.tasks import load_data, task_of

RNG = np.random.default_rng(0)
CLASSES = ("cat", "dog", "owl")


def picture(path: Path, kind: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 60, (12, 16, 3), dtype=np.uint8)
    pixels[..., kind] += 120
    Image.fromarray(pixels).save(path)


def classes(root: Path, inside: str = "", n: int = 12) -> Path:
    for kind, name in enumerate(CLASSES):
        for i in range(n):
            picture(root / name / inside / f"{i}.jpg", kind)
    return root


def read(folder: Path) -> Dataset:
    return load_data(Source(str(folder)))


def test_a_folder_in_a_folder_is_found(tmp_path: Path) -> None:
    classes(tmp_path / "photos" / "dataset")
    (tmp_path / "photos" / "LICENSE").write_text("free", encoding="utf-8")
    data = read(tmp_path / "photos")
    assert data.name == "photos" and data.spec.target.names == CLASSES
    assert "read from dataset/, the only folder in it" in data.spec.notes
    classes(tmp_path / "deep" / "a" / "b" / "train")
    classes(tmp_path / "deep" / "a" / "b" / "val", n=4)
    assert read(tmp_path / "deep").size("val") == 12
    classes(tmp_path / "array" / "inner", n=2)
    np.savez(tmp_path / "array" / "d.npz", x=RNG.random((40, 1, 8, 8)), y=np.arange(40) % 4)  # data beside the folder
    assert read(tmp_path / "array").spec.input == [1, 8, 8]


def test_stray_files_and_folders_within_classes(tmp_path: Path) -> None:
    root = classes(tmp_path / "photos", inside="2024/may")
    for name in ("readme.txt", ".DS_Store", "cat/notes.md", "dog/Thumbs.db"):
        (root / name).write_text("?", encoding="utf-8")
    assert read(root).spec.target.names == CLASSES and sum(read(root).size(part) for part in ("train", "val", "test")) == 36


def test_what_is_broken_is_named_at_once(tmp_path: Path) -> None:
    root = classes(tmp_path / "photos")
    for name in ("bat", "yak"):
        (root / name).mkdir()
    for i in range(3):
        (root / "dog" / f"c{i}.jpg").write_bytes(b"no picture")
    whole = next((root / "cat").glob("*.jpg")).read_bytes()
    (root / "cat" / "zcut.jpg").write_bytes(whole[: len(whole) // 2])  # its head can be read, its pixels cannot
    with pytest.raises(UserError) as caught:
        read(root)
    said = str(caught.value)
    assert said.count("must be a readable image") == 1 and "(3 more broken: " in said
    assert all(name in said for name in ("cat/zcut.jpg", "dog/c0.jpg", "dog/c1.jpg", "dog/c2.jpg"))
    assert "class bat has no image: left out; class yak has no image: left out" in said


# ---------------------------------------------------------------- masks


def masks(folder: Path, names: list[str], values: tuple[int, ...] = (0, 1, 2), suffix: str = ".png", palette: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        made = np.zeros((12, 16), np.uint8)
        made[:, 8:] = values[-1]
        made[:6, :8] = values[1 % len(values)]
        image = Image.fromarray(made)
        if palette:
            image = image.convert("P")
            image.putdata(made.ravel().tolist())
        image.save(folder / f"{name}{suffix}")


NAMES = [f"{i:02}" for i in range(12)]
FORMS = {
    "camvid": {"train": ("train", "trainannot"), "val": ("val", "valannot"), "test": ("test", "testannot")},
    "underscore": {"train": ("train", "train_masks"), "val": ("val", "val_masks")},
    "flat": {"train": ("images", "masks")},
    "inside": {"train": ("train/images", "train/labels"), "test": ("test/images", "test/labels")},
    "around": {"train": ("images/train", "annotations/train"), "val": ("images/val", "annotations/val")},
}


@pytest.mark.parametrize("form", FORMS)
def test_images_beside_masks_are_segmentation(form: str, tmp_path: Path) -> None:
    for images, mask in FORMS[form].values():
        for name in NAMES:
            picture(tmp_path / images / f"{name}.jpg")
        masks(tmp_path / mask, NAMES)
    data = read(tmp_path)
    assert task_of(data.spec, data.name).name == "segmentation" and data.spec.target.size == 3 and data.spec.input == [3, 12, 16]
    if len(FORMS[form]) == 3:
        assert [data.size("train"), data.size("val"), data.size("test")] == [12, 12, 12]
    y = next(iter(data.batches("train", 4))).targets["mask"]
    assert y.shape == (4, 12, 16) and (y[:, :6, :8] == 1).all() and (y[:, :, 8:] == 2).all() and (y[:, 6:, :8] == 0).all()


def test_masks_with_palettes_with_void_and_of_two_values(tmp_path: Path) -> None:
    for name in NAMES:
        for folder in "abc":
            picture(tmp_path / folder / "images" / f"{name}.png")
    masks(tmp_path / "a" / "masks", NAMES, palette=True)
    assert read(tmp_path / "a").spec.target.size == 3
    masks(tmp_path / "b" / "masks", NAMES, values=(0, 1, 255))
    y = next(iter(read(tmp_path / "b").batches("train", 4))).targets["mask"]
    assert (y[:, :, 8:] == IGNORE).all() and read(tmp_path / "b").spec.target.size == 2
    masks(tmp_path / "c" / "masks", NAMES, values=(0, 255))
    assert read(tmp_path / "c").spec.target.size == 2


def test_masks_with_gaps_between_their_numbers(tmp_path: Path) -> None:
    for name in NAMES:
        picture(tmp_path / "images" / f"{name}.png")
    masks(tmp_path / "masks", NAMES, values=(0, 7, 200))
    data = read(tmp_path)
    assert data.spec.target.size == 3 and data.spec.target.names == ("0", "7", "200")
    assert "the numbers 0, 7, 200 in masks are the classes, by their order" in data.spec.notes
    y = next(iter(data.batches("train", 4))).targets["mask"]
    assert (y[:, :, 8:] == 2).all() and (y[:, :6, :8] == 1).all()


def test_two_images_of_one_name_and_links_into_themselves_are_refused(tmp_path: Path) -> None:
    for name in NAMES:
        picture(tmp_path / "a" / "images" / f"{name}.png")
    masks(tmp_path / "a" / "masks", NAMES)
    picture(tmp_path / "a" / "images" / "03.jpg")
    with pytest.raises(UserError, match=r"images: every image must have a name of its own, got 03\.jpg and 03\.png"):
        read(tmp_path / "a")
    root = classes(tmp_path / "b")
    (root / "cat" / "again").symlink_to(root)
    with pytest.raises(UserError, match="again: must not be a link to a folder that it is in"):
        read(root)


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(UserError, match=words):
            read(tmp_path)

    for name in NAMES:
        picture(tmp_path / "images" / f"{name}.png")
    masks(tmp_path / "masks", NAMES[:-2])
    refused(r"images: every image must have a mask of its name, 10 has none in .*masks \(2 have none\)")
    masks(tmp_path / "masks", NAMES)
    Image.new("L", (5, 5)).save(tmp_path / "masks" / "03.png")
    refused(r"03.png: must be as large as 03.png, got \(5, 5\) and \(16, 12\)")
    Image.new("RGB", (16, 12)).save(tmp_path / "masks" / "03.png")
    refused("03.png: a mask must be grey or have a palette, its numbers the classes, got the mode RGB")
    (tmp_path / "masks" / "03.png").write_bytes(b"none")
    refused("03.png: must be a readable image")


def test_encoded_images_are_loaded_once_whatever_a_network_reads(tmp_path: Path) -> None:
    root = classes(tmp_path / "photos")
    assert load_data(Source(str(root))) is load_data(Source(str(root), reads=(3, 32, 32)))
    np.save(tmp_path / "x.npy", RNG.random((40, 8, 6, 6)))
    np.save(tmp_path / "y.npy", np.arange(40) % 4)
    assert load_data(Source(str(tmp_path / "x.npy"), reads=(8, 6, 6))) is load_data(Source(str(tmp_path / "x.npy")))
    assert load_data(Source(str(tmp_path / "x.npy"), reads=(6, 8, 6))) is not load_data(Source(str(tmp_path / "x.npy")))
