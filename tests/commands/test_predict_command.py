"""nasforge predict: names, tables, JSON; files that cannot be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nasforge as nf
from nasforge.cli import main
from nasforge.commands.predict import flat

NET = {"input": [3, 8, 8], "classes": 2, "body": [{"conv": {"out": 4}}], "head": ["gap_head"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells bright pictures from dark ones."""
    root, rng = tmp_path_factory.mktemp("predict"), np.random.default_rng(0)
    for name, level in {"bright": 180, "dark": 70}.items():
        (root / "data" / name).mkdir(parents=True)
        for i in range(30):
            pixels = np.clip(rng.normal(level, 30, (9 + i % 3, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "data" / name / f"{i}.{'png' if i % 2 else 'jpg'}")
    nf.train(NET, str(root / "data"), image_size=8, epochs=15, out=root / "net", show=False)
    return root


def test_a_folder_becomes_a_table_with_names(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "p.csv"
    assert main(["predict", str(trained / "net"), str(trained / "data"), "--csv", str(out), "--top", "2"]) == 0
    assert capsys.readouterr().out == f"60 predictions in {out}\n"
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "class", "probability", "class_2", "probability_2"] and len(rows) == 60
    assert np.mean([row["class"] == Path(row["file"]).parent.name for row in rows]) > 0.9
    assert all(float(row["probability"]) + float(row["probability_2"]) == pytest.approx(1) for row in rows)


def test_files_that_cannot_be_read_are_named_and_the_others_predicted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.jpg").write_bytes((trained / "data" / "dark" / "0.jpg").read_bytes()[:200])
    (tmp_path / "text.png").write_text("no picture")
    files = [str(tmp_path / "cut.jpg"), str(trained / "data" / "dark" / "1.png"), str(tmp_path / "gone.png"), str(tmp_path / "text.png")]
    assert main(["predict", str(trained / "net"), *files, "--top", "1"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{files[1]}: dark ") and shown.out.count("\n") == 1
    assert [line.partition(".")[0].rpartition("/")[2] for line in shown.err.splitlines()] == ["cut", "gone", "text"]
    assert f"{files[2]}: there is no such file" in shown.err

    assert main(["predict", str(trained / "net"), *files, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["errors"] == 3 and [("error" in row) for row in told["predictions"]] == [True, False, True, True]
    assert told["predictions"][1]["class"] == "dark" == told["predictions"][1]["top"][0]["class"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet20", "a.png"], "resnet20: has no trained weights"),
        (["{net}", "{empty}"], "must hold files to predict (.png"),
        (["{net}", "a.png", "--top", "0"], "--top: must be at least 1, got 0"),
        (["{empty}/x.onnx", "a.png"], "x.onnx: must be a network as nasforge exports it, got:"),
        (["nowhere", "a.png"], "nowhere"),
        (["{net}", "a.png", "--csv", "{empty}"], "must be a file, got a folder"),
    ],
)
def test_what_is_no_network_or_no_file_is_said(
    arguments: list[str], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    if "x.onnx" in arguments[0]:
        (empty / "x.onnx").write_bytes(b"none")
    assert main(["predict", *(word.format(net=trained / "net", empty=empty) for word in arguments)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_fresh_weights_are_said_loudly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.yaml").write_text(json.dumps({**NET, "input": [1, 8, 8], "classes": 10}))
    assert main(["export", str(tmp_path / "net.yaml"), "--to", "onnx", "--data", "digits", "--out", str(tmp_path / "out"), "--json"]) == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    warning = f"the weights of {tmp_path}/net.yaml are fresh (drawn at random, not trained); "
    warning += "give trained ones with --weights, or name a run"
    assert told["trained"] is False and told["warning"] == warning
    assert f"nasforge export: WARNING: {warning}\n" in shown.err
    import onnx

    properties = {one.key: one.value for one in onnx.load(told["path"]).metadata_props}
    assert properties["weights"] == "fresh: drawn at random, not trained"
    assert json.loads(properties["preprocess"])["trained"] is False
    assert json.loads((tmp_path / "out" / "preprocess.json").read_text())["trained"] is False
    np.save(tmp_path / "one.npy", np.zeros((1, 8, 8), np.float32))
    assert main(["predict", str(tmp_path / "out"), str(tmp_path / "one.npy"), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["trained"] is False and "WARNING: the weights" in shown.err


def test_the_column_of_the_target_is_no_input_and_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("kinds", "few"):
        lines = [f"{a:.3f},{b:.3f},{'' if i % 9 == 0 else 'red' if i % 2 else 'blue'},{'yes' if a + b > 0 else 'no'}"
                 for i, (a, b) in enumerate(rng.normal(size=(120 if name == "kinds" else 20, 2)))]  # fmt: skip
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,color,kind", *lines]))
    net = {"input": [4], "classes": 2, "body": [{"linear": {"out": 8, "act": "relu"}}], "head": ["linear"]}
    nf.train(net, str(tmp_path / "kinds.csv"), target="kind", epochs=8, out=tmp_path / "net", show=False)
    few = str(tmp_path / "few.csv")
    assert main(["predict", str(tmp_path / "net"), few, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    truth = [line.rpartition(",")[2] for line in Path(few).read_text().splitlines()[1:]]
    right = np.mean([row["class"] == word for row, word in zip(told["predictions"], truth, strict=True)])
    assert told["truth"] == {"column": "kind", "rows": 20, "right": right}
    assert main(["predict", str(tmp_path / "net"), few]) == 0
    said = f"the column kind is the target, and no input: {right:.1%} right on the 20 rows that have it\n"
    assert capsys.readouterr().out.endswith(said)
    (tmp_path / "without.csv").write_text("color,b,a\nred,1,2\n")
    assert main(["predict", str(tmp_path / "net"), str(tmp_path / "without.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["truth"] is None
    assert "color: 2 names, one column each; 14 empty cells, counted as none of them" in nf.load_data(
        str(tmp_path / "kinds.csv"), target="kind"
    ).spec.notes  # fmt: skip


def test_a_row_as_cells() -> None:
    row = {"file": "a", "mask": {"class": "x", "top": [{"class": "x", "pixels": 0.5}]}, "much": {"values": {"price": 3.0}}}
    assert flat(row) == {"file": "a", "mask.class": "x", "mask.pixels": 0.5, "much.price": 3.0}
    assert flat({"file": "b", "labels": ["p", "q"], "top": []}) == {"file": "b", "labels": "p q"}
