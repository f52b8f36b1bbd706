"""A run goes on with its own study and its own data, wherever folder, storage and data lie; else that is said and nothing is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from support import DATA, Inline, quick, records, small_plan

from nasforge.cli import main
from nasforge.data import Source
from nasforge.errors import OtherData, UserError
from nasforge.evaluation.base import Context, Job, OnReport, Result, Stop
from nasforge.evaluation.train import recipe_of
from nasforge.report import collect
from nasforge.runners.failures import check_result
from nasforge.runners.inline import InlineRunner
from nasforge.runners.worker import started, work
from nasforge.search import context
from nasforge.search.plan import MANIFEST, Plan
from nasforge.search.session import search
from nasforge.storage.open import JOURNAL
from nasforge.tasks import load_data, task_of


def run(plan: Plan, folder: Path, evaluate: Any = quick) -> tuple[dict[str, Any], int, list[str]]:
    """The summary, how many trials were trained, and what was said."""
    runner, said = Inline(evaluate), list[str]()
    summary = search(plan, folder, lambda: runner, lambda status: None, say=said.append)
    return summary, sum(not job.full for job in runner.jobs), said


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


# ---------------------------------------------------------------- one study


@pytest.mark.parametrize("noted", [True, False], ids=["", "by an older version"])
def test_a_renamed_folder_goes_on_with_its_study_in_a_database(noted: bool, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'all.db'}"
    plan = small_plan(trials=3, storage=url)
    assert run(plan, tmp_path / "a")[1] == 3
    if not noted:
        edit(tmp_path / "a", lambda manifest: manifest.pop("study"))
    (tmp_path / "a").rename(tmp_path / "b")
    summary, trained, said = run(replace(plan, trials=4), tmp_path / "b")
    assert trained == 1 and summary["finished"] == 4 and said == []
    assert optuna.get_all_study_names(url) == ["a-search"]
    found = collect(tmp_path / "b", url)
    assert found.search.count("finished") == 4 and found.rows()[0]["arch"] == str(tmp_path / "b" / "finalists" / "finalist1.yaml")


def test_another_database_is_not_begun_in_a_folder_that_has_a_run(tmp_path: Path) -> None:
    first, second = (f"sqlite:///{tmp_path / name}.db" for name in "xy")
    plan = small_plan(trials=2, storage=first)
    run(plan, tmp_path / "r")
    with pytest.raises(UserError, match=r"--storage: holds no study 'r-search', and the run in .*r \(\w{12}\) has begun"):
        run(replace(plan, storage=second), tmp_path / "r")
    run(replace(plan, storage=second), tmp_path / "elsewhere" / "r")  # a study of the same name and plan, of another run
    for again in (lambda: run(replace(plan, storage=second), tmp_path / "r"), lambda: collect(tmp_path / "r", second)):
        with pytest.raises(UserError, match="its storage holds the study 'r-search' of another run"):
            again()
    assert run(replace(plan, trials=3), tmp_path / "r")[1] == 1


def test_whoever_joins_the_study_of_another_run_is_told(tmp_path: Path) -> None:
    plan = small_plan(trials=2, storage=f"sqlite:///{tmp_path / 'all.db'}")
    run(plan, tmp_path / "a" / "r")
    owner = json.loads((tmp_path / "a" / "r" / MANIFEST).read_text(encoding="utf-8"))["id"]
    for _ in range(2):
        summary, trained, said = run(replace(plan, trials=3), tmp_path / "b" / "r")
        assert summary["joined"] == "r-search" and said == [f"{tmp_path / 'b' / 'r'}: joins the study 'r-search', which run {owner} began"]
    assert trained == 0


def test_a_journal_that_was_lost_is_not_begun_again(tmp_path: Path) -> None:
    plan = small_plan(trials=2)
    run(plan, tmp_path / "r")
    journal, kept = tmp_path / "r" / JOURNAL, (tmp_path / "r" / JOURNAL).read_bytes()
    for lose in (journal.unlink, lambda: journal.write_bytes(b"")):
        lose()
        with pytest.raises(UserError, match=r"study\.journal: holds no study 'search', and the run in .* has begun; restore it"):
            run(replace(plan, trials=3), tmp_path / "r")
    run(plan, tmp_path / "other")
    shutil.copyfile(tmp_path / "other" / JOURNAL, journal)
    with pytest.raises(UserError, match="holds the study 'search' of another run"):
        run(replace(plan, trials=3), tmp_path / "r")
    journal.write_bytes(kept)
    (tmp_path / "r" / MANIFEST).rename(tmp_path / "kept")
    with pytest.raises(UserError, match=r"manifest\.json: is missing, and study\.journal beside it holds a search"):
        run(replace(plan, trials=3), tmp_path / "r")
    (tmp_path / "kept").rename(tmp_path / "r" / MANIFEST)
    assert run(replace(plan, trials=3), tmp_path / "r")[1] == 1


def test_a_driver_that_died_between_manifest_and_study_leaves_a_run_that_can_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_plan(trials=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("nasforge.search.session._study", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        run(plan, tmp_path / "r")
    assert (tmp_path / "r" / MANIFEST).exists() and run(plan, tmp_path / "r")[1] == 2


def test_a_finished_run_that_was_moved_tells_where_it_is(tmp_path: Path) -> None:
    plan = small_plan(trials=2, control=True, strategy="tpe")
    run(plan, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    summary, trained, _ = run(plan, tmp_path / "b")
    rows = [summary["best"], summary["control"], *summary["finalists"], *summary["control_finalists"]]
    assert trained == 0 and summary["run"] == str(tmp_path / "b") and all(Path(row["arch"]).is_file() for row in rows)


def test_other_versions_than_those_a_run_began_with_are_said(tmp_path: Path) -> None:
    plan = small_plan(trials=2)
    assert run(plan, tmp_path)[2] == []
    edit(tmp_path, lambda manifest: manifest["versions"].update(torch="1.2.3"))
    assert run(replace(plan, trials=3), tmp_path)[2][0].startswith(f"{tmp_path}: began with torch 1.2.3 (now ")


# ---------------------------------------------------------------- one data set


def table(path: Path, seed: int = 0) -> Path:
    x = np.random.default_rng(seed).integers(0, 9, (200, 4))
    rows = [f"{','.join(map(str, row))},c{row.sum() % 3}" for row in x]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["a,b,c,d,y", *rows]), encoding="utf-8")
    return path


SPACE = {"input": [4], "classes": 3, "body": [{"linear": {"out": {"int": [8, 40]}}}], "head": ["linear"]}
WORDS = ["--epochs", "1", "--final-epochs", "1", "--final-seeds", "1", "--finalists", "1", "--strategy", "random", "--runner", "inline"]


def scored(job: Job, on_report: OnReport) -> Result:
    out = job.arch["body"][0]["linear"]["out"]
    return Result({"accuracy": out / 40, "loss": 1 / out}, test={"accuracy": 0.5})


def test_the_content_of_data_decides_not_how_their_path_is_spelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "table.csv")
    (tmp_path / "space.yaml").write_text(json.dumps(SPACE), encoding="utf-8")
    (tmp_path / "there").mkdir()
    command = ["search", "space.yaml", *WORDS, "--run"]
    assert main([*command, "r", "--data", "table.csv", "--trials", "1"]) == 0
    assert main([*command, "r", "--data", str(tmp_path / "table.csv"), "--trials", "2"]) == 0
    (tmp_path / "table.csv").rename(tmp_path / "there" / "moved.csv")
    (tmp_path / "r").rename(tmp_path / "there" / "r")
    assert main([*command, "there/r", "--data", "there/moved.csv", "--trials", "3"]) == 0
    assert [r["kind"] for r in records(tmp_path / "there" / "r")] == ["finished"] * 3
    for words, said in ((["--data-limit", "50"], "limit"), (["--data", str(table(tmp_path / "other.csv", 1))], "data_key was")):
        assert main([*command, "there/r", "--data", "there/moved.csv", "--trials", "4", *words]) == 2
        assert "holds another search" in (told := capsys.readouterr().err) and said in told


def test_earlier_runs_to_learn_from_are_known_by_their_ids(tmp_path: Path) -> None:
    run(small_plan(trials=2), tmp_path / "first")
    run(small_plan(trials=2, seed=5), tmp_path / "second")
    plan = small_plan(trials=2, seed=1, prior=(str(tmp_path / "first"),))
    run(plan, tmp_path / "r")
    (tmp_path / "first").rename(tmp_path / "moved")
    assert run(replace(plan, trials=3, prior=(str(tmp_path / "moved"),)), tmp_path / "r")[1] == 1
    with pytest.raises(UserError, match=r"holds another search.*prior_ids was"):
        run(replace(plan, trials=4, prior=(str(tmp_path / "second"),)), tmp_path / "r")


def test_a_worker_with_other_data_ends_the_search(tmp_path: Path) -> None:
    source = Source(str(table(tmp_path / "table.csv")))
    ours = load_data(source).key
    arch = {"input": [4], "classes": 3, "body": ["linear"]}
    table(tmp_path / "table.csv", 1)  # before a worker reads it
    result = work(started(Context(source=source, data_key=ours)), Job(arch), lambda report: pytest.fail("trained"))
    assert result.stopped is Stop.OTHER_DATA and result.metrics == {}
    with pytest.raises(OtherData, match=rf"its key was {ours}, is \w+ here; they changed: restore them"):
        check_result(0, result)
    with pytest.raises(OtherData):
        search(
            small_plan(space=SPACE, data=source, trials=3), tmp_path / "r",
            lambda: InlineRunner(Context(source=source, data_key=ours)), lambda status: None,
        )  # fmt: skip
    assert [r for r in records(tmp_path / "r") if r] == []


def test_a_run_keeps_the_default_recipes_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, Any, Any]] = []

    def noted(job: Job, on_report: OnReport) -> Result:
        recipe = recipe_of(job, data, task)
        seen.append((job.full, recipe.optimizer, recipe.lr))
        return quick(job, on_report)

    data = load_data(DATA)
    task = task_of(data.spec, data.name)
    run(small_plan(trials=2), tmp_path / "r", noted)
    begun = {full: words for full, *words in seen}
    monkeypatch.setattr(type(task), "recipe", lambda self, data, full: {"optimizer": "sgd", "lr": 0.5})
    seen.clear()
    run(small_plan(trials=4, final_seeds=2), tmp_path / "r", noted)
    assert {full for full, *_ in seen} == {False, True} and all(words == begun[full] for full, *words in seen)
    manifest = json.loads((tmp_path / "r" / MANIFEST).read_text())
    del manifest["recipes"]  # as older versions wrote it
    (tmp_path / "r" / MANIFEST).write_text(json.dumps(manifest))
    seen.clear()
    run(small_plan(trials=6), tmp_path / "r", noted)
    assert seen and all(words == ["adamw", 0.005] for _, *words in seen)


def test_data_that_change_while_a_search_runs_end_it_and_what_comes_after_is_not_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "SELDOM", 0)  # it looks as often as it is asked
    file = table(tmp_path / "table.csv")
    plan = small_plan(space=SPACE, data=Source(str(file)), trials=6)
    jobs: list[Job] = []

    def changes(job: Job, on_report: OnReport) -> Result:
        jobs.append(job)
        if len(jobs) == 2:
            file.touch()  # the same data
        if len(jobs) == 3:
            table(file, 1)
        return scored(job, on_report)

    with pytest.raises(OtherData, match=r"table\.csv must stay the same while a search runs"):
        run(plan, tmp_path / "r", changes)
    assert len([r for r in records(tmp_path / "r") if r]) < 6 and not any(job.full for job in jobs)
    table(file)
    assert run(plan, tmp_path / "r", scored)[0]["finished"] == 6


OWN = "import numpy as np\ndef samples():\n    return np.random.default_rng().normal(size=(60, 4)).astype('float32'), np.arange(60) % 3\n"


@pytest.mark.slow
def test_a_function_that_returns_other_data_at_each_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "space.yaml").write_text(json.dumps(SPACE), encoding="utf-8")
    words = [*WORDS[:-2], "--workers", "2", "--trials", "4", "--data", "own.py:samples", "--allow-code", "--run", "r"]
    assert main(["search", "space.yaml", *words]) == 2
    told = capsys.readouterr().err
    assert "own.py:samples must stay the same" in told and "it returns other data at each call: seed it" in told
    assert [r for r in records(tmp_path / "r") if r] == []
