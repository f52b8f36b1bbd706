"""Ray Tune for real: searches through its Tuner, its schedulers, drivers that are killed, and Tuners of one's own with our parts."""

from __future__ import annotations

import gc
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drivers import SPACE, TRIALS, Driver, assert_whole, finished, records, until

from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation.base import Context
from nasforge.objectives.objective import parse_limit, parse_objectives
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.files import find_space, parse, read
from nasforge.strategies.schedulers import OF_TUNE

ray = pytest.importorskip("ray")
pytest.importorskip("ray.tune")
LEFTOVERS = ("unclosed", "subprocess .* is still running")  # Ray leaves them to the collector
pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(f"ignore:{text}:ResourceWarning") for text in LEFTOVERS),
              pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]  # fmt: skip
CONTEXT = Context(source=Source("digits", limit=400))
LIMIT = parse_limit("params<=20000")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two CPUs that the runners of this file join."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
        gc.collect()


def asked_of(strategy: str, scheduler: str = "none", space: Any = None) -> Plan:
    return Plan(
        parse(SPACE) if space is None else space, CONTEXT.source, tuple(parse_objectives("accuracy,-params")), (LIMIT,), strategy=strategy,
        scheduler=scheduler, trials=8, control=False, recipe={"epochs": 5, "early_stopping": None}, final_recipe={"epochs": 1},
        finalists=1, final_seeds=1,
    )  # fmt: skip


def carried(folder: Path, scheduler: str, space: Any = None, strategy: str = "random", **changes: Any) -> dict[str, Any]:
    from nasforge.runners.ray_tune import TuneRunner

    plan = replace(asked_of(strategy, f"tune:{scheduler}", space), **changes)

    def runner() -> TuneRunner:
        return TuneRunner(CONTEXT, "local", 2, 1, scheduler=scheduler, epochs=5, folder=folder / "run" / "tune")

    return search(plan, folder / "run", runner, lambda status: None, workers=2)


@pytest.mark.parametrize("scheduler", [pytest.param(name, marks=[] if name == "pbt" else pytest.mark.thorough) for name in OF_TUNE])
def test_a_scheduler_of_tune_stops_and_pauses_trials_of_a_study(cluster: None, tmp_path: Path, scheduler: str) -> None:
    summary = carried(tmp_path, scheduler)
    assert summary["finished"] + summary["pruned"] == 8 and summary["failed"] == 0 and summary["best"]
    trained = [r for r in records(tmp_path / "run") if r.get("kind") in ("finished", "pruned")]
    assert all(LIMIT.excess(r["metrics"]["params"]) <= 0 for r in trained)
    for r in trained:
        assert [row["epoch"] for row in r["curve"]] == list(range(1, len(r["curve"]) + 1))
        assert r["metrics"]["accuracy"] in [row["accuracy"] for row in r["curve"]]
        assert (len(r["curve"]) == 5) >= (r["kind"] == "finished")
    curves = [json.dumps(r["curve"]) for r in trained]
    assert len(set(curves)) == len(curves), "a trial has the results of another"
    if scheduler == "asha":
        assert summary["pruned"] > 0
    if scheduler == "pbt":
        factors = [[row["lr_factor"] for row in r["curve"]] for r in trained]
        assert any(len(set(one)) > 1 for one in factors) and all(0.01 < f < 30 for one in factors for f in one)
    assert not (tmp_path / "run" / "tune").exists(), "its pickles are left nowhere"
    assert_whole(tmp_path / "run", {}, trials=8)


@pytest.mark.thorough
@pytest.mark.parametrize("scheduler", ["asha", "bohb"])
def test_cells_with_conditions_are_searched_through_tune(cluster: None, tmp_path: Path, scheduler: str) -> None:
    space = {**read(find_space("families")), "input": [1, 8, 8], "classes": 10}
    recipe = {"epochs": 2, "early_stopping": None}
    summary = carried(tmp_path, scheduler, space=space, trials=4, limits=(parse_limit("macs<=1000000"),), recipe=recipe)
    assert summary["finished"] + summary["pruned"] + summary["failed"] == 4 and summary["failed"] <= 1


@pytest.mark.thorough
def test_a_searcher_of_tune_and_its_runner_together(cluster: None, tmp_path: Path) -> None:
    pytest.importorskip("hyperopt")
    summary = carried(tmp_path, "asha", strategy="tune:hyperopt", trials=6)
    assert summary["finished"] + summary["pruned"] == 6
    assert_whole(tmp_path / "run", {}, trials=6)


