"""Every evaluator keeps the same contract. A new one joins by its name in EVALUATORS and a context in CONTEXTS."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import DATA, going_on

from nasforge.errors import UserError
from nasforge.evaluation import EVALUATORS, prepared
from nasforge.evaluation.base import Context, Decision, Evaluator, Job, Report, Stop
from nasforge.evaluation.tables import OURS, read_table
from nasforge.objectives.metrics import METRICS, Known
from nasforge.spaces.choosers import replay
from nasforge.tasks import load_data, task_of

CONTEXTS = {
    "train": Context("train", DATA),
    "proxy": Context("proxy", DATA),
    "table": Context("table", DATA, table=(str(OURS), "val", "test")),
}
CHOICES = dict(next(iter(read_table(OURS).rows)))
JOB = Job(read_table(OURS).space.draw(replay(CHOICES))[0], recipe={"epochs": 2}, choices=CHOICES)
TASK = task_of(load_data(DATA).spec)


@pytest.fixture(scope="module", params=EVALUATORS)
def evaluator(request: pytest.FixtureRequest) -> Evaluator:
    return prepared(CONTEXTS[request.param])


def test_its_metrics_are_rows_of_the_table_and_what_it_finds(evaluator: Evaluator) -> None:
    told = evaluator.metrics(TASK)
    assert told and all(METRICS[metric.name] == metric and metric.known in (Known.TRAINED, Known.ZERO_COST) for metric in told)
    result = evaluator.evaluate(JOB, going_on)
    assert result.error is None and result.stopped is None
    assert set(result.metrics) == {metric.name for metric in told}
    assert all(math.isfinite(value) for value in result.metrics.values()) and not result.test


def test_its_metrics_can_be_told_before_it_is_prepared() -> None:
    for name, make in EVALUATORS.items():
        assert make().metrics(TASK) == prepared(CONTEXTS[name]).metrics(TASK)


def test_a_finalist_has_the_metrics_of_a_training_on_both_parts(evaluator: Evaluator) -> None:
    result = evaluator.evaluate(replace(JOB, full=True, test=True), going_on)
    assert result.error is None and TASK.main.name in result.metrics
    assert set(result.test) == set(result.metrics) <= {metric.name for metric in TASK.metrics}


def test_the_same_job_gives_the_same(evaluator: Evaluator) -> None:
    one, two = (evaluator.evaluate(replace(JOB, seed=5), going_on) for _ in range(2))
    assert one.metrics == two.metrics and [{**r, "seconds": 0} for r in one.curve] == [{**r, "seconds": 0} for r in two.curve]


def test_weights_to_begin_with_are_not_replaced_by_initial_ones(tmp_path: Path) -> None:
    evaluator, weights = prepared(CONTEXTS["train"]), tmp_path / "w.safetensors"
    trained = evaluator.evaluate(replace(JOB, weights=str(weights)), going_on)
    words = {"epochs": 1, "lr": 1e-9, "init": "he", "whiten": True, "zero_residual": True, "ema": None}
    again = evaluator.evaluate(replace(JOB, recipe=words, parent=str(weights), weights=str(tmp_path / "2.safetensors")), going_on)
    assert again.metrics.pop("inherited") == 1 and trained.error is again.error is None
    for name, before in load_file(weights).items():
        if "running" not in name and "tracked" not in name:
            assert torch.allclose(load_file(tmp_path / "2.safetensors")[name], before, atol=1e-6), name


@pytest.mark.parametrize("body", [["linear", "gap_head"], ["nonsense"]], ids=["shapes", "block"])
def test_a_network_that_cannot_be_built_is_a_result_with_an_error(evaluator: Evaluator, body: list[Any]) -> None:
    arch = {"input": [1, 8, 8], "classes": 10, "body": body}
    job = replace(JOB, arch=arch, choices={"nowhere": 1})  # a table knows networks by their choices alone
    result = evaluator.evaluate(job, going_on)
    assert result.error and result.stopped is None and not result.test and not result.curve
    assert evaluator.evaluate(JOB, going_on).error is None  # the next one is none the worse


@pytest.mark.parametrize(("decision", "stop"), [(Decision.STOP, Stop.PRUNED), (Decision.PAUSE, Stop.PAUSED)])
def test_reports_are_in_order_and_answered(evaluator: Evaluator, decision: Decision, stop: Stop) -> None:
    reports: list[Report] = []

    def decide(report: Report) -> Decision:
        reports.append(report)
        return decision

    result = evaluator.evaluate(JOB, decide)
    assert [report.epoch for report in reports] == [int(row["epoch"]) for row in result.curve]
    if reports:  # it reports epochs: it must heed the answer
        assert len(reports) == 1 and result.stopped is stop and result.error is None
        assert dict(reports[0].row) == result.curve[0]


def test_what_it_needs_and_lacks_is_said() -> None:
    with pytest.raises(UserError, match="needs a table"):
        prepared(Context("table", DATA))
    with pytest.raises(UserError, match="/nowhere"):
        prepared(Context("train", replace(DATA, spec="/nowhere")))
