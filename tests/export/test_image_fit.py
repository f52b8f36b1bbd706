"""Images of other sides than the network's: cut to the middle, padded, squashed; the same in data, run, export and predictions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image, ImageOps

import nasforge as nf
from nasforge.cli import main
from nasforge.data import Source
from nasforge.data.dataset import IGNORE
from nasforge.data.preprocess import checked, read_preprocess
from nasforge.data.readers import read
from nasforge.errors import UserError
from nasforge.search.plan import source_from, source_of
from nasforge.tasks import load_data

NET: dict[str, Any] = {"input": [3, 16, 16], "classes": 2, "body": [{"conv": {"out": 6}}], "head": ["gap_head"]}
FITS = ("crop", "pad", "squash")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upright and lying photographs of two classes, 12 to 60 pixels a side: PNG, and JPEG of which some are turned by EXIF."""
    root, rng = tmp_path_factory.mktemp("fit") / "photographs", np.random.default_rng(0)
    for part, n in {"train": 24, "val": 12, "test": 6}.items():
        for name, level in {"bright": 150, "dark": 110}.items():
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                height, width = rng.integers(12, 60, 2)
                pixels = rng.normal(level, 30, (height, width, 3)) + rng.normal(0, 25, 3) + np.linspace(-60, 60, width)[:, None]
                image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
                exif = Image.Exif()
                exif[0x0112] = 6 if i % 3 == 1 else 1
                image.save(root / part / name / f"{i}.{'png' if i % 3 == 0 else 'jpg'}", exif=exif)
    return root