def test_a_cluster_without_room_for_tune_is_said(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasforge.runners.ray_tune.START_TIMEOUT_S", 2.0)
    from nasforge.runners.ray_tune import TuneRunner

    def runner() -> TuneRunner:
        return TuneRunner(CONTEXT, "local", 1, 50, folder=tmp_path / "t")

    with pytest.raises(UserError, match=r"each needs 50 CPUs.*'CPU': 2.0"):
        search(asked_of("random"), tmp_path / "run", runner, lambda status: None)


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["killed once", "killed always", "hung"])
def test_a_lost_worker_of_tune_costs_no_other_trial(cluster: None, tmp_path: Path, what: str) -> None:
    from nasforge.runners.ray_tune import TuneRunner

    done: list[int] = []

    class Losing(TuneRunner):
        """Kills the worker of trial 2 in its second epoch, or lets the driver think that it is silent."""

        def run(self, driver: Any) -> None:
            def lose(number: int, report: Any) -> Any:
                if number == 2 and report.epoch == 2 and (what == "killed always" or not done):
                    done.append(number)
                    one = next(one for one in self.asks.open.values() if one.number == number)
                    if what == "hung":
                        one.heard = -1e9
                    else:
                        ray.kill(one.trial.temporary_state.ray_actor)
                return decide(number, report)

            decide, driver.on_report = driver.on_report, lose
            super().run(driver)

    made = lambda: Losing(CONTEXT, "local", 2, 1, folder=tmp_path / "t")  # noqa: E731
    summary = search(asked_of("random"), tmp_path / "run", made, lambda status: None)
    assert done
    assert summary["failed"] == (what == "killed always") and summary["finished"] == 8 - summary["failed"]
    if what == "killed always":
        assert "the Ray worker was lost" in next(r["message"] for r in records(tmp_path / "run") if r.get("kind") == "failed")
    assert_whole(tmp_path / "run", {}, trials=8)


# ---------------------------------------------------------------- killed


def killed_and_begun_again(folder: Path, done: int, wait_s: float, *more: str) -> None:
    """Kill the driver and all below it some time after so many trials have finished, and give the same command again."""
    first = Driver(folder, "--runner", "tune", *more)
    try:
        until(lambda: len(finished(first.run)) >= done, first)
        time.sleep(wait_s)
        first.signal(signal.SIGKILL)
        subprocess.run(["pkill", "-9", "-f", f"{first.run}/"], check=False)  # what Ray started lies in sessions of its own
        before = finished(first.run)
    finally:
        first.close()
    second = Driver(folder, "--runner", "tune", *more)
    try:
        summary = second.summary()
    finally:
        second.close()
    assert summary["finished"] + summary["pruned"] == TRIALS
    assert_whole(first.run, before)


@pytest.mark.thorough
def test_a_driver_that_is_killed_while_tune_works_loses_and_repeats_nothing(tmp_path: Path) -> None:
    killed_and_begun_again(tmp_path, 2, 0.3)


@pytest.mark.thorough
@pytest.mark.parametrize("moment", range(6))
def test_a_driver_is_killed_at_any_moment(tmp_path: Path, moment: int) -> None:
    rng = random.Random(moment)
    killed_and_begun_again(tmp_path, moment, rng.uniform(0, 2), *(["--scheduler", "tune:asha"] if moment % 2 else []))


# ---------------------------------------------------------------- a Tuner of one's own

OWN = """
import sys
from pathlib import Path
import ray
from ray import tune
import nasforge
import nasforge.tune

folder, again = Path(sys.argv[1]), len(sys.argv) > 2
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
trainable = tune.with_parameters(nasforge.tune.Training, data=nasforge.load_data("digits", data_limit=400))
if again:
    tuner = tune.Tuner.restore(str(folder / "tune" / "own"), trainable, resume_unfinished=True)
else:
    search = nasforge.tune.NasforgeSearch(
        str(folder / "space.yaml"), "digits", data_limit=400, objective="accuracy,-params", constraint="params<=20000", strategy="random",
        trials=8, epochs=3, run=folder / "run")
    tuner = tune.Tuner(
        trainable, tune_config=tune.TuneConfig(search_alg=search, metric="accuracy", mode="max", num_samples=8, max_concurrent_trials=2,
        reuse_actors=True), run_config=tune.RunConfig(storage_path=str(folder / "tune"), name="own", verbose=0))
results = tuner.fit()
assert not results.errors, results.errors
print(len(results), results.get_best_result().metrics["accuracy"])
"""


