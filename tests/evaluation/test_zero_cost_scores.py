"""Zero-cost proxies: against formulas written out here, over real networks, and as the evaluator of a search."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from support import going_on
from torch import nn

from nasforge import zoo
from nasforge.cli import main
from nasforge.data import Batch, Source
from nasforge.evaluation import prepared
from nasforge.evaluation import zero_cost_scores as proxies
from nasforge.evaluation.base import Context, Job
from nasforge.evaluation.zero_cost import zero_cost
from nasforge.networks.build import build
from nasforge.objectives.objective import Objective, parse_limit
from nasforge.search.plan import Plan
from nasforge.search.session import sampler_of
from nasforge.tasks import load_data, task_of
from nasforge.zoo.small import small

SOURCE = Source("digits", limit=300)
TASK = task_of(load_data(SOURCE).spec)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return next(load_data(SOURCE).batches("train", 32))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))


def test_naswot_is_the_determinant_of_the_pattern_kernel(batch: Batch) -> None:
    model = net()
    active = (model[1](batch.x.flatten(1)) > 0).int()
    kernel = torch.tensor([[20 - int((a ^ b).sum()) for b in active] for a in active], dtype=torch.float64)
    expected = torch.linalg.slogdet(kernel + proxies.JITTER * torch.eye(32, dtype=torch.float64))[1]
    assert proxies.naswot(model, batch, TASK) == pytest.approx(float(expected))


def test_synflow_of_a_linear_chain_is_the_sum_over_paths() -> None:
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False))
    before = [p.detach().clone() for p in model.parameters()]
    flow = float((before[1].abs() @ before[0].abs()).sum())  # each of the two layers has this sum
    samples = Batch({"input": torch.randn(4, 3)}, {"label": torch.zeros(4)})
    assert proxies.synflow(model, samples, TASK) == pytest.approx(math.log10(2 * flow), abs=1e-6)
    assert all(torch.allclose(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_grad_norm_is_the_norm_of_the_gradient(batch: Batch) -> None:
    model = net()
    nn.functional.cross_entropy(model(batch.x), batch.y).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert proxies.grad_norm(model, batch, TASK) == pytest.approx(float(expected), rel=1e-4)


def test_jacob_cov_is_lower_for_samples_alike(batch: Batch) -> None:
    model = net()
    alike = batch.with_inputs(lambda x: x[:1].repeat(32, 1, 1, 1) + 1e-3 * x)
    assert proxies.jacob_cov(model, batch, TASK) > proxies.jacob_cov(model, alike, TASK)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5", "resnet20", "mobilenet_v3_small", "densenet_bc_100_12", "vgg11"])
def test_every_score_is_finite_and_the_network_is_left_as_it_was(name: str, batch: Batch) -> None:
    arch = small(zoo.load(name if name in zoo.names() else "squeezenet1_1"), (1, 8, 8), 10)
    torch.manual_seed(0)
    model = build(arch)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    scores = proxies.score(model, batch, TASK)
    assert set(scores) == set(proxies.SCORES) and all(math.isfinite(v) for v in scores.values())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


@pytest.mark.slow
def test_a_search_by_proxies_trains_its_finalists_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search", "digits", "--evaluator", "proxy", "--objective", "naswot,-params", "--trials", "6", "--finalists", "1", "--json"]
    assert main([*command, "--final-seeds", "1", "--final-epochs", "1", "--no-control", "--run", str(tmp_path / "run"),
                 "--data-limit", "300", "--seed-arch", "lenet5"]) == 0  # fmt: skip
    summary = json.loads(capsys.readouterr().out)
    assert summary["finished"] >= 6 and summary["finalists"][0]["test_mean"] is not None


def test_what_an_evaluator_cannot_tell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "digits", "--evaluator", "proxy", "--objective", "accuracy"]) == 2
    assert "does not find out accuracy" in capsys.readouterr().err


@pytest.mark.slow
def test_scores_beside_the_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A whole search whose predictor reads scores, decided again alike from its journal."""
    space = tmp_path / "space.yaml"
    block = "conv: {out: {choose: [4, 6, 8, 12]}, kernel: {choose: [1, 3, 5]}}"
    space.write_text(f"input: [1, 8, 8]\nclasses: 10\nbody: [{block}]\nhead: [gap_head]\nsearch: {{scores: [synflow, naswot]}}\n")
    run = str(tmp_path / "run")
    command = ["search", str(space), "--data-limit", "200", "--trials", "6", "--epochs", "1", "--final-epochs", "1", "--finalists", "1"]
    assert main([*command, "--final-seeds", "1", "--no-control", "--run", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finished"] + json.loads(Path(run, "summary.json").read_text())["pruned"] == 6
    assert json.loads(Path(run, "manifest.json").read_text())["scores"] == ["synflow", "naswot"]
    assert main(["replay", run]) == 0
    assert "12 of 12 choices decided again alike" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scores", "naswo"], "did you mean 'naswot'"),
        (["--scores", "naswot", "--strategy", "local"], "read by --strategy predictor"),
        (["--scores", "naswot", "--evaluator", "proxy", "--objective", "naswot"], "beside --evaluator train"),
    ],
)
def test_scores_that_nothing_reads_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "digits", *words]) == 2
    assert message in capsys.readouterr().err


def test_scores_of_a_network_leave_the_random_numbers_alone() -> None:
    source = Source("digits", limit=200)
    data = load_data(source)
    arch = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 4}}], "head": ["gap_head"]}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = zero_cost(arch, data, 3, ("synflow", "naswot"))
    assert torch.equal(state, torch.get_rng_state())
    assert found == zero_cost(arch, data, 3, ("synflow", "naswot")) and set(found) == {"synflow", "naswot"}
    told = prepared(Context("proxy", source)).evaluate(Job(arch, seed=3), going_on).metrics
    assert {name: told[name] for name in found} == found
    dead = {**arch, "body": [{"conv": {"out": 4}}, {"cell": {"nodes": [[{"from": 0, "op": "zero"}]]}}]}
    assert zero_cost(dead, data, 3, ("jacob_cov",)) == {"jacob_cov": -math.inf}
    assert zero_cost({**arch, "head": [{"linear": {"out": 3}}, "nothing"]}, data, 3, ("synflow",)) == {}


def test_what_breaks_a_limit_on_paper_is_not_built() -> None:
    space = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": {"choose": [4, 4000]}}}], "head": ["gap_head"]}
    limits = (parse_limit("params<=2000"), parse_limit("latency_ms<=1"))
    plan = Plan(space, Source("digits", limit=200), (Objective("accuracy", True),), limits, scores=("synflow",))
    problem = sampler_of(plan, "predictor", 0).problem
    assert [problem.keeps({"body.0.conv.out": out}) for out in (4, 4000)] == [True, False]
    assert [set(problem.scores({"body.0.conv.out": out})) for out in (4, 4000)] == [{"synflow"}, set()]
