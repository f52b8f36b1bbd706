"""Searches on a Ray cluster of several nodes on this host: nodes and actors that are lost, and data that only the driver has."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import SPACE, TRIALS, assert_whole, records

from nasforge.data import Source
from nasforge.evaluation.base import Context, Decision, Report
from nasforge.objectives.objective import parse_objectives
from nasforge.runners import Driver
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.files import parse
from nasforge.tasks import load_data

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without CPUs and two nodes of one CPU each, joined by this process."""
    import warnings

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        made.add_node(num_cpus=1)
        made.add_node(num_cpus=1)
        ray.init(address=made.address, log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()
        gc.collect()


def plan(source: Source) -> Plan:
    return Plan(
        parse(SPACE), source, tuple(parse_objectives("accuracy,-params")), strategy="random", scheduler="none", trials=TRIALS,
        control=False, recipe={"epochs": 4, "early_stopping": None}, final_recipe={"epochs": 1}, finalists=1, final_seeds=1,
    )  # fmt: skip


def test_a_lost_node_and_a_killed_actor_cost_no_trial(cluster: Any, tmp_path: Path) -> None:
    from nasforge.runners.ray_actors import RayRunner

    x, y = np.random.default_rng(0).random((300, 1, 8, 8), dtype=np.float32), np.arange(300) % 10
    np.savez(tmp_path / "data.npz", x=x, y=y)
    source = Source(str(tmp_path / "data.npz"))
    asked = replace(plan(source), dataset=load_data(source))
    (tmp_path / "data.npz").unlink()  # the nodes get the data from the object store
    broken: list[str] = []

    class Losing(RayRunner):
        """Loses an actor in the second epoch of trial 1, and a node in that of trial 4."""

        def run(self, driver: Driver) -> None:
            def lose(number: int, report: Report) -> Decision:
                if report.epoch == 2 and number == 1 and "actor" not in broken:
                    broken.append("actor")
                    ray.kill(next(w.actor for w in self._workers if w.job is not None and w.job[0] == number))
                if report.epoch == 2 and number == 4 and "node" not in broken:
                    broken.append("node")
                    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
                    cluster.add_node(num_cpus=1)
                return decide(number, report)

            decide, driver.on_report = driver.on_report, lose  # type: ignore[method-assign]
            super().run(driver)

    context = Context(source=source, dataset=asked.dataset)
    summary = search(asked, tmp_path / "run", lambda: Losing(context, "auto", 2, 1), lambda status: None)
    assert broken == ["actor", "node"]
    assert summary["finished"] == TRIALS and summary["failed"] == 0
    assert_whole(tmp_path / "run", {})


@pytest.mark.thorough
def test_a_worker_that_is_lost_again_and_again_fails_its_trial(cluster: Any, tmp_path: Path) -> None:
    from nasforge.runners.ray_actors import RayRunner

    class Deadly(RayRunner):
        def run(self, driver: Driver) -> None:
            def kill(number: int, report: Report) -> Decision:
                if number == 2:
                    ray.kill(next(w.actor for w in self._workers if w.job is not None and w.job[0] == number))
                return decide(number, report)

            decide, driver.on_report = driver.on_report, kill  # type: ignore[method-assign]
            super().run(driver)

    asked = replace(plan(Source("digits", limit=300)), trials=4)
    summary = search(asked, tmp_path / "run", lambda: Deadly(Context(source=asked.data), "auto", 2, 1), lambda status: None)
    assert summary["failed"] == 1 and summary["finished"] == 3
    assert "the Ray worker was lost" in next(r["message"] for r in records(tmp_path / "run") if r.get("kind") == "failed")
    assert_whole(tmp_path / "run", {}, trials=4)
