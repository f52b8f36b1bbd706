"""Exports that read raw numbers, the description they carry, and files that are read as the training read them."""

from __future__ import annotations

import ast
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import nasforge as nf
from nasforge.data import images, reading
from nasforge.data.preprocess import read_preprocess
from nasforge.errors import UserError
from nasforge.export import EXPORTERS, ExportRefused, FromRaw
from nasforge.export import export as write_files
from nasforge.export.check import packages
from nasforge.export.raw import resampling
from nasforge.export.script import script
from nasforge.networks.build import build

PHOTOS: dict[str, Any] = {
    "input": [3, 16, 16], "classes": 3, "stem": [{"conv": {"out": 8}}], "body": [{"conv": {"out": 12, "stride": 2}}], "head": ["gap_head"]
}  # fmt: skip
ROWS: dict[str, Any] = {"input": [5], "classes": 2, "body": [{"linear": {"out": 12, "act": "relu"}}], "head": ["linear"]}
COLORS = {"brick": (190, 70, 60), "grass": (90, 160, 70), "sky": (90, 130, 210)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of three classes in three parts: of mixed sizes, JPEG and PNG, some turned by EXIF, some transparent."""
    root, rng = tmp_path_factory.mktemp("data") / "photographs", np.random.default_rng(0)
    for part, n in {"train": 40, "val": 15, "test": 12}.items():
        for name, color in COLORS.items():
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                height, width = rng.integers(17, 40, 2)
                ramp = np.linspace(-40, 40, height)[:, None, None] * (name == "grass")
                noise = rng.normal(0, 40, (height, width, 3)) + rng.normal(0, 15, 3)
                image = Image.fromarray(np.clip(np.array(color) + ramp + noise, 0, 255).astype(np.uint8))
                if i % 4 == 0:
                    image.putalpha(Image.fromarray(rng.integers(120, 256, (height, width), np.uint8)))
                    image.save(root / part / name / f"{i}.png")
                    continue
                turned = Image.Exif()
                turned[reading.ORIENTATION] = 6 if i % 4 == 1 else 1
                image.save(root / part / name / f"{i}.jpg", quality=90, exif=turned)
    return root


@pytest.fixture(scope="module")
def trained(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("trained") / "colors"
    return nf.train(PHOTOS, str(photographs), image_size=16, epochs=12, out=folder, show=False)


def pets(path: Path) -> Path:
    """Rows with a column of names, cells that are missing, two targets."""
    rng = np.random.default_rng(1)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["weight", "color", "age", "kind", "price"])
        for i in range(150):
            dog, age = int(rng.integers(2)), int(rng.integers(1, 15))
            weight = "" if i % 17 == 0 else f"{rng.normal(4 + 4 * dog, 1.5):.3f}"
            color = "" if i % 23 == 0 else ["red", "blue", "dark, grey"][int(rng.integers(3))]
            out.writerow([weight, color, age, ["cat", "dog"][dog], f"{900 + 100 * dog * age + rng.normal(0, 20):.2f}"])
    return path


# ---------------------------------------------------------------- photographs


BARE = """
import sys
allowed = {*sys.argv.pop(1).split(","), *sys.stdlib_module_names}

class Only:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        return self.finder.find_spec(name, path, target) if top in allowed or top.startswith("_sysconfigdata") else None

sys.meta_path[:] = [Only(finder) for finder in sys.meta_path]
import runpy
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def bare(program: Path, *arguments: str, needs: tuple[str, ...] = ("onnxruntime", "pillow", "numpy")) -> subprocess.CompletedProcess[str]:
    """A program in a fresh Python that can import what some distributions need, and nothing else."""
    command = [sys.executable, "-I", "-c", BARE, ",".join(packages(needs)), str(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_fresh_python_classifies_photographs_as_the_run_did(trained: Any, photographs: Path, tmp_path: Path) -> None:
    done = nf.export(str(trained.folder), "onnx", tmp_path)
    assert done.samples == 45 and done.val == done.recorded == trained.metrics["accuracy"]
    assert done.notes == () and done.trained
    assert json.loads((tmp_path / "labels.json").read_text()) == ["brick", "grass", "sky"]

    ran = bare(tmp_path / "predict.py", "--json", "--top", "1", str(photographs / "test"))
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert ran.returncode == 0 and len(rows) == 36, ran.stderr
    right = sum(row["class"] == Path(row["file"]).parent.name for row in rows)
    assert right / 36 == pytest.approx(trained.test["accuracy"], abs=1e-12)
    assert right / 36 > 0.6  # of three classes: raw pixels in a network that wants normalized ones are no better than chance


@pytest.mark.slow
def test_an_onnx_file_says_what_it_reads_and_takes_bytes_without_our_script(trained: Any, photographs: Path, tmp_path: Path) -> None:
    import onnxruntime

    done = nf.export(str(trained.folder), "onnx", tmp_path / "mine.onnx")
    assert done.path.name == "mine.onnx"
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    meta = session.get_modelmeta().custom_metadata_map
    assert meta["input"] == "input: (batch, 3, 16, 16) uint8, raw bytes 0 to 255, layout NCHW, channels RGB"
    assert session.get_inputs()[0].type == "tensor(uint8)"
    about = json.loads(meta["preprocess"])
    assert about == read_preprocess(tmp_path) and about["inside"] and json.loads(meta["labels"]) == ["brick", "grass", "sky"]
    file = photographs / "test" / "grass" / "2.jpg"
    x = reading.decode(file.read_bytes(), (16, 16), 3)[None]
    with pytest.raises(Exception, match="Unexpected input data type"):
        session.run(None, {"input": (x / 255).astype(np.float32)})
    logits = session.run(None, {"input": x})[0][0]
    mean, std = (np.array(about["inputs"]["input"][word])[:, None, None] for word in ("mean", "std"))
    with torch.no_grad():
        expected = trained.model(torch.tensor((x / 255 - mean) / std, dtype=torch.float32))[0].numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_preprocess_none_gives_the_graph_without_it(trained: Any, tmp_path: Path) -> None:
    import onnx

    state = trained.model.state_dict()
    plain = onnx.load(write_files(trained.arch, state, "onnx", tmp_path / "a", name="m").path)
    done = nf.export(str(trained.folder), "onnx", tmp_path / "b", preprocess="none", name="m")
    none = onnx.load(done.path)
    assert none.graph.SerializeToString() == plain.graph.SerializeToString()
    assert not plain.metadata_props and {p.key for p in none.metadata_props} == {"preprocess", "labels", "input", "output"}
    assert done.val == trained.metrics["accuracy"]  # predict.py normalizes for it
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["m.onnx"]


@pytest.mark.slow
def test_a_python_file_reads_bytes_and_needs_torch_alone(trained: Any, photographs: Path, tmp_path: Path) -> None:
    done = nf.export(str(trained.folder), "python", tmp_path)
    assert done.val == trained.metrics["accuracy"] and not {"nasforge", "numpy", "PIL"} & done.modules
    text = done.path.read_text()
    assert "uint8, raw bytes 0 to 255" in ast.get_docstring(ast.parse(text)) and '"names": ["brick", "grass", "sky"]' in text
    for file in (done.path, tmp_path / "predict.py"):
        rules = ("--isolated", "--select", "E,F,I,B", "--line-length", "140")
        checked = subprocess.run([sys.executable, "-m", "ruff", "check", *rules, str(file)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout
    ran = bare(tmp_path / "predict.py", str(photographs / "test" / "sky" / "4.png"), "nothing.jpg", needs=("torch", "pillow", "numpy"))
    assert ran.returncode == 1 and ran.stdout.count("\n") == 1 and "sky" in ran.stdout
    assert ran.stderr == "nothing.jpg: there is no such file\n"


@pytest.mark.slow
def test_an_export_whose_description_is_wrong_is_refused(trained: Any, tmp_path: Path) -> None:
    """Channels in another order: the file computes what it should, and not what the network computed in its training."""
    folder = tmp_path / "swapped"
    shutil.copytree(trained.folder, folder)
    about = json.loads((folder / "preprocess.json").read_text())
    about["inputs"]["input"]["mean"] = about["inputs"]["input"]["mean"][::-1]
    (folder / "preprocess.json").write_text(json.dumps(about))
    with pytest.raises(ExportRefused, match="must give for the files of the data what the network gives for them as it was trained"):
        nf.export(str(folder), "python", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_images_of_another_size_than_the_network_reads_are_resized_inside(photographs: Path, tmp_path: Path) -> None:
    found = nf.train(PHOTOS, str(photographs), image_size="24x20", resize=True, epochs=1, out=tmp_path / "t", show=False)
    done = nf.export(str(tmp_path / "t"), "python", tmp_path / "out")
    assert done.val == found.metrics["accuracy"] and done.preprocess["inputs"]["input"]["resize_to"] == [16, 16]
    none = nf.export(str(tmp_path / "t"), "python", tmp_path / "none", preprocess="none")
    assert none.val is None and none.notes == ("not tried on files of the data: it reads images of another size (--preprocess inside)",)


@pytest.mark.parametrize(("before", "after"), [(24, 16), (7, 13), (9, 9), (64, 5)])
def test_resampling_a_side_is_the_interpolation_of_torch(before: int, after: int) -> None:
    x = torch.rand(2, 3, before, 11, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(x, size=(after, 11), mode="bilinear", antialias=True)
    torch.testing.assert_close(resampling(before, after) @ x, expected, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- tables, numbers, text


@pytest.mark.slow
def test_rows_of_a_table_are_read_by_name_with_missing_cells_and_names(tmp_path: Path) -> None:
    table = pets(tmp_path / "pets.csv")
    found = nf.train(ROWS, str(table), target="kind", epochs=4, out=tmp_path / "t", show=False)
    done = nf.export(str(tmp_path / "t"), "python", tmp_path / "out")
    assert done.val == found.metrics["accuracy"] and done.samples == 30
    columns = done.preprocess["inputs"]["input"]["columns"]
    assert columns == [{"name": "weight"}, {"name": "color", "names": ["blue", "dark, grey", "red"]}, {"name": "age"}, {"name": "price"}]
    rows = tmp_path / "rows.csv"
    rows.write_text('age,price,extra,color,weight\n3,950,?,"dark, grey",4\n3,950,?,purple,4\n3,950,?,,\n3,x,?,red,4\n')
    inside, outside = (nf.predict(one, rows, allow_code=True) for one in (tmp_path / "t", done.path))
    assert [row["file"] for row in inside] == [f"{rows}, line {i}" for i in (2, 3, 4, 5)]
    assert inside[1]["error"] == "color must be one of blue, dark, grey, red, got 'purple'"
    assert inside[3]["error"] == "price must be a number, got 'x'"
    for a, b in zip(inside, outside, strict=True):
        assert a.keys() == b.keys() and a.get("class") == b.get("class")
    means = np.array(done.preprocess["inputs"]["input"]["mean"], np.float32)[None]
    means[0, [1, 2, 3, 5]], means[0, 4] = (0, 0, 0, 950), 3
    model = FromRaw(trained_model(tmp_path / "t"), done.preprocess, ["input"])
    shares = model(torch.from_numpy(means)).detach().softmax(1)[0]  # the row without color and weight: the mean stands for the weight
    assert max(one["probability"] for one in inside[2]["top"]) == pytest.approx(float(shares.max()), rel=1e-4)


def trained_model(folder: Path) -> torch.nn.Module:
    from safetensors.torch import load_file

    from nasforge.api.named import arch_named

    model = build(arch_named(str(folder)))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


@pytest.mark.slow
def test_values_come_in_their_own_units(tmp_path: Path) -> None:
    table = pets(tmp_path / "pets.csv")
    found = nf.train(ROWS, str(table), task="regression", target="price", epochs=6, out=tmp_path / "t", show=False)
    done = nf.export(str(tmp_path / "t"), "python", tmp_path / "out")
    assert done.val == pytest.approx(found.metrics["mse"], rel=1e-5)
    values = [row["values"]["price"] for row in nf.predict(tmp_path / "t", table)]
    prices = [float(line.rpartition(",")[2]) for line in table.read_text().splitlines()[1:]]
    assert np.mean(values) == pytest.approx(np.mean(prices), rel=0.1) and np.corrcoef(values, prices)[0, 1] > 0.3
    none = nf.export(str(tmp_path / "t"), "python", tmp_path / "none", preprocess="none")
    again = nf.predict(none.path, table, allow_code=True)  # predict.py and ours give units there, too
    np.testing.assert_allclose([row["values"]["price"] for row in again], values, rtol=1e-4)


@pytest.mark.slow
def test_numbers_far_from_zero_keep_their_digits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = 1e9 + rng.normal(size=(200, 2))
    np.savetxt(tmp_path / "wide.csv", np.column_stack([x, x[:, 0] > 1e9]), delimiter=",", fmt=["%.6f", "%.6f", "%d"])
    arch = {**ROWS, "input": [2]}
    found = nf.train(arch, str(tmp_path / "wide.csv"), epochs=25, recipe={"lr": 0.02}, out=tmp_path / "t", show=False)
    done = nf.export(str(tmp_path / "t"), "python", tmp_path / "out")
    about = done.preprocess["inputs"]["input"]
    assert about["dtype"] == "float64" and about["header"] is False and done.val == found.metrics["accuracy"]
    assert found.metrics["accuracy"] > 0.7  # as float32 all rows would be alike


def test_the_end_of_a_text_is_read_as_characters(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    arch = {"input": {"tokens": 28, "length": 64}, "classes": 28, "body": [{"embedding": {"out": 8}}, {"gru": {"hidden": 8}}],
            "head": ["linear"]}  # fmt: skip
    found = nf.train(arch, str(tmp_path / "t.txt"), epochs=1, out=tmp_path / "run", show=False)
    texts = {"long": "the quick brown fox jumps over the lazy dog. " * 2, "short": "fox", "other": "Quick" * 20}
    files = []
    for name, text in texts.items():
        files.append(tmp_path / f"{name}.txt")
        files[-1].write_text(text)
    rows = nf.predict(found.folder, files, 2)
    assert len(rows[0]["top"]) == 2 and len(rows[0]["steps"]) == 64
    assert rows[1]["error"] == "must have at least 64 characters, got 3"
    assert rows[2]["error"] == "must hold characters that the training saw, got 'Q'"


def test_arrays_are_predicted_raw_and_their_shape_is_checked(tmp_path: Path) -> None:
    x = digits()
    found = nf.train({**PHOTOS, "input": [1, 8, 8], "classes": 10}, "digits", epochs=2, out=tmp_path / "t", show=False)
    np.save(tmp_path / "some.npy", x[:3])
    np.save(tmp_path / "other.npy", x[:3, :, 1:])
    rows = nf.predict(found.folder, [tmp_path / "some.npy", tmp_path / "other.npy"])
    data = nf.load_data("digits")
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (data.mean, data.std))
    with torch.no_grad():
        expected = found.model((torch.from_numpy(x[:3]) - mean) / std).argmax(1)
    assert [row["class"] for row in rows[:3]] == [str(int(one)) for one in expected]
    assert rows[3]["error"] == "must be of the shape (1, 8, 8) or (N, 1, 8, 8), got (3, 1, 7, 8)"


def digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return (load_digits().images / 16).astype(np.float32)[:, None]


# ---------------------------------------------------------------- where it is kept, and where it is not


@pytest.mark.slow
def test_a_search_keeps_it_for_its_finalists_and_predicts(photographs: Path, tmp_path: Path) -> None:
    space = {**PHOTOS, "name": "small", "stem": [{"conv": {"out": {"choose": [4, 6, 8]}}}]}
    run = nf.search(space, str(photographs), image_size=16, trials=2, epochs=1, final_epochs=2, finalists=1, final_seeds=2,
                    run=tmp_path / "run", runner="inline", show=False, page=False, control=False)  # fmt: skip
    done = run.export("python")
    row = run.best.row
    assert done.val == done.recorded == row["val_of_weights"] >= row["val"] - 1e-12
    assert read_preprocess(run.folder) == read_preprocess(run.folder / "finalists")
    assert run.predict(photographs / "test" / "sky" / "0.png", top=1)[0]["class"] in COLORS


@pytest.mark.slow
def test_a_run_without_it_is_fitted_again_or_says_what_is_missing(trained: Any, photographs: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(trained.folder, old)
    (old / "preprocess.json").unlink()
    file = photographs / "test" / "brick" / "1.jpg"
    assert nf.predict(old, file) == nf.predict(trained.folder, file)
    told = json.loads((old / "result.json").read_text())
    del told["source"]
    (old / "result.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"old: preprocess.json is missing, and it cannot be fitted again .* give them with --data"):
        nf.predict(old, file)
    assert nf.predict(old, file, data=str(photographs), image_size=16) == nf.predict(trained.folder, file)
    done = nf.export(str(old), "python", tmp_path / "out")
    assert done.preprocess is None and "not known what lies between files and this network" in done.notes[-1]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["old.py", "old.safetensors"]


def test_data_that_changed_are_said_and_not_tried_on(trained: Any, photographs: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(photographs, moved)
    shutil.copyfile(moved / "val" / "sky" / "0.png", moved / "val" / "brick" / "0.png")
    with pytest.raises(UserError, match="was trained on other data"):
        nf.export(str(trained.folder), "python", tmp_path / "out", data=str(moved))


@pytest.mark.slow
def test_another_network_in_the_folder_keeps_its_description(trained: Any, tmp_path: Path) -> None:
    nf.export(str(trained.folder), "python", tmp_path / "out")
    table = pets(tmp_path / "pets.csv")
    nf.train(ROWS, str(table), target="kind", epochs=1, out=tmp_path / "rows", show=False)
    with pytest.raises(UserError, match=r"holds colors.py, whose preprocess.json and labels.json say something else; name another folder"):
        nf.export(str(tmp_path / "rows"), "python", tmp_path / "out")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 9}', '{"format": 1, "inputs": {"input": {"mean": [0], "std": [0], "scale": 1}}}'])
def test_a_damaged_description_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocess.json").write_text(text)
    with pytest.raises(UserError, match=r"preprocess.json: must be a description of preprocessing, got: "):
        read_preprocess(tmp_path)


@pytest.mark.slow
def test_a_python_file_is_run_only_where_it_may(trained: Any, photographs: Path, tmp_path: Path) -> None:
    done = nf.export(str(trained.folder), "python", tmp_path)
    with pytest.raises(UserError, match="would run code of its own; if you trust it, add --allow-code"):
        nf.predict(done.path, photographs / "test")


def test_the_script_holds_the_very_text_by_which_data_sets_are_read() -> None:
    assert images.decode is reading.decode
    text = script()
    made = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    source = Path(reading.__file__).read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            assert ast.dump(made[node.name]) == ast.dump(node)
    assert "nasforge" not in text and set(EXPORTERS) == {"python", "onnx", "torch"}
