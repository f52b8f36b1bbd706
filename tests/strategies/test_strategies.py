"""Every strategy keeps the same promises; a new one is tested by being in the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support import DATA, Inline, quick, records, small_plan

from nasforge.errors import UserError
from nasforge.evaluation.base import Job, OnReport, Result
from nasforge.evaluation.train import fit_to_data
from nasforge.networks.build import key
from nasforge.objectives.objective import Losses, parse_limit, parse_objectives
from nasforge.runners import Driver
from nasforge.search.plan import Plan
from nasforge.search.screening import arch_key
from nasforge.search.session import search
from nasforge.spaces.choosers import replay
from nasforge.spaces.files import parse
from nasforge.spaces.space import Space
from nasforge.strategies.registry import STRATEGIES
from nasforge.strategies.schedulers import (
    SCHEDULERS,
    Curves,
    Decision,
    Ended,
    InTraining,
    asha,
    bracket,
    median,
    never,
    promotable,
    ranks,
)
from nasforge.tasks import load_data

OBJECTIVES = ("accuracy", "accuracy,-params", "accuracy,-params,-macs")


SCORES = {"predictor with scores": ("synflow", "naswot")}


@pytest.fixture(params=[*sorted(STRATEGIES), *SCORES])
def plan(request: pytest.FixtureRequest) -> Plan:
    return small_plan(strategy=request.param.split()[0], scores=SCORES.get(request.param, ()), trials=12)


def run(plan: Plan, folder: Path, evaluate: Any = quick) -> tuple[dict[str, Any], list[Job]]:
    runner = Inline(evaluate)
    return search(plan, folder, lambda: runner, lambda status: None), [job for job in runner.jobs if not job.test]


@pytest.mark.slow
@pytest.mark.parametrize("objectives", OBJECTIVES)
def test_one_objective_or_several(plan: Plan, tmp_path: Path, objectives: str) -> None:
    summary, jobs = run(replace(plan, objectives=tuple(parse_objectives(objectives))), tmp_path)
    assert summary["finished"] == 12 == len({key(job.arch) for job in jobs})


def test_trials_can_be_replayed(plan: Plan, tmp_path: Path) -> None:
    run(plan, tmp_path)
    space = Space(plan.space)
    from nasforge.api.named import arch_named

    for number, record in enumerate(records(tmp_path)):
        if record["kind"] == "finished":
            assert key(arch_named(f"{tmp_path}:{number}")) == record["key"]
    assert space.draw(replay({o.name: o.options[0] if o.kind == "choose" else int(o.low) for o in space.domains()}))


def test_failed_trials_do_not_stop_it(plan: Plan, tmp_path: Path) -> None:
    def fails(job: Job, on_report: OnReport) -> Result:
        return quick(job, on_report) if job.test or job.arch["body"][0]["conv"]["kernel"] != 3 else Result(error="it broke")

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_that_was_cut_off_asks_what_an_uninterrupted_one_asks(plan: Plan, tmp_path: Path) -> None:
    _, whole = run(plan, tmp_path / "whole")
    jobs: list[Job] = []

    def cut(job: Job, on_report: OnReport) -> Result:
        if len(jobs) == 7:
            raise KeyboardInterrupt
        jobs.append(job)
        return quick(job, on_report)

    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path / "cut", cut)
    _, rest = run(plan, tmp_path / "cut")
    assert [key(job.arch) for job in (*jobs, *rest)] == [key(job.arch) for job in whole]


class Workers:
    """Four workers that end in an order of the test's choosing."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, driver: Driver) -> None:
        rng, running = Random(0), list[tuple[int, Job]]()
        while True:
            while len(running) < 4 and (asked := driver.next_job()) is not None:
                running.append(asked)
                self.jobs.append(asked[1])
            if not running:
                return
            number, job = running.pop(rng.randrange(len(running)))
            driver.on_end(number, quick(job, lambda report, n=number: driver.on_report(n, report)))

    def close(self) -> None:
        pass


@pytest.mark.slow
def test_workers_may_end_in_any_order(plan: Plan, tmp_path: Path) -> None:
    asked = []
    for folder in ("a", "b"):
        workers = Workers()
        summary = search(replace(plan, trials=20), tmp_path / folder, lambda w=workers: w, lambda status: None)
        trained = [key(job.arch) for job in workers.jobs if not job.test]
        assert summary["finished"] == 20 == len(set(trained))
        asked.append(trained)
    assert asked[0] == asked[1]


def test_few_feasible_networks_are_found(plan: Plan, tmp_path: Path) -> None:
    summary, jobs = run(replace(plan, trials=4, limits=(parse_limit("params<=200"),)), tmp_path)  # six networks keep it
    assert len(jobs) == summary["finished"] == 4


