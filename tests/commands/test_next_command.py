"""The commands that a page prints, given again: the same search goes on, or is done again, with all that was asked."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Killed, records

import nasforge as nf
from nasforge.cli import main
from nasforge.report import collect
from nasforge.report.next_steps import go_on
from nasforge.runners import InlineRunner
from nasforge.search.plan import read_manifest
from nasforge.storage.open import without_password

SPACE = {
    "name": "mlp", "input": [4], "classes": 3,
    "body": [{"linear": {"out": {"choose": [8, 16, 24, 32]}, "act": {"choose": ["relu", "gelu"]}}}], "head": ["linear"],
    "search": {"control": True, "finalists": 2, "strategy": "evolution"},
}  # fmt: skip
OWN = {"input": [4], "classes": 3, "body": [{"linear": {"out": 12, "act": "tanh"}}], "head": ["linear"]}
QUICK = ["--trials", "2", "--epochs", "2", "--final-epochs", "3", "--final-seeds", "1", "--runner", "inline", "--json"]
TIMES = ("seconds", "training", "run", "arch")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, arch in (("mlp", SPACE), ("own", OWN)):
        (tmp_path / f"{name}.yaml").write_text(json.dumps(arch), encoding="utf-8")
    (tmp_path / "d.csv").write_text("a,b,c,d,y\n" + "".join(f"{i},{-i},{i % 7},{i % 5},c{i % 3}\n" for i in range(90)), encoding="utf-8")
    return tmp_path


def given(line: str) -> int:
    """The exit status of a line as a page prints it."""
    words = shlex.split(line)
    assert words[0] == "nasforge"
    return main([*words[1:], "--json"])


def searches(folder: Path, storage: str | None = None) -> list[str]:
    return [line for _, line in go_on(collect(folder, storage)) if " search " in line]


def untimed(found: Any) -> Any:
    if isinstance(found, dict):
        return {k: untimed(v) for k, v in found.items() if k not in TIMES}
    return [untimed(v) for v in found] if isinstance(found, list) else found


OPTIONS: dict[str, list[str]] = {
    "baselines of files, finals, no control": ["--seed-arch", "own.yaml", "--no-control", "--finalists", "1"],
    "all that has a default": [
        "--strategy", "random", "--scheduler", "halving", "--seed", "7", "--constraint", "params<=400", "--objective=-loss,-params",
        "--until", "loss<=0.001", "--inherit", "--data-limit", "60", "--threads", "1", "--finalists", "4", "--data-memory", "1",
    ],
    "a table": ["--evaluator", "proxy", "--objective", "synflow,-params", "--scheduler", "none"],
    "a database": ["--storage", "sqlite:///s.db", "--strategy", "random"],
}  # fmt: skip


@pytest.mark.parametrize("more", OPTIONS.values(), ids=OPTIONS)
def test_a_printed_command_goes_on_and_does_it_again(more: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = "sqlite:///s.db" if "--storage" in more else None
    assert main(["search", "mlp.yaml", "--data", "d.csv", "--run", "r", *QUICK, *more]) == 0
    found, manifest = json.loads(capsys.readouterr().out), read_manifest(Path("r"))
    (here / "mlp.yaml").unlink()
    (here / "own.yaml").unlink()
    onward, again = searches(Path("r"), storage)
    assert given(again) == 0
    second = json.loads(capsys.readouterr().out)
    assert untimed(second["finalists"]) == untimed(found["finalists"]) and untimed(second["baselines"]) == untimed(found["baselines"])
    assert second["settings"] == found["settings"]
    assert given(onward) == 0
    more_found, later = json.loads(capsys.readouterr().out), read_manifest(Path("r"))
    assert more_found["asked"] == 4 and more_found["settings"] == found["settings"]
    assert {**later, "command": 0} == {**manifest, "command": 0}, "the same search"
    assert {k: v for k, v in later["command"].items() if k not in ("trials", "seed_arch", "constraint", "objective")} == {
        k: v for k, v in manifest["command"].items() if k not in ("trials", "seed_arch", "constraint", "objective")
    }


def test_a_command_of_an_unfinished_run_keeps_what_was_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: InlineRunner, driver: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(InlineRunner, "run", killed)
        main(["search", "mlp.yaml", "--data", "d.csv", "--run", "r", *QUICK, "--no-control", "--device", "cpu", "--workers", "2"])
    onward, _ = searches(Path("r"))
    assert " --no-control" in onward and " --runner inline" in onward and " --workers 2" in onward and "--trials 2" in onward
    assert given(onward) == 0
    assert read_manifest(Path("r"))["control"] is False and not (Path("r") / "baselines").exists()


def test_paths_mean_what_they_meant_where_the_command_was_given(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["search", "mlp.yaml", "--data", "d.csv", "--run", "r", *QUICK, "--seed-arch", "own.yaml"]) == 0
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    lines = [line for _, line in go_on(collect(here / "r")) if "--data" in line]
    assert len(lines) == 3 and all(line.startswith(f"cd {here} && nasforge ") for line in lines)
    monkeypatch.chdir(here)
    for line in lines:
        assert given(line.partition(" && ")[2]) == 0
    assert len(records(here / "r")) >= 4


def test_a_search_of_data_given_in_python_goes_on_from_python(here: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    data = (x, (x[:, 0] > 0).astype(int))
    options: dict[str, Any] = {"trials": 2, "epochs": 1, "final_epochs": 1, "final_seeds": 1, "runner": "inline", "control": False}
    run = nf.search(SPACE, data, run="r", show=False, **options)
    lines = [line for _, line in go_on(collect(run.folder))]
    onward = next(line for line in lines if "twice" in dict((b, a) for a, b in go_on(collect(run.folder)))[line])
    assert onward.startswith("nasforge.search('r/space.yaml', data, ") and "trials=4" in onward and "control=False" in onward
    assert any(line.startswith("nasforge.train('r:finalist") for line in lines) and not any("--data" in line for line in lines)
    found = eval(onward.replace("'r')", "'r', show=False)"), {"nasforge": nf, "data": data})
    assert found.summary["asked"] == 4


@pytest.mark.parametrize(("url", "shown"), [
    ("sqlite:///s.db", "sqlite:///s.db"),
    ("postgresql://me:secret@host:5432/db?sslmode=require", "postgresql://me@host:5432/db?sslmode=require"),
    ("postgresql://me:sec@ret/s@host/db", "postgresql://me@host/db"),
    ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me"),
])  # fmt: skip
def test_no_password_is_kept(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.slow
def test_a_timed_search_that_ended_goes_on_with_more_trials(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", "d.csv", "--minutes", "0.2", "--runner", "inline", "--data-limit", "60", "--constraint", "params<=400", "--json"]
    wide = {**SPACE, "body": [{"linear": {"out": {"int": [2, 24]}, "act": {"choose": ["relu", "tanh", "gelu", "elu"]}}}]}
    Path("mlp.yaml").write_text(json.dumps(wide), encoding="utf-8")  # more networks than there is time for
    assert main(["search", "mlp.yaml", "--run", "r", *words]) == 0
    first = json.loads(capsys.readouterr().out)
    onward, _ = searches(Path("r"))
    assert "--minutes 0.4" in onward and "--data-limit 60" in onward and "'params<=400'" in onward
    assert given(onward) == 0
    out = capsys.readouterr()
    second = json.loads(out.out)
    assert second["finished"] + second["pruned"] > first["finished"] + first["pruned"] and second["minutes"] == 0.4
