"""Every strategy keeps the same promises; a new one is tested by being in the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_search import DATA, SPACE, Inline, quick, records

from nasforge.build import key
from nasforge.choosers import replay
from nasforge.evaluate import Job, Result, data_of, fit_to_data
from nasforge.files import parse
from nasforge.search.objectives import parse_limit, parse_objectives
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.search.strategies import STRATEGIES
from nasforge.space import Space

OBJECTIVES = ("accuracy", "accuracy,-params", "accuracy,-params,-macs")


@pytest.fixture(params=sorted(STRATEGIES))
def plan(request: pytest.FixtureRequest) -> Plan:
    return Plan(
        fit_to_data(parse(SPACE), data_of(DATA)),
        DATA,
        tuple(parse_objectives("accuracy,-params")),
        strategy=request.param,
        trials=12,
        finalists=1,
        final_seeds=1,
        control=False,
        pruner="none",
    )


def run(plan: Plan, folder: Path, evaluate: Any = quick) -> tuple[dict[str, Any], list[Job]]:
    runner = Inline(evaluate)
    return search(plan, folder, lambda: runner, lambda status: None), [job for job in runner.jobs if not job.test]


@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_one_objective_or_several(plan: Plan, tmp_path: Path, objectives: str) -> None:
    summary, jobs = run(replace(plan, objectives=tuple(parse_objectives(objectives))), tmp_path)
    assert summary["finished"] == 12 == len({key(job.arch) for job in jobs})


def test_trials_can_be_replayed(plan: Plan, tmp_path: Path) -> None:
    run(plan, tmp_path)
    space = Space(plan.space)
    from nasforge.commands.common import arch_named

    for number, record in enumerate(records(tmp_path)):
        if record["kind"] == "finished":
            assert key(arch_named(f"{tmp_path}:{number}")) == record["key"]
    assert space.draw(replay({o.name: o.options[0] if o.kind == "choose" else int(o.low) for o in space.openings()}))


def test_failed_trials_do_not_stop_it(plan: Plan, tmp_path: Path) -> None:
    def fails(job: Job, on_epoch: Any) -> Result:
        return quick(job, on_epoch) if job.test or job.arch["body"][0]["conv"]["kernel"] != 3 else Result(error="it broke")

    summary, _ = run(plan, tmp_path, fails)
    assert summary["failed"] > 0 and summary["failed"] + summary["finished"] == 12


def test_it_goes_on_in_the_middle(plan: Plan, tmp_path: Path) -> None:
    _, first = run(replace(plan, trials=5), tmp_path)
    summary, second = run(plan, tmp_path)
    assert summary["finished"] == 12
    assert len({key(job.arch) for job in (*first, *second)}) == 12


def test_limits_are_never_broken_by_what_is_trained(plan: Plan, tmp_path: Path) -> None:
    _, jobs = run(replace(plan, trials=6, limits=(parse_limit("params<=1500"),)), tmp_path)
    assert len(jobs) == 6
    assert all(r["metrics"]["params"] <= 1500 for r in records(tmp_path) if r["kind"] == "finished")


def test_a_database_serves_as_well_as_the_journal(plan: Plan, tmp_path: Path) -> None:
    stored = replace(plan, storage=f"sqlite:///{tmp_path / 'studies.db'}", trials=4)
    first, _ = run(stored, tmp_path / "run")
    again, jobs = run(stored, tmp_path / "run")
    assert again == first and not jobs
    more, jobs = run(replace(stored, trials=6), tmp_path / "run")
    assert more["finished"] == 6 and len(jobs) == 2


def test_openings_of_the_recipe_are_searched_too(plan: Plan, tmp_path: Path) -> None:
    space = {**plan.space, "body": [{"conv": {"out": 8}}], "recipe": {"lr": {"choose": [0.01, 0.02, 0.03, 0.04]}}}
    summary, jobs = run(replace(plan, space=space, trials=4), tmp_path)
    assert summary["finished"] == 4 and {job.arch["recipe"]["lr"] for job in jobs} == {0.01, 0.02, 0.03, 0.04}


def test_a_run_that_was_cut_off_asks_what_an_uninterrupted_one_asks(plan: Plan, tmp_path: Path) -> None:
    _, whole = run(plan, tmp_path / "whole")
    jobs: list[Job] = []

    def cut(job: Job, on_epoch: Any) -> Result:
        if len(jobs) == 7:
            raise KeyboardInterrupt
        jobs.append(job)
        return quick(job, on_epoch)

    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path / "cut", cut)
    _, rest = run(plan, tmp_path / "cut")
    assert [key(job.arch) for job in (*jobs, *rest)] == [key(job.arch) for job in whole]