AWKWARD = """
input: [1, 8, 8]
classes: 10
let: {width: {int: [4, 12], step: 4}}
body:
  - stage:
      draw: each
      depth: {int: [1, 3]}
      block: {choose: [{conv: {out: $width}}, {mbconv: {out: $width, expand: {choose: [2, 3]}}}]}
  - {choose: {none: [], big: {conv: {out: 16, kernel: {choose: [1, 3]}}}, broken: [flatten, {conv: {out: 4}}]}}
head: [gap_head]
"""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [{}, {"lr": {"float": [1e-3, 1e-1], "log": True}}, {"epochs": {"int": [1, 100], "log": True}}])
def test_openings_of_every_kind(plan: Plan, tmp_path: Path, recipe: dict[str, Any]) -> None:
    space = {**fit_to_data(parse(AWKWARD), load_data(DATA)), **({"recipe": recipe} if recipe else {})}
    odd = replace(plan, space=space, trials=16)
    if plan.strategy == "grid" and "lr" in recipe:
        with pytest.raises(UserError, match=r"recipe\.lr is a float"):
            run(odd, tmp_path, scored)
        return
    summary, jobs = run(odd, tmp_path, scored)
    assert summary["finished"] == 16 == len({arch_key(job.arch) for job in jobs})


def scored(job: Job, on_report: OnReport) -> Result:
    """A score from the size of the description alone."""
    score = len(str(job.arch)) / 10_000
    return Result({"accuracy": score, "loss": 1 - score}, test={"accuracy": score})


@pytest.mark.parametrize("rule", [asha, median, never])
@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_schedulers_decide_by_ranks_that_are_kept_as_by_all_curves(objectives: int, rule: Callable[..., bool]) -> None:
    name = "none" if rule is never else rule.__name__
    rng, ended, scheduler, decisions = Random(objectives), Ended(), SCHEDULERS[name], set()
    for place in range(120):
        curve: list[Losses] = []
        for epoch in range(1, 10):
            curve.append(tuple(rng.randrange(12) / 3 for _ in range(objectives)))
            trial = InTraining(place, curve, [], 10)
            decision = scheduler.on_report(ended, trial)
            assert decision == scheduler.on_report(dict(ended), trial) == (
                Decision.STOP if rule(list(ended.values()), curve, 10) else Decision.CONTINUE
            )
            decisions.add((epoch, decision))
            if decision is Decision.STOP and rng.random() < 0.5:
                break
        ended[rng.randrange(90) if place > 100 else place] = curve  # a curve that is written again counts anew
    assert {(1, Decision.CONTINUE), (2, Decision.CONTINUE)} <= decisions
    assert ((1, Decision.STOP) in decisions) == (rule is not never)


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_promotions_from_curves_that_grow_are_those_of_all_curves(objectives: int) -> None:
    rng, curves, open_, found = Random(objectives), Ended(), dict[int, list[int]](), set()
    for place in range(60):
        steps = rng.choice([[1, 3, 9], [1, 3]])
        curves[place] = [tuple(rng.randrange(12) / 3 for _ in range(objectives)) for _ in range(steps[bracket(place, steps, 2)])]
        open_[place] = steps
        for drain in (False, True):
            asked = promotable(dict(curves), open_, 2, drain)
            assert promotable(curves, open_, 2, drain) == asked == _of_all(curves, open_, 2, drain)
            found.add(asked is None)
        if asked is not None:
            steps, old = open_.pop(asked), curves[asked]
            more = [step for step in (*steps, 27) if step > len(old)]
            curves[asked] = [*old, *(tuple(rng.randrange(12) / 3 for _ in range(objectives)) for _ in range(more[0] - len(old)))]
            if len(more) > 1:
                open_[asked] = steps
        if rng.random() < 0.1:  # a training fails
            lost = rng.choice(list(curves))
            del curves[lost]
            open_.pop(lost, None)
        if rng.random() < 0.1:  # its costs are measured anew
            other = rng.choice(list(curves))
            curves[other] = [tuple(rng.randrange(12) / 3 for _ in range(objectives)) for _ in curves[other]]
    assert found == {True, False}


def _of_all(curves: Curves, paused: Mapping[int, Sequence[int]], brackets: int, drain: bool) -> int | None:
    """`promotable` as the paper has it: rung by rung, the paused ones among the best third of all that reached it."""
    groups = {(len(curves[n]), bracket(n, steps, brackets), tuple(steps)) for n, steps in paused.items()}
    for epoch, own, steps in sorted(groups, reverse=True):
        peers = [n for n, c in curves.items() if len(c) >= epoch and bracket(n, steps, brackets) == own]
        order = sorted(zip(ranks([curves[n][epoch - 1] for n in peers]), peers, strict=True))
        enough = max(len(peers) // 3, 1 if drain else 0)
        for place, number in order:
            if enough and place <= order[enough - 1][0] and number in paused and len(curves[number]) == epoch:
                return number
    return None
