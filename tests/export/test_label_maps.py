"""Label maps of segmentation as PNG files: the class of each pixel, at the size of the image."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import nasforge as nf
from nasforge.cli import main
from nasforge.data.reading import Broken
from nasforge.export.alone import Exported
from nasforge.export.maps import UNSEEN, label_map, palette
from nasforge.export.maps import places as places_of

BODY: list[Any] = [{"conv": {"out": 8}}]
SCENES: dict[str, Any] = {
    "input": [3, 32, 32], "body": BODY,
    "heads": {
        "mask": [{"conv": {"out": 11, "kernel": 1, "norm": "none", "act": "none"}}],
        "label": [{"pool": {"kind": "avg", "kernel": 8}}, "flatten", {"linear": {"out": 4}}],
    },
}  # fmt: skip
HALVES: dict[str, Any] = {"input": [3, 16, 16], "body": [*BODY, {"conv": {"out": 3, "kernel": 1, "norm": "none", "act": "none"}}]}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return nf.train(SCENES, "digit_scenes", data_limit=200, epochs=2, out=tmp_path_factory.mktemp("maps") / "scenes", show=False)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of mixed sizes, some turned by EXIF, whose left is red, right blue, and edge dark; masks of that."""
    root, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for i in range(40):
        height, width = rng.integers(20, 60, 2)
        mask = np.ones((height, width), np.uint8)
        mask[:, width // 2 :] = 2
        mask[: height // 4] = 0
        pixels = np.array([(20, 20, 20), (220, 40, 40), (40, 40, 220)])[mask] + rng.normal(0, 10, (height, width, 3))
        image, exif = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), Image.Exif()
        exif[0x0112] = 1 + i % 2 * 5
        for folder, one in (("images", image.rotate(90, expand=True) if i % 2 else image), ("masks", Image.fromarray(mask))):
            (root / folder).mkdir(exist_ok=True)
            one.save(root / folder / f"{i}.png", exif=exif if folder == "images" else Image.Exif())
    return root


@pytest.fixture(scope="module")
def halves(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def of(fit: str) -> Any:
        if fit not in made:
            folder = tmp_path_factory.mktemp("halves") / fit
            made[fit] = nf.train(HALVES, str(pairs), image_size=16, image_fit=fit, epochs=15, out=folder, show=False)
        return made[fit]

    return of


def test_a_png_holds_the_argmax_of_the_network_for_each_sample(scenes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nasforge.data import Source
    from nasforge.data.readers import read

    x = np.asarray(read(Source("digit_scenes")).parts["train"].inputs["input"][:5])
    np.save(tmp_path / "five.npy", x)
    done = nf.export(str(scenes.folder), "onnx", tmp_path / "away")
    expected = Exported(done.path)(x)["mask"].argmax(1)
    assert len(np.unique(expected)) > 2
    rows = nf.predict(scenes.folder, tmp_path / "five.npy", out=tmp_path / "maps")
    assert [row["mask"]["map"] for row in rows] == [str(tmp_path / "maps" / f"five-{i:05}.png") for i in range(5)]
    assert all("map" not in row["label"] for row in rows)
    for row, wanted in zip(rows, expected, strict=True):
        with Image.open(row["mask"]["map"]) as image:
            assert image.mode == "P" and image.getpalette() == palette()
            assert (np.asarray(image) == wanted).all()
        assert row["mask"]["top"][0]["pixels"] == pytest.approx(np.bincount(wanted.ravel()).max() / wanted.size)
    assert main(["predict", str(done.path), str(tmp_path / "five.npy"), "--out", str(tmp_path / "more")]) == 0
    assert capsys.readouterr().out.count(f"in {tmp_path / 'more'}") == 5
    command = [sys.executable, "-I", str(tmp_path / "away" / "predict.py"), "--json", "--out", "alone", str(tmp_path / "five.npy")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    for i in range(5):
        assert (tmp_path / "maps" / f"five-{i:05}.png").read_bytes() == (tmp_path / "alone" / f"five-{i:05}.png").read_bytes()
    plain = nf.predict(scenes.folder, tmp_path / "five.npy")
    assert "map" not in plain[0]["mask"] and plain[0]["mask"]["top"] == rows[0]["mask"]["top"]


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_maps_of_a_folder_have_the_size_of_its_images(
    fit: str, halves: Callable[[str], Any], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(halves(fit).folder)
    assert main(["predict", folder, str(pairs / "images"), "--out", str(tmp_path / "maps"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["predictions"]
    right, seen = [], []
    for row in told:
        path = Path(row["file"])
        assert row["map"] == str(tmp_path / "maps" / f"{path.stem}.png")
        with Image.open(path) as image, Image.open(row["map"]) as made, Image.open(pairs / "masks" / path.name) as mask:
            assert made.size == ImageOps.exif_transpose(image).size
            found, wanted = np.asarray(made), np.asarray(mask)
        inside = found != UNSEEN
        right.append((found == wanted)[inside].mean())
        seen.append(inside.mean())
    assert np.mean(right) > 0.85
    assert min(seen) == 1 if fit != "crop" else min(seen) < 0.7


def test_the_map_lies_where_the_image_was_shown() -> None:
    y = torch.nn.functional.one_hot(torch.arange(16).view(4, 4), 16).permute(2, 0, 1).numpy()
    about = {"shape": [3, 4, 4]}
    wide = label_map(y, (2, 4), {**about, "resize": "pad"})
    assert wide.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert label_map(y, (8, 4), {**about, "resize": "squash"})[:, 0].tolist() == [0, 0, 4, 4, 8, 8, 12, 12]
    cut = label_map(y, (4, 6), about)
    assert cut[0].tolist() == [UNSEEN, 0, 1, 2, 3, UNSEEN] and cut[3, 1:5].tolist() == [12, 13, 14, 15]
    assert label_map(y[:, ::2, ::2], (4, 4), about)[:, 0].tolist() == [0, 0, 8, 8]  # a network that gives half as many pixels
    assert len(palette()) == 768 and palette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


def test_nothing_is_written_over_and_other_networks_are_refused(
    halves: Callable[[str], Any], pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, images = str(halves("pad").folder), pairs / "images"
    (tmp_path / "in").mkdir()
    for out, said in ((images, "must not lie in"), (images / "maps", "must not lie in"), (images / "0.png", "must be a folder")):
        assert main(["predict", folder, str(images), "--out", str(out)]) == 2
        assert said in capsys.readouterr().err
    before = (images / "3.png").read_bytes()
    assert main(["predict", folder, str(images / "3.png"), "--out", str(images)]) == 2
    assert "which would be written over" in capsys.readouterr().err and (images / "3.png").read_bytes() == before
    assert main(["predict", folder, str(images / "3.png"), str(pairs / "masks" / "3.png"), "--out", str(tmp_path / "m")]) == 2
    assert "have one name" in capsys.readouterr().err
    # one stem, two endings, and folders below keep apart; a broken file is named, the others are written
    for name in ("a.png", "a.jpg", "deep/a.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        with Image.open(images / "2.png") as image:
            image.save(tmp_path / "in" / name)
    (tmp_path / "in" / "torn.png").write_bytes(b"none")
    assert main(["predict", folder, str(tmp_path / "in"), "--out", str(tmp_path / "m"), "--csv", str(tmp_path / "t.csv")]) == 1
    assert "torn.png" in capsys.readouterr().err and "map" in (tmp_path / "t.csv").read_text().splitlines()[0]
    assert sorted(str(p.relative_to(tmp_path / "m")) for p in (tmp_path / "m").rglob("*.png")) == ["a.jpg.png", "a.png.png", "deep/a.png"]
    about = {"inputs": {"input": {"kind": "image"}}, "targets": {"label": {"kind": "label", "size": 3}}}
    with pytest.raises(Broken, match=r"--out m: is for networks that give a class for each pixel \(segmentation\), this one gives label"):
        places_of(Path("m"), [str(images)], about)
    with pytest.raises(Broken, match="a PNG tells at most 255 classes apart, the network has 300"):
        places_of(Path("m"), [str(images)], {**about, "targets": {"mask": {"kind": "mask", "size": 300}}})
