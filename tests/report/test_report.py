"""The report of made-up runs: it says what the numbers say, holds what the run holds, and needs nothing but itself."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import optuna
import pytest
from support import LENET, Balanced, Killed, MadeUpRunner, made_up_plan, made_up_run, text_of

from nasforge import cli
from nasforge.api.named import arch_named, space_named
from nasforge.errors import UserError
from nasforge.evaluation.base import Job, OnReport, Result
from nasforge.networks.cost import layer_table
from nasforge.objectives.objective import parse_objectives
from nasforge.report import Run, collect, report, words
from nasforge.report.budget import failures
from nasforge.report.next_steps import go_on
from nasforge.report.page import page
from nasforge.report.style import STYLE
from nasforge.search.session import search
from nasforge.search.settings import plan_of


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return collect(made_up_run(tmp_path_factory.mktemp("runs") / "ended"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "killed"
    with pytest.raises(Killed):
        made_up_run(folder, MadeUpRunner(end_after=13))
    return collect(folder)


# ---------------------------------------------------------------- the page


def test_page_stands_alone(ended: Run, killed: Run) -> None:
    for run in (ended, killed):
        text = page(run)
        parsed = Balanced(text)
        tags = {name for name, _ in parsed.tags}
        assert not tags & {"script", "img", "iframe", "object", "embed", "base"}
        assert "url(" not in text and "@import" not in text and "http" not in text
        assert [a["href"] for name, a in parsed.tags if name == "link"] == ["data:,"]
        assert not any(key in ("src", "srcset", "id") or key.startswith("on") for _, a in parsed.tags for key in a)


def test_report_writes_the_page_and_nothing_else(ended: Run) -> None:
    before = {p: p.read_bytes() for p in ended.folder.rglob("*") if p.is_file() and p.name != "report.html"}
    path = report(ended.folder)
    assert path == ended.folder / "report.html" and path.read_text(encoding="utf-8") == page(ended)
    assert {p: p.read_bytes() for p in ended.folder.rglob("*") if p.is_file() and p.name != "report.html"} == before


def test_page_says_what_the_summary_holds(ended: Run) -> None:
    text, best = text_of(ended), ended.best()
    assert best is not None
    assert f"{best['name']}, {best['params']:,} parameters, reaches {100 * best['test_mean']:.1f}" in text
    for row in ended.rows():
        assert row["name"] in text and f"{row['params']:,}" in text and f"{row['macs']:,}" in text
        assert f"{100 * row['test_mean']:.1f} ± {100 * row['test_std']:.1f} %" in text
    for fact in (
        ended.manifest["data_key"],
        ended.manifest["versions"]["torch"],
        ended.manifest["machine"]["processor"],
    ):
        assert fact in text


def test_every_trained_trial_and_every_layer_is_shown(ended: Run) -> None:
    text = page(ended)
    for name, ledger in ended.ledgers.items():
        for record in ledger.records.values():
            if record.kind == "finished":
                assert f"{name} trial {record.number}" in text
    leader = ended.leader()
    assert leader is not None
    for row in layer_table(ended.arch(leader)):
        assert f"<td>{row.path}</td><td>{row.type}</td>" in text
    assert f"{leader.metrics['params']:,.0f} parameters" in text_of(ended)


def test_colours_have_contrast_in_both_themes() -> None:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    for theme in (light, dark):
        colours = dict(re.findall(r"--(\w+): (#\w{6})", theme))
        for text in ("ink", "muted", "search", "control", "baseline"):
            for ground in ("paper", "raised"):
                assert _contrast(colours[text], colours[ground]) >= 4.5  # WCAG 2.2, 1.4.3, level AA


def _contrast(a: str, b: str) -> float:
    """The ratio of two colours. Source: WCAG 2.2, "contrast ratio" and "relative luminance"."""
    one, two = sorted((_luminance(a), _luminance(b)))
    return (two + 0.05) / (one + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


HOSTILE = "<script>alert('x')</script> & \"more\""


class Hostile(MadeUpRunner):
    """Fails with markup in the message."""

    def result(self, job: Job, number: int, on_report: OnReport) -> Result:
        if self.jobs % 3 == 0:
            return Result(error=f"RuntimeError: {HOSTILE}")
        return super().result(job, number, on_report)


def test_nothing_from_the_run_becomes_markup(tmp_path: Path) -> None:
    run = collect(made_up_run(tmp_path / "a<b>&", Hostile(), trials=9, baselines={"<i>net": LENET}, control=False))
    parsed = Balanced(page(run))
    assert not {"script", "i"} & {name for name, attrs in parsed.tags if not attrs.get("style")}
    assert html.unescape(HOSTILE) in parsed.words and "<i>net" in parsed.words


# ---------------------------------------------------------------- runs that did not end well


def test_killed_run(killed: Run) -> None:
    assert killed.summary is None and killed.running == 1 and killed.rows() == []
    leader = killed.leader()
    assert leader is not None
    assert leader.metrics["accuracy"] == max(r.metrics["accuracy"] for r in killed.search.finished())
    text = text_of(killed)
    assert f"Not finished: 13 of 24 trials done; best so far is trial {leader.number}" in text
    assert "Finalists, control and baselines" not in text and "1 trial was running" in text
    assert "Go on where the search stopped" in text and f"trial {leader.number}" in words(killed)


def test_run_goes_on_after_a_report(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        made_up_run(tmp_path / "run", MadeUpRunner(end_after=5), trials=8)
    report(tmp_path / "run")
    made_up_run(tmp_path / "run", MadeUpRunner(), trials=8)
    run = collect(tmp_path / "run")
    assert run.summary is not None and run.trained(run.search) == 8


def test_interrupted_before_the_first_trial_ended(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        made_up_run(tmp_path / "run", MadeUpRunner(end_after=0, end=KeyboardInterrupt))
    run = collect(tmp_path / "run")
    assert run.leader() is None and "no network yet" in text_of(run) and "no network yet" in " ".join(words(run).split())


class Failing(MadeUpRunner):
    """Fails in the final trainings, or always."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always = always

    def result(self, job: Job, number: int, on_report: OnReport) -> Result:
        if self.always or job.full:
            return Result(error=f"MemoryError: batch {self.jobs} did not fit")
        return super().result(job, number, on_report)


