"""Trackers: what TensorBoard, MLflow and Weights & Biases hold after a search is read back by their own readers."""

from __future__ import annotations

import shutil
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import Inline, Killed, MadeUpRunner, made_up_plan, quick, records, small_plan

from nasforge.errors import UserError
from nasforge.evaluation.base import Job, OnReport, Result
from nasforge.search import tracking
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.files import dump, parse
from nasforge.trackers import trackers_named

pytestmark = pytest.mark.filterwarnings("ignore")  # of other libraries, about themselves
CURVES = {"val/accuracy", "val/loss", "train/loss"}


def followed(folder: Path, names: str, runner: Any = None, **changes: Any) -> dict[str, Any]:
    """Search with trackers, by default with the evaluator `quick`; return the summary."""
    plan = replace(small_plan(trials=5), log=tuple(names.split(",")), **changes)
    return search(plan, folder, lambda: runner or Inline(quick), lambda status: None)


def breaking(at: int) -> Inline:
    """A runner whose driver dies with a job half way."""
    done: list[Job] = []

    def evaluate(job: Job, on_report: OnReport) -> Result:
        done.append(job)
        result = quick(job, on_report)
        if len(done) == at:
            raise Killed
        return result

    return Inline(evaluate)


def ended_names(folder: Path) -> set[str]:
    """The trainings that a run has, by what trackers call them."""
    return {f"search-{number}" for number, record in enumerate(records(folder)) if record.get("kind") in ("finished", "pruned", "failed")}


# ---------------------------------------------------------------- TensorBoard


def events(folder: Path) -> Any:
    """What TensorBoard reads from a folder."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return found


def text(found: Any, tag: str) -> str:
    (event,) = found.Tensors(f"{tag}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def hyper_parameters(found: Any) -> dict[str, Any]:
    from tensorboard.plugins.hparams import plugin_data_pb2

    data = plugin_data_pb2.HParamsPluginData.FromString(found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in data.session_start_info.hparams.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up search with a control, in which some trials fail and some are pruned, and its summary."""
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("followed") / "run"
    plan = made_up_plan(trials=12, log=("tensorboard",), scheduler="asha", strategy="tpe", final_seeds=2)
    search(plan, folder, lambda: MadeUpRunner(fail_every=5), lambda status: None)
    return folder


def test_each_trial_is_a_folder_with_its_curve_and_what_it_is(folder: Path) -> None:
    found, whole = records(folder), ended_names(folder)
    assert {record["kind"] for record in found} >= {"finished", "pruned", "failed"}
    assert {path.name for path in (folder / "tensorboard").glob("search-*")} == whole
    for number, record in enumerate(found):
        if f"search-{number}" not in whole:
            continue
        seen = events(folder / "tensorboard" / f"search-{number}")
        curve = record.get("curve", [])
        tags = set(seen.Tags()["scalars"])
        assert tags >= CURVES if curve else not tags & CURVES
        for tag, column in (("val/accuracy", "accuracy"), ("val/loss", "val_loss"), ("train/loss", "loss")) if curve else ():
            assert [(e.step, e.value) for e in seen.Scalars(tag)] == [(r["epoch"], pytest.approx(r[column])) for r in curve]
        for name in record["metrics"]:
            assert [e.value for e in seen.Scalars(f"final/{name}")] == [pytest.approx(record["metrics"][name])]
        arch = parse(text(seen, "architecture").removeprefix("```yaml\n").removesuffix("```"))
        assert arch["body"] and "choose" not in dump(arch)
        assert text(seen, "kind").startswith(record["kind"]) and record.get("message", "") in text(seen, "kind")
        choices = hyper_parameters(seen)
        assert (choices.pop("kind"), choices.pop("phase")) == (record["kind"], "search")
        assert choices == _trial(folder, number).params


def _trial(folder: Path, number: int) -> Any:
    import optuna

    from nasforge.storage.open import open_storage

    return optuna.load_study(study_name="search", storage=open_storage(folder, None, write=False)).trials[number]


def test_control_and_finals_are_there_with_their_scores_on_test(folder: Path) -> None:
    from json import loads

    summary = loads((folder / "summary.json").read_text(encoding="utf-8"))
    there = {path.name for path in (folder / "tensorboard").iterdir()}
    assert len([name for name in there if name.startswith("control-")]) >= 12
    rows = [*summary["finalists"], *summary["control_finalists"], *summary["baselines"]]
    assert {name for name in there if name.startswith("finals-")} == {f"finals-{row['key']}-{seed}" for row in rows for seed in (0, 1)}
    for row in rows:
        scores = [events(folder / "tensorboard" / f"finals-{row['key']}-{seed}").Scalars("test/accuracy")[0].value for seed in (0, 1)]
        assert scores == pytest.approx(row["test_seeds"])
    outcome = events(folder / "tensorboard" / "outcome")
    assert text(outcome, "winner") == summary["best"]["name"]
    table = text(outcome, "finalists").splitlines()
    assert len(table) == 2 + len(rows) and f"{summary['best']['test_mean']:.6g}" in text(outcome, "finalists")
    fronts = [line.split(" | ")[0].strip("| ") for line in text(outcome, "front").splitlines()[2:]]
    assert fronts and set(fronts) <= ended_names(folder)