@pytest.mark.thorough
@pytest.mark.parametrize("done", range(6))
def test_a_tuner_with_our_strategy_is_killed_and_restored(tmp_path: Path, done: int) -> None:
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    command, run = [sys.executable, "-W", "ignore", str(tmp_path / "own.py"), str(tmp_path)], tmp_path / "run"
    with (tmp_path / "said").open("w") as said:
        first = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        end = time.monotonic() + 200
        begun = lambda: (run / "study.journal").exists() and list((tmp_path / "tune" / "own").glob("searcher-state-*"))  # noqa: E731
        while (len(finished(run)) < done or not begun()) and first.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert first.poll() is None, (tmp_path / "said").read_text()[-2000:]
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    before = finished(run)
    assert len(before) >= done
    made = [json.loads(line) for line in (run / "study.journal").read_text().splitlines()] if run.exists() else []
    assert (tmp_path / "tune" / "own").exists() and made
    again = subprocess.run([*command, "again"], capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr[-3000:]
    assert_whole(run, before)


@pytest.mark.thorough
def test_seed_and_latency_of_a_search_reach_the_trainings_of_a_tuner(cluster: None, tmp_path: Path) -> None:
    from ray import tune

    import nasforge.tune as ours

    made = []
    for seed in (0, 3):
        searcher = ours.NasforgeSearch(
            parse(SPACE), "digits", data_limit=400, objective="accuracy,-latency_ms", strategy="random", seed=seed, trials=2, epochs=2,
            run=tmp_path / f"run{seed}",
        )  # fmt: skip
        tuner = tune.Tuner(
            tune.with_parameters(ours.Training, data=CONTEXT.load()),
            tune_config=tune.TuneConfig(search_alg=searcher, metric="accuracy", mode="max", num_samples=2, max_concurrent_trials=2,
                                        reuse_actors=True),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), name=f"seed{seed}", verbose=0),
        )  # fmt: skip
        made.append([result.config["how"] for result in tuner.fit()])
        done = finished(tmp_path / f"run{seed}")
        assert len(done) == 2 and all(r["metrics"]["latency_ms"] > 0 for r in done.values())
    assert made == [[{"latency": True}] * 2, [{"seed": 3, "latency": True}] * 2]


def test_their_searcher_draws_from_our_space(cluster: None, tmp_path: Path) -> None:
    pytest.importorskip("hyperopt")
    from ray import tune
    from ray.tune.search.hyperopt import HyperOptSearch

    import nasforge.tune as ours

    space = parse(SPACE)
    trainable = tune.with_parameters(
        ours.Training, data=CONTEXT.load(), space=space, recipe={"epochs": 2}, constraint="params<=2000", run=tmp_path / "run"
    )
    searcher = HyperOptSearch(ours.hyperopt_space(space), metric="accuracy", mode="max", random_state_seed=1)
    tuner = tune.Tuner(
        trainable, tune_config=tune.TuneConfig(search_alg=searcher, num_samples=8, max_concurrent_trials=2, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), name="theirs", verbose=0),
    )  # fmt: skip
    rows = [result.metrics for result in tuner.fit()]
    assert len(rows) == 8
    broken = [row for row in rows if not row.get("feasible", True)]  # what was known already tells no more than its metrics
    assert broken and all(row["params"] > 2000 and row["accuracy"] == 0.0 for row in broken)
    trained = [row for row in rows if row not in broken]
    assert trained and all(row["params"] <= 2000 and row["accuracy"] > 0.05 for row in trained)


@pytest.mark.thorough
def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    """docs/ray_tune.md from top to bottom, with fewer trials and epochs."""
    pytest.importorskip("hyperopt")
    page = (Path(__file__).resolve().parents[2] / "docs" / "ray_tune.md").read_text(encoding="utf-8")
    found = re.findall(r"^```(bash|python)\n(.*?)^```", page, re.S | re.M)
    shell, code = ["".join(block for kind, block in found if kind == wanted) for wanted in ("bash", "python")]
    few = "--epochs 2 --final-epochs 1 --finalists 1 --final-seeds 1"
    here: dict[str, Any] = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 500}
    for line in shell.replace("--trials 24", f"--trials 4 {few}").splitlines():
        done = subprocess.run([sys.executable, "-W", "ignore", "-m", *line.split()], **here)
        assert done.returncode == 0, done.stderr[-2000:]
    fewer_of = {"trials=16, epochs=6": "trials=4, epochs=2", "num_samples=16": "num_samples=4", "num_samples=12": "num_samples=4"}
    for words, fewer in fewer_of.items():
        assert words in code
        code = code.replace(words, fewer)
    begun = "import ray\nray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)\n"
    (tmp_path / "page.py").write_text(begun + code, encoding="utf-8")
    done = subprocess.run([sys.executable, "-W", "ignore", "page.py"], **here)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 0.05 < float(done.stdout.split()[-1]) <= 1, "what the distributed training reaches on val"


def test_a_space_beside_ours_is_refused(tmp_path: Path) -> None:
    from ray import tune

    import nasforge.tune as ours

    searcher = ours.NasforgeSearch(parse(SPACE), "digits", run=tmp_path / "run")
    with pytest.raises(UserError, match="lr; leave them out"):
        searcher.set_search_properties("accuracy", "max", {"lr": tune.uniform(0, 1)})