@pytest.mark.parametrize("always", [True, False])
def test_everything_failed(tmp_path: Path, always: bool) -> None:
    run = collect(made_up_run(tmp_path / "run", Failing(always), trials=4, baselines={"lenet": LENET}))
    assert run.best() is None
    groups = failures(run)
    trials = sum(ledger.count("failed") for ledger in run.ledgers.values())
    trainings = 3 * len({row["key"] for row in run.rows()})
    assert trials == (8 if always else 0)
    assert len(groups) == 1 and len(groups[0][1]) == trials + trainings
    assert "lenet with seed 2" in groups[0][1]
    text = text_of(run)
    assert "No network of this search could be trained to the end" in text and "did not fit" in text
    assert "did not fit" in words(run)


def test_failures_are_grouped_and_counted(ended: Run) -> None:
    groups = failures(ended)
    failed = sum(ledger.count("failed") for ledger in ended.ledgers.values())
    assert failed > 2 and len(groups) == 1 and len(groups[0][1]) == failed  # the messages differ in a number only
    assert groups[0][0].startswith("TrainingFailed: the loss became nan in epoch ") and groups[0][0] in text_of(ended)


@pytest.mark.parametrize("objective", ["accuracy", "accuracy,-params,-macs", "loss,-params", "-params,accuracy", "accuracy,-peak_bytes"])
def test_other_objectives(tmp_path: Path, objective: str) -> None:
    run = collect(made_up_run(tmp_path / "run", objectives=tuple(parse_objectives(objective)), trials=12))
    text = page(run)
    Balanced(text)
    wide = text.count('class="plot wide"')
    several = len(run.objectives) > 1
    costs = max(1, len(run.objectives) - 1)
    finals = sum(o.metric in ("params", "macs") for o in run.objectives[1:]) or not several  # the finals know no peak bytes
    assert wide == costs + finals + 2 + several  # trials, finals; best, curves, volume
    assert "NaN" not in text and "nan," not in text and "inf" not in re.findall(r'(?:points|d|x|y|cx)="[^"]*inf', text)


# ---------------------------------------------------------------- where a run lies


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is .* the folder of a search"):
        collect(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"storage": "postgresql"}), encoding="utf-8")
    with pytest.raises(UserError, match="postgresql database, not in the folder"):
        collect(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"storage": "journal"}), encoding="utf-8")
    with pytest.raises(UserError, match="holds no search"):
        collect(tmp_path)


def test_run_in_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    folder = made_up_run(tmp_path / "run", MadeUpRunner(), storage=url, trials=3, finalists=1, final_seeds=1, baselines={})
    run = collect(folder)
    assert run.search.records == collect(folder, url).search.records
    assert run.trained(run.search) == 3 and run.best() is not None
    assert "one seed only" in words(folder, url) and report(folder, url).exists()


# ---------------------------------------------------------------- going on


def test_commands_are_ones_that_the_command_line_takes(ended: Run, killed: Run) -> None:
    for run in (ended, killed):
        for _, command in go_on(run):
            parts = shlex.split(command)
            assert parts[0] == "nasforge"
            cli.parser().parse_args(parts[1:])


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "nsga2", "scheduler": "median"},
        {"scheduler": "halving", "fidelity": "data", "inherit": True},
        {"scores": ("synflow", "naswot")},
    ],
)
def test_the_command_that_goes_on_is_of_the_same_search(changes: dict[str, Any], tmp_path: Path) -> None:
    folder, said = tmp_path / "a run", list[str]()
    plan = made_up_plan(trials=3, baselines={}, finalists=1, final_seeds=1, seed=7, **changes)
    search(plan, folder, MadeUpRunner, lambda status: None)
    run = collect(folder)
    asked = [cli.parser().parse_args(shlex.split(c)[1:]) for _, c in go_on(run) if " search " in c]
    given = [{**vars(args), "control": args.control} for args in asked]
    resumed = [plan_of(space_named(args.space), more, arch_named, said.append) for args, more in zip(asked, given, strict=True)]
    assert [p.trials for p in resumed] == [6, 3]
    for again in resumed:
        told = json.loads(json.dumps(again.identity()))
        assert told == {k: run.manifest[k] for k in told}


# ---------------------------------------------------------------- words


def test_words_fit_a_terminal(ended: Run) -> None:
    lines = words(ended).splitlines()
    assert 20 <= len(lines) <= 56
    told = [s for s in lines if not s.lstrip().startswith("nasforge ")]
    assert max(map(len, told)) <= 120 and "\u00a0" not in words(ended)
    table = [s for s in lines if re.match(r"(network|finalist\d|control\d|lenet|plain) {2,}", s)]
    assert len(table) == 1 + len(ended.rows())
    ends = {re.search(r"test|\d %(?!.*\d %)", s).end() for s in table}  # type: ignore[union-attr]
    assert len(ends) == 1  # the column of test scores ends at one place
    assert words(ended.folder) == words(ended)