@pytest.fixture(scope="module")
def run(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def of(fit: str) -> Any:
        if fit not in made:
            folder = tmp_path_factory.mktemp("fit") / fit
            made[fit] = nf.train(NET, str(photographs), image_size=16, image_fit=fit, epochs=4, out=folder, show=False)
        return made[fit]

    return of


def by_hand(path: Path, fit: str, fill: list[int]) -> np.ndarray:
    """A photograph as (3, 16, 16) bytes by Pillow's own functions."""
    with Image.open(path) as opened:
        image, way = ImageOps.exif_transpose(opened).convert("RGB"), Image.Resampling.BILINEAR
    if fit == "squash":
        made = image.resize((16, 16), way)
    elif fit == "crop":
        made = ImageOps.fit(image, (16, 16), way)
    else:
        side = max(image.size)
        inner = image.resize((max(1, round(16 * image.width / side)), max(1, round(16 * image.height / side))), way)
        made = Image.new("RGB", (16, 16), tuple(fill))
        made.paste(inner, ((16 - inner.width) // 2, (16 - inner.height) // 2))
    return np.asarray(made).transpose(2, 0, 1)


@pytest.mark.parametrize("fit", FITS)
def test_the_export_on_files_by_pillow_and_onnxruntime_is_as_good_as_the_run(
    fit: str, run: Callable[[str], Any], photographs: Path, tmp_path: Path
) -> None:
    done = nf.export(str(run(fit).folder), "onnx", tmp_path / "away")
    assert done.samples == 24 and done.val == done.recorded == run(fit).metrics["accuracy"]
    session = onnxruntime.InferenceSession(str(done.path))
    about = json.loads(session.get_modelmeta().custom_metadata_map["preprocess"])["inputs"]["input"]
    assert about["resize"] == {"crop": "cover"}.get(fit, fit) and ("fill" in about) == (fit == "pad")
    files = [path for name in ("bright", "dark") for path in sorted((photographs / "val" / name).iterdir())]
    x = np.stack([by_hand(path, fit, about.get("fill", [])) for path in files])
    answers = session.run(None, {"input": x})[0].argmax(1)
    assert np.mean(answers == np.repeat([0, 1], 12)) == pytest.approx(done.val)
    told = nf.predict(run(fit).folder, [str(path) for path in files])
    assert np.mean([row["class"] == Path(row["file"]).parent.name for row in told]) == pytest.approx(done.val)
    assert [row["class"] for row in nf.predict(done.path, [str(path) for path in files])] == [row["class"] for row in told]


def test_the_three_are_other_data_with_other_keys_also_where_images_stay_files(photographs: Path) -> None:
    found = {(fit, memory): load_data(Source(str(photographs), image_size=(16, 16), image_fit=fit, memory_bytes=memory))
             for fit in (None, "pad", "squash") for memory in (2.0**30, 0.0)}  # fmt: skip
    assert len({data.key for data in found.values()}) == 6
    for fit in (None, "pad", "squash"):
        kept, files = (found[fit, memory] for memory in (2.0**30, 0.0))
        about = [data.spec.preprocess["inputs"]["input"] for data in (kept, files)]
        assert about[0].get("fill") == about[1].get("fill") and about[0]["mean"] == pytest.approx(about[1]["mean"], abs=1e-6)
        assert about[0]["std"] == pytest.approx(about[1]["std"], abs=1e-6)
        for a, b in zip(kept.batches("val", 8), files.batches("val", 8), strict=True):
            assert torch.allclose(a.inputs["input"], b.inputs["input"], atol=1e-5)


def test_padding_is_the_mean_color_of_train_and_zero_once_normalized(tmp_path: Path) -> None:
    for part, color in {"train": (200, 40, 90), "val": (10, 10, 10), "test": (250, 250, 250)}.items():
        for name in "ab":
            (tmp_path / "d" / part / name).mkdir(parents=True)
            for i in range(4):
                pixels = np.full((12, 24, 3), color, np.uint8)
                pixels[:, : 6 * (i % 2)] = 100
                Image.fromarray(pixels).save(tmp_path / "d" / part / name / f"{i}.png")
    data = load_data(Source(str(tmp_path / "d"), image_size=(16, 16), image_fit="pad"))
    about = data.spec.preprocess["inputs"]["input"]
    assert about["fill"] == [round(200 - 100 / 8), round(40 + 60 / 8), round(90 + 10 / 8)]
    batch = next(iter(data.batches("val", 4))).inputs["input"]
    half = (0.5 / 255 / torch.tensor(about["std"])).view(3, 1, 1) + 1e-4  # as far as rounding to bytes moves it
    around, image = torch.cat([batch[:, :, :4], batch[:, :, 12:]], 2).abs(), batch[:, :, 4:12].abs()
    assert (around <= half).all() and (image > half).all()
    assert any("fit into 16 x 16" in text and str(tuple(about["fill"])) in text for text in data.spec.notes)


@pytest.mark.parametrize("fit", FITS)
def test_masks_follow_their_images_and_padding_is_no_class(fit: str, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "d" / folder).mkdir(parents=True)
    for i in range(6):
        mask = np.zeros((10, 30), np.uint8)
        mask[:, 15:] = 1
        Image.fromarray(mask).save(tmp_path / "d" / "masks" / f"{i}.png")
        Image.fromarray(np.repeat(mask[:, :, None] * 200 + i, 3, 2)).save(tmp_path / "d" / "images" / f"{i}.png")
    raw = read(Source(str(tmp_path / "d"), image_size=(15, 15), image_fit=None if fit == "crop" else fit))
    x, y = raw.parts["train"].inputs["input"], raw.parts["train"].targets["mask"]
    inside = y != IGNORE
    assert inside.mean() == (1 if fit != "pad" else 5 / 15) and (inside.all((0, 2)) == inside.any((0, 2))).all()
    bright = np.asarray(x)[:, 0] > 100
    assert (bright == (y == 1))[inside].mean() > 0.9


def test_what_is_not_said_stays_as_it_was_and_words_are_checked(photographs: Path, run: Callable[[str], Any], tmp_path: Path) -> None:
    assert Source.of({"image_fit": "crop"}) == Source.of({}) and "image_fit" not in source_of(Source.of({"image_fit": "crop"}))
    assert source_from(source_of(Source(image_fit="pad"))).image_fit == "pad"
    with pytest.raises(UserError, match=r"--image-fit: must be one of crop, pad, squash, got 'pat'; did you mean 'pad'"):
        nf.load_data(str(photographs), image_fit="pat")
    with pytest.raises(UserError, match="--image-fit: says how image files are brought to a size; digits has none"):
        nf.load_data("digits", image_fit="pad")
    with pytest.raises(UserError, match="image_fit: is for images in files"):
        nf.load_data((np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2), image_fit="pad")
    about = read_preprocess(run("pad").folder)
    assert about is not None
    one = about["inputs"]["input"]
    for wrong, said in (({"resize": "stretch"}, "resize 'stretch'"), ({"fill": [1, 2]}, "fill"), ({"fill": None}, "fill None")):
        with pytest.raises(ValueError, match=said):
            checked({**about, "inputs": {"input": {**one, **wrong}}})
    old = {key: value for key, value in one.items() if key not in ("resize", "fill")}
    assert checked({**about, "inputs": {"input": old}})["inputs"]["input"] == old


@pytest.mark.slow
def test_a_search_keeps_the_fit_and_score_and_the_next_command_say_it(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Callable[[str], Any]
) -> None:
    space = {"input": [3, 16, 16], "classes": 2, "body": [{"conv": {"out": {"choose": [4, 6]}}}], "head": ["gap_head"]}
    found = nf.search(space, str(photographs), image_size=16, image_fit="pad", trials=2, epochs=1, final_epochs=1, finalists=1,
                      final_seeds=1, run=tmp_path / "run", runner="inline", show=False)  # fmt: skip
    assert json.loads((found.folder / "manifest.json").read_text())["data"]["image_fit"] == "pad"
    assert "--image-size 16x16 --image-fit pad" in (found.folder / "report.html").read_text()
    scored = nf.score(found.folder, part="val")
    done = nf.export(found.folder, "python", tmp_path / "away")
    assert done.samples == 24 and done.val == pytest.approx(scored.metrics["accuracy"])
    assert '"resize": "pad"' in (tmp_path / "away" / "preprocess.json").read_text()
    # other data of a training are fitted as those that it learned from
    trained = run("pad")
    assert nf.score(trained.folder, str(photographs), part="val", image_size=16).metrics["accuracy"] == trained.metrics["accuracy"]
    words = ["score", str(trained.folder), "--data", str(photographs), "--part", "val", "--image-size", "16", "--image-fit", "crop"]
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    cut = json.loads(capsys.readouterr().out)["metrics"]
    assert cut["loss"] != pytest.approx(trained.metrics["loss"], abs=1e-4)


def test_the_standalone_script_reads_a_padded_file_as_the_run(run: Callable[[str], Any], photographs: Path, tmp_path: Path) -> None:
    nf.export(run("pad").folder, "onnx", tmp_path)
    files = [str(photographs / "val" / "dark" / f"{i}.{'png' if i == 0 else 'jpg'}") for i in range(3)]
    command = [sys.executable, "-I", str(tmp_path / "predict.py"), "--json", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for row, own in zip(rows, nf.predict(run("pad").folder, files), strict=True):
        assert row["top"][0]["probability"] == pytest.approx(own["top"][0]["probability"], abs=1e-4)
