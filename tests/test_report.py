"""The report of made-up runs: it says what the numbers say, holds what the run holds, and needs nothing but itself."""

from __future__ import annotations

import html
import json
import random
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import optuna
import pytest
from report_fixture import LENET, Killed, MadeUpRunner, made_up_plan, made_up_run

from nasforge import cli
from nasforge.choosers import random_chooser
from nasforge.cost import layer_table
from nasforge.errors import UserError
from nasforge.evaluate import Job, Result
from nasforge.files import find_space, read, space_names
from nasforge.report import Run, collect, report, words
from nasforge.report.account import counts, failures, savings
from nasforge.report.commands import go_on
from nasforge.report.figures import clock, percent, points, short, spread, tick, value, whole
from nasforge.report.history import best_so_far, counted, volume_so_far
from nasforge.report.insights import choice_shares, good, importances, operator_shares, operators, trained
from nasforge.report.page import page
from nasforge.report.picture import arch_picture
from nasforge.report.style import STYLE
from nasforge.report.svg import Axis, axis, labels, tag
from nasforge.report.verdict import compare, verdict
from nasforge.search.objectives import parse_objectives
from nasforge.search.session import search
from nasforge.space import Space

VOID = {"meta", "link", "wbr", "br"}


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


class Balanced(HTMLParser):
    """Fails where an element is not closed in order; keeps the text and the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def text_of(run: Run) -> str:
    """The text of the page, with plain spaces."""
    return " ".join(Balanced(page(run)).words.replace("\u00a0", " ").split())


def changed(run: Run, **rows: dict[str, Any]) -> Run:
    """The run with other values in the rows of its summary, by name."""
    summary = json.loads(json.dumps(run.summary))
    for group in ("finalists", "control_finalists", "baselines"):
        for row in summary[group]:
            row.update(rows.get(row["name"], {}))
    for group in ("best", "control"):
        summary[group].update(rows.get(summary[group]["name"], {}))
    return replace(run, summary=summary)


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
    for fact in (ended.manifest["data_key"], ended.manifest["versions"]["torch"], ended.manifest["machine"]["processor"]):
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

    def result(self, job: Job, number: int, on_epoch: Any) -> Result:
        if self.jobs % 3 == 0:
            return Result(error=f"RuntimeError: {HOSTILE}")
        return super().result(job, number, on_epoch)


def test_nothing_from_the_run_becomes_markup(tmp_path: Path) -> None:
    run = collect(made_up_run(tmp_path / "a<b>&", Hostile(), trials=9, baselines={"<i>net": LENET}, control=False))
    parsed = Balanced(page(run))
    assert not {"script", "i"} & {name for name, attrs in parsed.tags if not attrs.get("style")}
    assert html.unescape(HOSTILE) in parsed.words and "<i>net" in parsed.words


# ---------------------------------------------------------------- honest sentences


@pytest.mark.parametrize(
    ("best", "control", "said"),
    [
        (([0.990, 0.991, 0.992], 0.001), ([0.980, 0.981, 0.982], 0.001), "The search is ahead of random search"),
        (([0.985, 0.990, 0.995], 0.005), ([0.983, 0.988, 0.993], 0.005), "random search with the same budget is as good"),
        (([0.983, 0.988, 0.993], 0.005), ([0.985, 0.990, 0.995], 0.005), "random search with the same budget is as good"),
        (([0.980, 0.981, 0.982], 0.001), ([0.990, 0.991, 0.992], 0.001), "found a better network"),
        (([0.990], 0.0), ([0.980], 0.0), "nobody knows whether that is more than chance"),
    ],
)
def test_verdict_against_the_control(ended: Run, best: Any, control: Any, said: str) -> None:
    winner, other = ended.best(), ended.best_control()
    assert winner is not None and other is not None
    rows = {
        row["name"]: {"test_seeds": seeds, "test_mean": sum(seeds) / len(seeds), "test_std": std, "key": row["name"]}
        for row, (seeds, std) in ((winner, best), (other, control))
    }
    run = changed(ended, **rows)
    told = verdict(run)
    assert said in told[0]
    assert ("is not shown by this run" in told[0]) == (said != "The search is ahead of random search")
    assert told[0] in text_of(run) and told[0] in " ".join(words(run).replace("\n  ", " ").split("\n"))


def test_verdict_without_a_control_or_with_the_same_network(ended: Run) -> None:
    best = ended.best()
    assert best is not None and ended.summary is not None and ended.control is not None
    none = {"test_mean": None, "test_std": None}
    bare = replace(ended, control=None, summary={**ended.summary, "control": none, "control_finalists": []})
    assert "not known from this run" in verdict(bare)[0]
    assert "has no control" in verdict(replace(bare, manifest={**ended.manifest, "strategy": "random"}))[0]
    assert "gave no network" in verdict(replace(bare, control=ended.control))[0]
    same = changed(ended, **{ended.summary["control"]["name"]: {"key": best["key"]}})
    assert "found the same network" in verdict(same)[0]


def test_verdict_names_better_baselines_and_broken_limits(ended: Run) -> None:
    best = ended.best()
    assert best is not None
    run = changed(ended, lenet={"test_seeds": [0.999, 1.0, 1.0], "test_mean": 0.9997, "test_std": 0.0005})
    assert any(f"{best['name']} does not reach lenet" in s for s in verdict(run))
    run = changed(ended, control1={"refused": ["latency_ms<=1: measured 1.4"]}, plain={"test_mean": None, "test_seeds": []})
    assert "control1 does not keep latency_ms<=1: measured 1.4 on this machine." in verdict(run)
    assert "The baseline plain could not be trained." in verdict(run)
    assert "breaks latency_ms<=1: measured 1.4" in text_of(run) and "breaks latency_ms<=1" in words(run)


def test_compare_is_by_the_spread_of_the_difference() -> None:
    def row(mean: float, std: float, seeds: int = 3) -> dict[str, Any]:
        return {"test_mean": mean, "test_std": std, "test_seeds": [mean] * seeds}

    assert compare(row(0.95, 0.03), row(0.90, 0.04)) == "alike"  # sqrt(0.03^2 + 0.04^2) = 0.05
    assert compare(row(0.951, 0.03), row(0.90, 0.04)) == "better"
    assert compare(row(0.90, 0.04), row(0.951, 0.03)) == "worse"
    assert compare(row(0.9, 0.0, 1), row(0.8, 0.1)) == "unknown"


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

    def result(self, job: Job, number: int, on_epoch: Any) -> Result:
        if self.always or job.full:
            return Result(error=f"MemoryError: batch {self.jobs} did not fit")
        return super().result(job, number, on_epoch)


@pytest.mark.parametrize("always", [True, False])
def test_everything_failed(tmp_path: Path, always: bool) -> None:
    run = collect(made_up_run(tmp_path / "run", Failing(always), trials=6, baselines={"lenet": LENET}))
    assert run.best() is None
    groups = failures(run)
    trials = sum(ledger.count("failed") for ledger in run.ledgers.values())
    trainings = 3 * len({row["key"] for row in run.rows()})
    assert trials == (12 if always else 0)
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
    with pytest.raises(UserError, match="sqlite database"):
        collect(folder)
    run = collect(folder, url)
    assert run.trained(run.search) == 3 and run.best() is not None
    assert "one seed only" in words(folder, url) and report(folder, url).exists()


# ---------------------------------------------------------------- what is worked out


def test_history_ends_where_the_summary_does(ended: Run) -> None:
    assert ended.summary is not None
    volumes = volume_so_far(ended)
    for name, ledger in ended.ledgers.items():
        shares = [share for _, share in volumes[name]]
        assert shares == sorted(shares) and len(shares) == len(counted(ledger)) == ended.trained(ledger)
        assert shares[-1] == pytest.approx(ended.summary["hypervolume"][name], abs=1e-4)  # stored with four digits
        best = best_so_far(ended, ledger)
        assert best[-1] == (ended.trained(ledger), max(r.metrics["accuracy"] for r in ledger.finished()))
        assert [v for _, v in best] == sorted(v for _, v in best)


def test_savings_by_hand(ended: Run) -> None:
    records = [r for ledger in ended.ledgers.values() for r in ledger.records.values()]
    whole_trainings = [r.seconds["training"] for r in records if r.kind == "finished"]
    mean = sum(whole_trainings) / len(whole_trainings)
    duplicates, infeasible, pruned = savings(ended)
    for kind, saved in (("duplicate", duplicates), ("infeasible", infeasible)):
        number = sum(r.kind == kind for r in records)
        assert number and saved[1] == number and saved[2] == pytest.approx(number * mean)
    cut = [r for r in records if r.kind == "pruned"]
    left = sum(r.seconds["training"] * (6 - len(r.curve)) / len(r.curve) for r in cut)  # the plan has 6 epochs
    assert cut and pruned[1] == len(cut) and pruned[2] == pytest.approx(left)


def test_counts_are_those_of_the_ledger(ended: Run) -> None:
    assert ended.summary is not None
    numbers = dict(counts(ended))["search"]
    assert numbers["duplicate"] == ended.summary["duplicates"]
    assert all(numbers[kind] == ended.summary[kind] for kind in ("finished", "pruned", "failed", "infeasible"))


class OnlyPool(MadeUpRunner):
    """The accuracy depends on the pooling of the head alone."""

    def result(self, job: Job, number: int, on_epoch: Any) -> Result:
        chance = random.Random(number)
        score = (0.9 if {"pool": {"kind": "avg"}} in job.arch["head"] else 0.5) + chance.random() * 0.01
        row = {"epoch": 1, "loss": 1 - score, "val_loss": 1 - score, "accuracy": score, "lr": 0.1, "seconds": 0.1}
        test = {"accuracy": score, "loss": 1 - score} if job.test else {}
        return Result({"accuracy": score, "loss": 1 - score}, test, [row], {"training": 0.1})


def test_what_mattered_is_found(tmp_path: Path) -> None:
    objectives = tuple(parse_objectives("accuracy"))
    run = collect(made_up_run(tmp_path / "run", OnlyPool(), objectives=objectives, trials=40, strategy="random", pruner="none", limits=()))
    found, why_not = importances(run)
    assert why_not == "" and found[0].name == "head.0.pool.kind"
    assert found[0].share > 2 * found[1].share
    assert sum(i.share for i in found) == pytest.approx(1)
    conditional = next(i for i in found if i.name == "body.0.stage.block.conv.out")  # asked of plain blocks only
    assert 0 < conditional.drawn < conditional.of == run.search.count("finished")
    assert "depth" not in found[0].name and "head.0.pool.kind" in words(run)
    common = {s.name: s for s in operator_shares(run)}
    best, which = good(run)
    assert which == "with the best accuracy" and len(best) == 10
    assert common["avg pool"].good == 1 and common["max pool"].good == 0
    drawn = [r.choices["head.0.pool.kind"] == "avg" for r in trained(run)]
    assert common["avg pool"].all == pytest.approx(sum(drawn) / len(drawn))
    assert choice_shares(run)[0].name == "head.0.pool.kind = avg"


def test_few_trials_are_not_overread(tmp_path: Path) -> None:
    run = collect(made_up_run(tmp_path / "run", MadeUpRunner(), trials=4, baselines={}, control=False))
    assert importances(run) == ([], f"needs at least 10 finished trials, there are {run.search.count('finished')}")
    assert "needs at least 10 finished trials" in text_of(run)


def test_operators_by_hand() -> None:
    inside = {"basic": {"out": 16}}
    arch = {
        "input": [3, 8, 8],
        "stem": [{"conv": {"out": 8, "kernel": 5}}],
        "body": [{"stage": {"block": inside, "depth": 2}}, {"depthwise": {"kernel": 3}}],
        "head": [{"pool": {"kind": "avg"}}, "linear"],
    }
    found = list(operators(arch))
    assert found.count("conv 3×3") == 4 and found.count("shortcut") == 2  # two basic blocks of two convolutions each
    assert found.count("conv 5×5") == 1 and found.count("depthwise conv 3×3") == 1
    assert found[-2:] == ["avg pool", "linear"]
    assert list(operators({"input": [16, 4], "body": [{"conv": {"kernel": 3}}]})) == ["conv 3"]  # a sequence has one axis


# ---------------------------------------------------------------- going on


def test_commands_are_ones_that_the_command_line_takes(ended: Run, killed: Run) -> None:
    for run in (ended, killed):
        for _, command in go_on(run):
            parts = shlex.split(command)
            assert parts[0] == "nasforge"
            cli.parser().parse_args(parts[1:])


def test_the_command_that_goes_on_is_of_the_same_search(tmp_path: Path) -> None:
    from nasforge.commands.search import plan_of

    folder = tmp_path / "a run"
    plan = made_up_plan(trials=3, baselines={}, finalists=1, final_seeds=1, seed=7, strategy="nsga2", pruner="median")
    search(plan, folder, MadeUpRunner, lambda status: None)
    run = collect(folder)
    resumed = [plan_of(cli.parser().parse_args(shlex.split(c)[1:])) for _, c in go_on(run) if " search " in c]
    assert [p.trials for p in resumed] == [6, 3]
    for again in resumed:
        told = json.loads(json.dumps(again.identity()))
        assert told == {k: run.manifest[k] for k in told}


# ---------------------------------------------------------------- words


def test_words_fit_a_terminal(ended: Run) -> None:
    lines = words(ended).splitlines()
    assert 20 <= len(lines) <= 45
    told = [s for s in lines if not s.lstrip().startswith("nasforge ")]
    assert max(map(len, told)) <= 120 and "\u00a0" not in words(ended)
    table = [s for s in lines if re.match(r"(network|finalist\d|control\d|lenet|plain) {2,}", s)]
    assert len(table) == 1 + len(ended.rows())
    ends = {re.search(r"test|\d %(?!.*\d %)", s).end() for s in table}  # type: ignore[union-attr]
    assert len(ends) == 1  # the column of test scores ends at one place
    assert words(ended.folder) == words(ended)


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (whole(6912), "6,912"), (short(6912), "6.91 k"), (short(288240), "288 k"), (short(2e6), "2 M"), (short(17), "17"),
        (percent(0.9921), "99.2 %"), (spread(0.9921, 0.0021), "99.2 ± 0.2 %"), (spread(0.99, 0.0, 1), "99.0 %"),
        (spread(None, None), "no result"), (points(-0.01), "1.0 point"), (points(0.004), "0.4 points"),
        (value("loss", 0.12345), "0.1235"), (value("peak_bytes", 4096), "4.1 kB"), (value("latency_ms", None), "–"),
        (tick("accuracy", 0.995), "99.5 %"), (tick("macs", 3e6), "3 M"),
        (clock(3.21), "3.2 s"), (clock(75), "1 min 15 s"), (clock(3720), "1 h 02 min"), (clock(59.9), "1 min 00 s"),
    ],
)  # fmt: skip
def test_figures(got: str, wanted: str) -> None:
    assert got == wanted


# ---------------------------------------------------------------- drawings


def elements(svg: str, name: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(svg).iter() if e.tag == name]


@pytest.mark.parametrize("name", space_names())
def test_picture_of_every_space(name: str) -> None:
    arch, _ = Space(read(find_space(name))).draw(random_chooser(random.Random(1)))
    svg = arch_picture(arch, name)
    said = [e.text for e in elements(svg, "text")]
    sections = [s for s in ("stem", "body", "neck", "head", "heads") if arch.get(s)]
    assert [s for s in said if s in sections] == sections
    assert sum(s is not None and s.startswith("output ") for s in said) == 1
    width, height = (float(ElementTree.fromstring(svg).attrib[k]) for k in ("width", "height"))
    assert width > 60 and height > 100


def test_picture_of_blocks_by_hand() -> None:
    branches = [[{"conv": {"out": 4, "kernel": 1}}], [{"conv": {"out": 4}}, {"conv": {"out": 6, "kernel": 5}}]]
    arch = {
        "input": [3, 8, 8],
        "classes": 5,
        "body": [
            {"conv": {"out": 8}},
            {"stage": {"block": {"basic": {"out": 8}}, "depth": 3}},
            {"parallel": {"branches": branches}},
            {"basic": {"out": 16, "stride": 2}},
        ],
        "head": [{"pool": {"kind": "avg"}}, "linear"],
    }
    said = [e.text for e in elements(arch_picture(arch, "net"), "text")]
    assert "input 3 × 8 × 8" in said and "output 5" in said
    assert said.count("× 3") == 1  # three equal blocks are drawn once
    assert "concat" in said and "10 × 8 × 8" in said  # 4 + 6 channels
    assert said.count("1×1") == 1 and said.count("+ relu") == 2  # one projection, two kinds of residual
    assert "16 × 4 × 4" in said and "linear, 5" in said


def test_picture_of_a_cell_leaves_dead_edges_out() -> None:
    nodes = [
        [{"from": 0, "op": "conv"}],
        [{"from": 0, "op": "zero"}, {"from": 1, "op": {"pool": {"kind": "avg", "kernel": 3, "stride": 1}}}],
        [{"from": 0, "op": {"conv": {"kernel": 1}}}, {"from": 2, "op": "identity"}],
    ]
    arch = {"input": [4, 8, 8], "classes": 2, "body": [{"cell": {"nodes": nodes}}], "head": ["gap_head"]}
    said = [e.text for e in elements(arch_picture(arch, "cell"), "text")]
    for words_of in ("conv 3×3", "avg pool 3×3", "conv 1×1", "identity"):
        assert said.count(words_of) == 1
    assert said.count("+") == 3 and "zero" not in said


def test_deep_networks_are_drawn_closed() -> None:
    body = [{"bottleneck": {"out": 8 * (1 + i % 3)}} for i in range(30)]
    arch = {"input": [3, 16, 16], "classes": 2, "body": body, "head": ["gap_head"]}
    said = [e.text for e in elements(arch_picture(arch, "deep"), "text")]
    assert sum(s is not None and s.startswith("bottleneck") for s in said) == 30 and not any(s == "+ relu" for s in said)


@pytest.mark.parametrize(("low", "high", "log"), [(0.91, 0.994, False), (0, 1, False), (1, 40, False), (1500, 21000, True), (3, 4.1, True)])
def test_ticks_are_inside_and_neither_few_nor_many(low: float, high: float, log: bool) -> None:
    made = axis([low, high], 0, 100, log)
    ticks = made.ticks(7)
    assert 2 <= len(ticks) <= 8 and all(made.low <= t <= made.high for t in ticks) and ticks == sorted(ticks)
    pixels = [made(t) for t in ticks]
    assert all(0 <= p <= 100 for p in pixels) and pixels == sorted(pixels)
    assert made(low * 0.01 - 1 if not log else low * 0.01) == 0 and made(high * 100) == 100


def test_axis_of_one_value_and_of_shares() -> None:
    assert axis([5.0], 0, 100)(5.0) == pytest.approx(50) and axis([5.0], 0, 100, True)(5.0) == pytest.approx(50)
    assert max(axis([0.97, 1.0], 0, 100, cap=1.0).ticks(7)) == 1.0
    assert Axis(1, 100, 0, 200, True)(10) == pytest.approx(100)


def test_labels_keep_apart() -> None:
    wanted = [(100.0 + 3 * i, 100.0 + 2 * i, f"network{i}", "finalist") for i in range(5)]
    svg = tag("svg", labels(wanted, (0, 0, 400, 300)))
    boxes = [(float(e.attrib["x"]), float(e.attrib["y"])) for e in elements(svg, "text")]
    assert len(boxes) == 5
    for i, (x, y) in enumerate(boxes):
        assert 0 <= x <= 400 - 7 * 8 and 14 <= y <= 300
        assert all(abs(x - u) >= 8 * 6 or abs(y - v) >= 13 for u, v in boxes[:i])


def test_text_of_a_drawing_is_escaped() -> None:
    Balanced(tag("svg", labels([(0, 0, "<b>", "a")], (0, 0, 9, 9)), aria_label='"<'))
