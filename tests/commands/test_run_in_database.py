"""A run whose studies are in a database: its trials are found by the URL in its manifest, also from another folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nasforge as nf
from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.search.plan import MANIFEST
from nasforge.search.study import studies_of

SPACE = {
    "name": "mlp", "input": [4], "classes": 3,
    "body": [{"linear": {"out": {"choose": [8, 16, 24, 32]}, "act": "relu"}}], "head": ["linear"],
}  # fmt: skip
QUICK = ["--epochs", "1", "--final-epochs", "1", "--finalists", "1", "--final-seeds", "1", "--strategy", "random", "--runner", "inline"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `r` with its studies in `s.db`."""
    made = tmp_path_factory.mktemp("runs")
    (made / "mlp.yaml").write_text(json.dumps(SPACE), encoding="utf-8")
    (made / "d.csv").write_text("a,b,c,d,y\n" + "".join(f"{i},{-i},{i % 7},{i % 5},c{i % 3}\n" for i in range(90)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        command = ["search", "mlp.yaml", "--data", "d.csv", "--trials", "2", "--run", "r", "--storage", "sqlite:///s.db", *QUICK]
        assert main(command) == 0
    return made


@pytest.mark.slow
def test_trials_are_named_by_their_numbers(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "elsewhere").mkdir(exist_ok=True)
    for folder, run in ((place, "r"), (place / "elsewhere", "../r")):
        monkeypatch.chdir(folder)
        capsys.readouterr()
        assert main(["show", f"{run}:1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["key"] == nf.Run.open(run).rows()[1]["key"]
        assert main(["report", run]) == 0 and main(["export", f"{run}:0", "--to", "python", "--out", "taken"]) == 0
        assert main(["train", f"{run}:0", "--data", str(place / "d.csv"), "--epochs", "1"]) == 0
    assert not (place / "elsewhere" / "s.db").exists()
    capsys.readouterr()
    assert main(["show", f"{run}:9"]) == 2 and "has the trials 0 to 1" in capsys.readouterr().err


def test_priors_and_baselines(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    command = ["search", "mlp.yaml", "--data", "d.csv", "--trials", "1", "--run", "r2", "--prior", "r", "--seed-arch", "r:0", *QUICK]
    assert main([*command, "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["baselines"]] == ["baseline_0"]


def test_a_database_that_is_not_known_or_not_there_is_said(place: Path, tmp_path: Path) -> None:
    manifest = json.loads((place / "r" / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["storage_url"] == "sqlite:///s.db"
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "storage_url": "sqlite:///gone.db"}), encoding="utf-8")
    with pytest.raises(UserError, match=r"its studies are in a sqlite database, sqlite:///gone.db: .*no such file"):
        studies_of(tmp_path)
    assert not (place / "gone.db").exists()
    del manifest["storage_url"]
    (tmp_path / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match=r"sqlite database, not in the folder.*or the command of the search once more"):
        studies_of(tmp_path)