def test_a_search_that_goes_on_has_each_trial_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(Killed):
        followed(tmp_path, "tensorboard", breaking(3))
    there = {path.name: (path / "ended").exists() for path in (tmp_path / "tensorboard").iterdir()}
    assert list(there.values()).count(True) == 2 and list(there.values()).count(False) == 1
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "tensorboard").glob("*/events*") if (path.parent / "ended").exists()}
    followed(tmp_path, "tensorboard")
    assert {path.name for path in (tmp_path / "tensorboard").glob("search-*")} == ended_names(tmp_path)
    assert len(ended_names(tmp_path)) == 5
    assert {path: path.stat().st_mtime_ns for path in times} == times, "what was there was written again"
    for name in ended_names(tmp_path):
        assert [e.step for e in events(tmp_path / "tensorboard" / name).Scalars("val/accuracy")] == [1, 2, 3]
    followed(tmp_path, "tensorboard", trials=7)
    assert {path.name for path in (tmp_path / "tensorboard").glob("search-*")} == ended_names(tmp_path)
    assert len(ended_names(tmp_path)) == 7


def test_a_finished_search_is_told_afterwards(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    search(small_plan(trials=5), tmp_path, lambda: Inline(quick), lambda status: None)
    runner = Inline(quick)
    summary = followed(tmp_path, "tensorboard", runner)
    assert not runner.jobs
    there = {path.name for path in (tmp_path / "tensorboard").iterdir()}
    assert there == {*ended_names(tmp_path), f"finals-{summary['best']['key']}-0", "outcome"}
    shutil.rmtree(tmp_path / "tensorboard" / "search-0")
    followed(tmp_path, "tensorboard", runner)
    assert [e.step for e in events(tmp_path / "tensorboard" / "search-0").Scalars("val/accuracy")] == [1, 2, 3]


# ---------------------------------------------------------------- a tracker that fails


def test_a_tracker_that_cannot_begin_is_left_with_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("in the way", encoding="utf-8")
    assert followed(tmp_path, "tensorboard")["finished"] == 5
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("nasforge search: --log tensorboard: FileExistsError")
    assert "the search goes on without it" in lines[0]


def test_a_tracker_that_fails_in_between_is_left_and_made_up_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    jobs: list[Job] = []

    def evaluate(job: Job, on_report: OnReport) -> Result:
        jobs.append(job)
        if len(jobs) == 3:  # the folder is gone, and something else in its place
            assert _within(5.0, lambda: (tmp_path / "tensorboard" / "search-1" / "ended").exists())
            shutil.rmtree(tmp_path / "tensorboard")
            (tmp_path / "tensorboard").write_text("in the way", encoding="utf-8")
        return quick(job, on_report)

    assert followed(tmp_path, "tensorboard", Inline(evaluate))["finished"] == 5
    assert len([line for line in capfd.readouterr().err.splitlines() if "--log tensorboard" in line]) == 1
    (tmp_path / "tensorboard").unlink()
    followed(tmp_path, "tensorboard")
    assert {path.name for path in (tmp_path / "tensorboard").glob("search-*")} == ended_names(tmp_path)


def _within(seconds: float, holds: Any) -> bool:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return bool(holds())


def test_a_tracker_that_hangs_does_not_hold_the_search(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes connections and never answers."""
    import socket

    pytest.importorskip("mlflow")
    monkeypatch.setattr(tracking, "PATIENCE_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert followed(tmp_path, "mlflow")["finished"] == 5
    assert "--log mlflow: does not take what it is told within 0.2 s; the search goes on without it" in capfd.readouterr().err


def test_names_are_refused_that_are_none_or_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trackers_named(None) == trackers_named("") == trackers_named([]) == ()
    with pytest.raises(UserError, match="'tensorbord' is no tracker; did you mean 'tensorboard'"):
        trackers_named("tensorbord")
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"--log wandb: needs the package wandb.* pip install 'nasforge\[wandb\]'"):
        trackers_named(["wandb"])


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an earlier run, where Python looks for packages."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(UserError, match="is not installed"):
        trackers_named("wandb")


# ---------------------------------------------------------------- MLflow


def mlflow_runs(folder: Path) -> dict[str, Any]:
    """The runs in the local store of MLflow, by name: each name once."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
    found = client.search_runs([one.experiment_id for one in client.search_experiments()], max_results=1000)
    assert len({run.info.run_name for run in found}) == len(found)
    for run in found:
        run.curve = {(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "val/accuracy")}
    return {run.info.run_name: run for run in found}


def test_mlflow_has_a_run_for_the_search_and_one_for_each_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "mine"
    with pytest.raises(Killed):
        followed(folder, "mlflow", breaking(3))
    cut = mlflow_runs(folder)
    assert cut["mine"].info.status == "KILLED" and [run.info.status for run in cut.values()].count("KILLED") == 2
    summary = followed(folder, "mlflow")
    runs = mlflow_runs(folder)
    assert runs.keys() == {"mine", *ended_names(folder), f"finals-{summary['best']['key']}-0"}
    assert runs["mine"].info.run_id == cut["mine"].info.run_id and runs["mine"].info.status == "FINISHED"
    assert runs["mine"].data.tags["winner"] == "finalist1" and runs["mine"].data.params["strategy"] == "random"
    assert runs["mine"].data.metrics["finalist1/test_mean"] == summary["best"]["test_mean"]
    assert "| finalist1 |" in runs["mine"].data.tags["mlflow.note.content"]
    front = set()
    for number, record in enumerate(records(folder)):
        if (name := f"search-{number}") not in runs:
            continue
        data, trial = runs[name].data, _trial(folder, number)
        assert data.tags["mlflow.parentRunId"] == runs["mine"].info.run_id and data.tags["nasforge.kind"] == "finished"
        assert data.params == {key: str(value) for key, value in trial.params.items()}
        assert runs[name].curve == {(row["epoch"], row["accuracy"]) for row in record["curve"]}
        assert {key: data.metrics[f"final/{key}"] for key in record["metrics"]} == record["metrics"]
        assert parse(data.tags["architecture"])["body"][0]["conv"]["out"] == trial.params["body.0.conv.out"]
        front |= {number} if data.tags.get("front") == "true" else set()
    assert front and all(f"search-{number}" in ended_names(folder) for number in front)


# ---------------------------------------------------------------- Weights & Biases


def stored_records(path: Path) -> Iterator[Any]:
    """The records of a file of wandb: a header, then blocks of 32 KiB with pieces `checksum, length, kind` (the log of LevelDB)."""
    from wandb.proto.wandb_internal_pb2 import Record

    raw, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(raw):
        if 32768 - at % 32768 < 7:  # filled up
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", raw[at : at + 7])
        whole, at = whole + raw[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(whole)
            whole = b""


def test_wandb_has_a_run_for_each_trial_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from json import loads

    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(Killed):
        followed(tmp_path, "wandb", breaking(2), trials=3)
    summary = followed(tmp_path, "wandb", trials=3)
    files = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert _within(10.0, lambda: all(any(r.HasField("exit") for r in stored_records(file)) for file in files))  # its service writes
    stored = [list(stored_records(file)) for file in files]
    found = {next(r.run.display_name for r in some if r.HasField("run")): some for some in stored}
    assert len(files) == len(found)
    assert found.keys() == {*ended_names(tmp_path), f"finals-{summary['best']['key']}-0", "outcome"}
    for number, record in enumerate(records(tmp_path)):
        if (name := f"search-{number}") not in found:
            continue
        (run,) = {(r.run.run_group, r.run.job_type) for r in found[name] if r.HasField("run")}
        assert run[0].startswith(tmp_path.name) and run[1] == "search"
        config = {u.key or u.nested_key[0]: loads(u.value_json) for r in found[name] if r.HasField("run") for u in r.run.config.update}
        assert config.items() >= _trial(tmp_path, number).params.items() and "body" in parse(config["architecture"])
        history = [{i.key or i.nested_key[0]: loads(i.value_json) for i in r.history.item} for r in found[name] if r.HasField("history")]
        assert [(row["_step"], row["val/accuracy"]) for row in history] == [(row["epoch"], row["accuracy"]) for row in record["curve"]]
        last: dict[str, Any] = {}
        for r in found[name]:
            if r.HasField("summary"):
                last |= {u.key or u.nested_key[0]: loads(u.value_json) for u in r.summary.update}
        assert last["kind"] == "finished" and last["final/accuracy"] == record["metrics"]["accuracy"]


def test_how_a_search_is_followed_does_not_decide_what_it_is() -> None:
    plan: Plan = small_plan()
    assert replace(plan, log=("tensorboard",)) == plan and "log" not in plan.identity()
