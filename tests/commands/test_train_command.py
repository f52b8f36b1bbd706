"""nasforge train: the time, the recipe and its words."""

from __future__ import annotations

import importlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasforge import zoo
from nasforge.api.recipes import recipe_named
from nasforge.api.train import difference
from nasforge.cli import main
from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation.train import fit_to_data, for_data
from nasforge.spaces.files import read, write
from nasforge.tasks import load_data

fit = importlib.import_module("nasforge.train.fit")  # the module, not the function of its name
WORDS = ["train", "lenet5", "--data", "digits", "--data-limit", "200"]


def trained(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> dict[str, Any]:
    assert main([*WORDS, "--out", str(folder), "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_recipe_by_file_and_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("optimizer: nesterov\nlr: 5e-2\nepochs: 2\n", encoding="utf-8")
    found = trained(capsys, tmp_path / "out", "--recipe", str(tmp_path / "mine.yaml"), "--set", "weight_decay=5e-4", "--set", "ema=null")
    told = {name: found["recipe"][name] for name in ("optimizer", "lr", "epochs", "weight_decay", "ema")}
    assert told == {"optimizer": "nesterov", "lr": 0.05, "epochs": 2, "weight_decay": 5e-4, "ema": None} and len(found["curve"]) == 2
    assert read(tmp_path / "out" / "arch.yaml")["recipe"] == found["recipe"], "what was trained says how"


OWN = {
    "input": [1, 8, 8], "classes": 100, "stem": [{"conv": {"out": 4, "pad": "valid"}}], "body": [{"conv": {"out": 8, "pad": "valid"}}],
    "head": ["flatten", {"linear": {"out": 1024, "act": "relu"}}, "linear"],
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), [
    ({}, "own.yaml: made for [1, 8, 8] and 100 classes, used for [1, 8, 8] and 10\n"),
    ({"input": [3, 32, 32]}, "own.yaml: made for [3, 32, 32] and 100 classes, used for [1, 8, 8] and 10\n"),
    ({"classes": 10}, ""),
])  # fmt: skip
def test_of_an_own_network_only_the_ends_fit_themselves_to_the_data(
    changes: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write({**OWN, **changes}, tmp_path / "own.yaml")
    assert main(["train", "own.yaml", "--data", "digits", "--data-limit", "100", "--epochs", "1", "--out", "out"]) == 0
    assert capsys.readouterr().err.startswith(said or "own.yaml on digits: 142,694 parameters, 100 images an epoch")
    found = read(tmp_path / "out" / "arch.yaml")
    assert {k: v for k, v in found.items() if k != "recipe"} == {**OWN, "classes": 10}


def test_an_own_network_that_does_not_fit_the_images_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write({**OWN, "input": [3, 32, 32], "body": [{"conv": {"out": 8, "kernel": 7, "pad": "valid"}}]}, tmp_path / "own.yaml")
    for words in (["train", str(tmp_path / "own.yaml"), "--out"], ["search", "digits", "--seed-arch", str(tmp_path / "own.yaml"), "--run"]):
        assert main([*words, str(tmp_path / "out"), "--data", "digits"]) == 2
        told = capsys.readouterr().err
        assert "body.0.conv: the kernel [7, 7]" in told and "it is made for images [3, 32, 32], digits has [1, 8, 8]: bring" in told
    assert not (tmp_path / "out").exists()


def test_a_documented_network_for_other_images_is_used_in_its_small_form_and_that_is_said() -> None:
    digits = load_data(Source("digits", limit=100))
    known = zoo.load("alexnet")
    assert for_data(known, digits)["note"].endswith("padding same, hidden full layers at most 512 wide")
    assert "in its small form: without the reduction of" in difference(known, for_data(known, digits))
    own = {**known, "name": "mine", "body": [*known["body"], "identity"]}
    with pytest.raises(UserError, match="it is made for images"):
        for_data(own, digits)
    same = {**zoo.load("lenet5"), "input": [1, 8, 8]}  # for these images, but other classes
    assert for_data({**same, "classes": 7}, digits) == fit_to_data(same, digits)


@pytest.mark.slow
def test_so_many_minutes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:  # it trains on every core, which other tests of this process must not
        found = trained(capsys, tmp_path / "out", "--minutes", "0.1")
    finally:
        torch.set_num_threads(threads)
    assert found["recipe"]["minutes"] == 0.1 and found["recipe"]["early_stopping"] is None and found["recipe"]["epochs"] == 200
    assert found["seconds"]["training"] < 12 and (len(found["curve"]) == 200 or found["curve"][-1]["lr"] < 0.1 * found["recipe"]["lr"])


def test_published_recipes_by_name() -> None:
    of_resnet = zoo.recipe("resnet20")
    assert of_resnet is not None and recipe_named("published", "resnet20") == recipe_named("resnet20", "lenet5") == of_resnet["recipe"]
    assert recipe_named("resnet20", "lenet5", ["lr=.05"]) == {**of_resnet["recipe"], "lr": 0.05}
    assert recipe_named(None, "lenet5") == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "published"], "--recipe published: no published recipe is known of lenet5"),
        (["--recipe", "nosuch.yaml"], "nosuch.yaml"),
        (["--set", "lr"], "--set lr: must be WORD=VALUE, for example lr=.1"),
        (["--set", "learning_rate=.1"], "recipe.learning_rate: no such value in a recipe"),
        (["--minutes", "0"], "recipe.minutes: must be a number above 0"),
    ],
)
def test_mistakes(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_network_on_its_own_data_is_told_that_a_recipe_was_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "c.npz", x=rng.random((60, 3, 32, 32), dtype="float32"), y=np.arange(60) % 10)
    words = ["train", "resnet20", "--data", str(tmp_path / "c.npz"), "--epochs", "1", "--set", "batch_size=16", "--out"]
    assert main([*words, str(tmp_path / "plain")]) == 0
    said = capsys.readouterr().err
    note = "resnet20: trained by a default recipe for these data ("
    assert said.count(note) == 1 and "not as published on CIFAR-10 (sgd, 182 epochs); --recipe published does that" in said
    assert main([*words, str(tmp_path / "published"), "--recipe", "published"]) == 0
    assert note not in capsys.readouterr().err
    used = read(tmp_path / "published" / "arch.yaml")["recipe"]
    assert {"optimizer": "sgd", "lr": 0.1, "schedule": "step", "epochs": 1, "augment": {"flip": 0.5, "crop": 4.0}}.items() <= used.items()
    assert main([*words, str(tmp_path / "quiet"), "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and captured.out.startswith("resnet20 on c: 269,722 parameters; test accuracy")
    assert main([*words, str(tmp_path / "verbose"), "--verbose"]) == 0
    assert 'recipe: {"epochs": 1, "batch_size": 16, ' in capsys.readouterr().err


def test_a_name_without_a_recipe_says_what_to_give() -> None:
    with pytest.raises(UserError, match="name a documented network that has one, or a YAML file"):
        recipe_named("nosuch", "lenet5")


def test_sigterm_leaves_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_epoch, begun = fit.run_epoch, list[int]()

    def told(training: Any) -> dict[str, float]:
        begun.append(1)
        if len(begun) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return run_epoch(training)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "run_epoch", told)
        patch.setattr(fit, "KEPT_EVERY_S", 0.0)
        assert main([*WORDS, "--out", str(tmp_path / "a"), "--epochs", "6", "--json"]) == 143
    captured = capsys.readouterr()
    assert "stopped; what had ended is kept, the same command goes on" in captured.err
    assert json.loads(captured.out) == {"error": "stopped", "where": None, "remedy": "what had ended is kept, the same command goes on"}
    assert len(torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)["curve"]) == 3
    left = (tmp_path / "a" / "curve.csv").read_text().splitlines()
    assert left[0].startswith("epoch,loss,val_loss,accuracy") and [line.split(",")[0] for line in left[1:]] == ["1", "2", "3"]
    went_on, whole = trained(capsys, tmp_path / "a", "--epochs", "6"), trained(capsys, tmp_path / "b", "--epochs", "6")
    assert [line.split(",")[0] for line in (tmp_path / "a" / "curve.csv").read_text().splitlines()[1:]] == list("123456")
    assert [r["loss"] for r in went_on["curve"]] == [r["loss"] for r in whole["curve"]] and went_on["test"] == whole["test"]


@pytest.mark.parametrize("network", ["perceptron", "mlp_2layer", "own.yaml", "steps.yaml"])
@pytest.mark.parametrize("data", ["d.csv", "d.npz"])
def test_plain_vectors(
    network: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(60, 5)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    np.savez("d.npz", x=x, y=y)
    rows = "\n".join(",".join(map(str, [*row, label])) for row, label in zip(x, y, strict=True))
    Path("d.csv").write_text(f"a,b,c,d,e,y\n{rows}\n", encoding="utf-8")
    for name, arch in (
        ("own", {"input": [7], "body": [{"linear": {"out": 8}}, "relu"]}),
        ("steps", {"input": [7, 1], "body": ["flatten"]}),
    ):
        write({**arch, "classes": 3, "head": ["linear"]}, f"{name}.yaml")
    assert main(["train", network, "--data", data, "--epochs", "1", "--out", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["arch"] == network
    assert read("out/arch.yaml")["input"] == ([5, 1] if network == "steps.yaml" else [5])
