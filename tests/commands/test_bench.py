"""Tabular benchmarks: tables are read right, strategies are charged right, and the command says what was measured."""

from __future__ import annotations

import json
import math
import re
import runpy
import statistics
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from support import ROOT, going_on, shared_data

from nasforge.cli import main
from nasforge.commands.bench import summary
from nasforge.commands.bench_plot import LEAST, curve, plot
from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Job
from nasforge.evaluation.tables import OURS, Table, read_table
from nasforge.evaluation.tables.nasbench_nlp import VOCABULARY
from nasforge.networks.build import build, make
from nasforge.networks.cost import count
from nasforge.search.simulate import Trace, simulate
from nasforge.spaces.choosers import replay
from nasforge.strategies.registry import STRATEGIES

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")  # digits 0 to 4 of the column `ops`
EDGES = ("01", "02", "12", "03", "13", "23")

TOY_SPACE = """
input: [1, 8, 8]
classes: 10
body:
  - conv: {out: {choose: [4, 8, 12]}}
  - {choose: {none: [], same: identity, pool: {pool: {kind: avg, kernel: {choose: [2, 3]}}}}}
head: [pool: {kind: avg}, linear]
recipe: {epochs: 1, batch_size: 256}
"""


@pytest.fixture(scope="module")
def ours() -> Table:
    return read_table()


@pytest.fixture(scope="module")
def nb201() -> Table:
    return read_table(shared_data("nas/nb201.csv.gz"))


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A table of 12 sets of choices, 9 networks: `none` and `same` compute the same, but were measured differently."""
    (tmp_path / "toy.yaml").write_text(TOY_SPACE)
    lines = ["body.0.conv.out,body.1,body.1.pool.kernel,name,val,test"]
    for out in (4, 8, 12):
        lines += [f"{out},none,,a,{out},{100 - out}", f"{out},same,,b,{out + 0.5},0"]
        lines += [f"{out},pool,2,c,{out + 1},1", f"{out},pool,3,d,{out + 2},2"]
    path = tmp_path / "toy.csv"
    path.write_text("\n".join(lines))
    return path


# ---------------------------------------------------------------- tables


def test_packaged_table_holds_every_network_of_its_space(ours: Table) -> None:
    assert len(ours.rows) == ours.space.size() == 1440
    assert OURS.stat().st_size < 100_000
    for name in ("val", "test", "params", "macs"):
        assert all(math.isfinite(v) for v in ours.column(name))
    scores: dict[str, set[float]] = {}
    for row in ours.rows:
        scores.setdefault(ours.key(dict(row)), set()).add(ours.evaluate(dict(row), "val"))
    assert len(scores) == 1170  # 3 of 16 pairs of the first two slots are another pair with `none` moved: 1440 * 13 / 16
    assert all(len(values) == 1 for values in scores.values())
    assert 95 < ours.best("val") <= 100 and min(ours.column("val")) < 50  # there is something to find


@pytest.mark.slow
def test_packaged_table_was_measured(ours: Table) -> None:
    """Its best network, trained anew, scores what the table says (a little off on another processor)."""
    best = max(ours.rows, key=lambda row: ours.evaluate(dict(row), "val"))
    arch, _ = ours.space.draw(replay(dict(best)))
    train = prepared(Context(source=Source("digits")))
    results = [train.evaluate(Job(arch, seed), going_on) for seed in (0, 1)]
    again = 100 * statistics.fmean(r.metrics["accuracy"] for r in results)
    assert again == pytest.approx(ours.best("val"), abs=3)


def test_nas_bench_201_is_read_as_choices_of_our_cell(nb201: Table) -> None:
    assert len(nb201.rows) == nb201.space.size() == 15_625
    assert nb201.best("c10_test_e200") == pytest.approx(94.373, abs=5e-4)  # row 6111; shared/data/README.md
    assert nb201.best("c100_test_e200") == pytest.approx(73.513, abs=5e-4)  # row 9930
    by_row = {number: dict(row) for row, number in nb201.rows.items()}
    for number, digits in enumerate(nb201.column("ops")):  # told apart from `arch` by its makers
        expected = {f"let.op{edge}": OPS[int(d)] for edge, d in zip(EDGES, f"{int(digits):06d}", strict=True)}
        assert by_row[number] == expected


@pytest.fixture(scope="module")
def macro() -> Table:
    return read_table(shared_data("nas/nas-bench-macro_cifar10.json.gz"))


def test_nas_bench_macro_is_read_as_choices_of_our_chains(macro: Table) -> None:
    assert len(macro.rows) == macro.space.size() == 6_561
    assert macro.best("mean_acc") == pytest.approx(93.1267, abs=5e-5)  # shared/data/README.md
    for row in list(macro.rows)[::800]:
        cost = count(macro.space.draw(replay(dict(row)))[0])
        assert cost.params == macro.evaluate(dict(row), "params") and cost.macs == macro.evaluate(dict(row), "macs")
    assert macro.key({f"body.{i}": op for i, op in enumerate(("mb3", "none", "mb3", "none", "mb6", "mb3", "none", "none"))}) == macro.key(
        {f"body.{i}": op for i, op in enumerate(("mb3", "none", "mb3", "mb6", "none", "mb3", "none", "none"))}
    )


@pytest.fixture(scope="module")
def nlp() -> Table:
    return read_table(shared_data("nas/wikitext2_runs.jsonl.gz"))


def test_nas_bench_nlp_is_read_as_cells_of_our_grammar(nlp: Table) -> None:
    """Their first three are the simple network, an LSTM and a GRU. Losses as they stand in the file, after the same epoch."""
    assert len(nlp.rows) == nlp.space.size() == 345 and nlp.minimize
    first = {"let.cell": "1000000"}
    arch, _ = nlp.space.draw(replay(first))
    assert [line["recurrent_cell"]["hidden"] for line in arch["body"]] == [600, 600, 400]
    assert arch["body"][0]["recurrent_cell"]["nodes"]["h_new_0"] == {"op": "tanh", "from": ["f"]}
    assert (nlp.evaluate(first, "val_loss"), nlp.evaluate(first, "test_loss")) == (5.225870469037225, 5.137329225845042)
    assert nlp.best("val_loss") == nlp.evaluate({"let.cell": "1000001"}, "val_loss") == pytest.approx(4.56758, abs=1e-5)
    failed = [row for row in nlp.rows if math.isinf(nlp.evaluate(dict(row), "val_loss"))]
    assert len(failed) == 4 and 7 < nlp.worst("val_loss") < math.inf
    assert len({nlp.key(dict(row)) for row in nlp.rows}) == 260


def test_parameters_of_nas_bench_nlp_are_those_of_its_file(nlp: Table) -> None:
    """Theirs share the embedding with the output layer; nine cells hold linear nodes that no output depends on, which we do not build."""
    fewer = 0
    for row in nlp.rows:
        arch, _ = nlp.space.draw(replay(dict(row)))
        with torch.device("meta"):
            layers = [make(node, ((70, width),), 0, "body") for node, width in zip(arch["body"], (400, 600, 600), strict=True)]
        ours = sum(p.numel() for layer in layers for p in layer.parameters()) + VOCABULARY * 401  # embedding, and the output's bias
        told = nlp.evaluate(dict(row), "params")
        assert ours <= told
        fewer += ours < told
    assert fewer == 9


def test_a_network_of_nas_bench_nlp_is_whole(nlp: Table) -> None:
    arch, _ = nlp.space.draw(replay({"let.cell": "1000002"}))
    short = {**arch, "input": {**arch["input"], "length": 3}}
    cost = count(short)
    assert cost.params - VOCABULARY * 400 == nlp.evaluate({"let.cell": "1000002"}, "params")
    assert build(short, "meta")(torch.zeros(2, 3, dtype=torch.long, device="meta")).shape == (2, 3, VOCABULARY)


def _run(**changes: object) -> str:
    cell = {"a": {"op": "linear", "input": ["x", "h_prev_0"]}, "h_new_0": {"op": "activation_tanh", "input": ["a"]}}
    sizes = {"emsize": 4, "nhid": 5, "nlayers": 2, "bptt": 3, "num_params": 9, "wall_times": [1.0, 2.0]}
    run = {"recepie_id": 7, "recepie": json.dumps(cell), "status": "OK", "val_losses": [3.0, 2.0, 2.5], "test_losses": [1.0, 4.0, 0.5]}
    return json.dumps({**run, **sizes, **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_run() + "\n{broken", r"t\.jsonl:2: must be a run of NAS-Bench-NLP as json, got JSONDecodeError"),
        (_run(recepie='{"a": {"op": "conv", "input": []}}'), r"t\.jsonl:1: .* KeyError: 'conv'"),
        (_run(val_losses=[1.0]), r"t\.jsonl:1: .* ValueError"),
        (_run() + "\n" + _run(nhid=6), r"t\.jsonl:2: all networks of a table have one size"),
    ],
)
def test_runs_that_are_no_table_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_table(path)


def test_a_training_that_failed_costs_an_evaluation(tmp_path: Path) -> None:
    """Two cells, three runs: the second of one cell is never asked for, the failed one is told as failed."""
    other = json.dumps({"a": {"op": "linear", "input": ["x", "h_prev_0"]}, "h_new_0": {"op": "activation_sigm", "input": ["a"]}})
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join([_run(), _run(), _run(recepie=other, recepie_id=8, status="loss is nan!")]))
    table = read_table(path)
    assert table.evaluate({"let.cell": "7#2"}, "test_loss") == 4  # of the epoch with the lowest loss on val
    for name in STRATEGIES:
        trace = simulate(table, name, 0, 5, "val_loss", "test_loss")
        assert trace.best == [2, 2] and trace.reported == [4, 4] and trace.absent == 0


def test_less_is_better_in_a_race_on_losses(nlp: Table) -> None:
    trace = simulate(nlp, "evolution", 0, 40, "val_loss", "test_loss")
    assert trace.best == sorted(trace.best, reverse=True) and trace.best[0] > trace.best[-1]
    out = summary([trace], [1, 40], nlp.best("val_loss"))
    assert out["regret"]["1"] > out["regret"]["40"] >= 0


@pytest.mark.thorough
def test_the_predictor_sees_into_recurrent_cells(nlp: Table) -> None:
    """All cells are options of one choice, so that whatever it knows of those not yet asked for, it knows of their graphs.

    Over 100 seeds .007 against .179.
    """
    regret = {}
    for name in ("predictor", "random"):
        regret[name] = statistics.fmean(
            simulate(nlp, name, s, 50, "val_loss", "test_loss").best[-1] - nlp.best("val_loss") for s in range(10)
        )
    assert regret["predictor"] < 0.6 * regret["random"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{broken", "cannot be read as json"),
        ("{}", "networks by name"),
        ('{"1": 2}', "networks by name"),
        ('{"0123": {"mean_acc": 1}}', "8 digits from 0 to 2, one a layer, got '0123'"),
    ],
)
def test_json_that_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_table(path)


def test_a_table_beside_its_space(toy: Path) -> None:
    table = read_table(toy)
    assert len(table.rows) == 12 and set(table.columns) == {"val", "test"}  # `name` has no numbers
    assert table.evaluate({"body.0.conv.out": 8, "body.1": "pool", "body.1.pool.kernel": 3}, "val") == 10
    assert math.isnan(table.evaluate({"body.0.conv.out": 8, "body.1": "pool"}, "val"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one network"),
        ("arch,val\n|none~0|+|none~0|none~1|,1\n", r"t\.csv:2: arch must be like"),
        ("arch,val\n|none~0|+|none~0|none~1|+|none~0|none~1|conv~2|,1\n", r"t\.csv:2: 'conv' is no operation .*nor_conv_3x3"),
        ("archs,val\nx,1\n", "cannot be read as text"),  # and no space lies beside it
        ("\x1f\x8bbroken", "cannot be read as csv"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=message):
        read_table(path)


def test_a_value_outside_the_space_names_its_line(toy: Path) -> None:
    toy.write_text(toy.read_text().replace("12,pool,3", "12,pool,5"))
    with pytest.raises(UserError, match=r"toy\.csv:13: body\.1\.pool\.kernel must be one of 2, 3, got '5'"):
        read_table(toy)


def test_make_table_writes_what_read_table_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(TOY_SPACE.replace("[4, 8, 12]", "[4]"))
    monkeypatch.setattr("sys.argv", ["make_table.py", str(space), "--seeds", "1"])
    runpy.run_path(str(ROOT / "benchmarks" / "make_table.py"), run_name="__main__")
    assert "3/3" in capsys.readouterr().err  # trained once where two sets of choices give one network
    table = read_table(tmp_path / "tiny.csv.gz")
    assert len(table.rows) == 4
    assert len({table.evaluate({"body.0.conv.out": 4, "body.1": label}, "val") for label in ("none", "same")}) == 1
    assert all(0 <= v <= 100 for v in table.column("test"))


# ---------------------------------------------------------------- races


@pytest.mark.parametrize("name", STRATEGIES)
def test_duplicates_cost_nothing(toy: Path, name: str) -> None:
    """All nine networks are evaluated once each, however often they are drawn; then the race ends."""
    trace = simulate(read_table(toy), name, seed=0, evals=50, select="val", report="test")
    assert len(trace.best) == 9 and trace.duplicates > 0
    assert trace.best == sorted(trace.best) and trace.best[-1] == 14
    assert trace.reported[-1] == 2  # of the network selected, not the best of its column


@pytest.mark.slow
def test_the_same_seed_gives_the_same_race(ours: Table) -> None:
    for name in STRATEGIES:
        once, again, other = (simulate(ours, name, seed, 25, "val", "test") for seed in (3, 3, 4))
        assert once == again != other


def test_networks_that_the_table_lacks_cost_nothing(toy: Path) -> None:
    toy.write_text("\n".join(line for line in toy.read_text().splitlines() if not line.startswith("12,pool")))
    trace = simulate(read_table(toy), "random", 0, 50, "val", "test")
    assert len(trace.best) == 7 and trace.absent > 0 and trace.best[-1] < 13


def test_regret_is_counted_from_the_best_of_the_table() -> None:
    traces = [Trace([90.0, 92.0], [80.0, 70.0], 1), Trace([91.0, 93.0], [60.0, 65.0], 2)]
    out = summary(traces, [1, 2, 5], 94.0)
    assert out["regret"] == {"1": 3.5, "2": 1.5, "5": 1.5}
    assert out["report"] == {"1": 70.0, "2": 67.5, "5": 67.5}
    assert out["duplicates"] == 1.5
    assert out["ci"]["1"] == pytest.approx(12.7062 * math.sqrt(0.5) / math.sqrt(2), abs=1e-3)  # t(0.975, 1 degree of freedom) = 12.7062


def test_random_search_on_nas_bench_201_matches_the_table_itself(nb201: Table) -> None:
    """Random's regret after 50 evaluations, published as 1.70, is a property of the table: the mean best of 50 draws."""
    values = sorted(nb201.column("c10_valid_e12"))
    size, draws, seeds = len(values), 50, 30
    chance = [((i + 1) / size) ** draws - (i / size) ** draws for i in range(size)]  # that the best of 50 is the i-th
    expected = values[-1] - sum(c * v for c, v in zip(chance, values, strict=True))
    spread = math.sqrt(sum(c * (values[-1] - v - expected) ** 2 for c, v in zip(chance, values, strict=True)))
    assert expected == pytest.approx(1.70, abs=0.05)
    regrets = [values[-1] - simulate(nb201, "random", seed, draws, "c10_valid_e12", "c10_test_e200").best[-1] for seed in range(seeds)]
    # duplicates are drawn again, which is worth a little: 1.58 by simulation
    assert abs(statistics.fmean(regrets) - expected) < 3 * spread / math.sqrt(seeds)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_workers_end_out_of_order(ours: Table, name: str) -> None:
    once, again = (simulate(ours, name, 1, 20, "val", "test", workers=8) for _ in range(2))
    assert once == again and len(once.best) == 20 and once.best == sorted(once.best)


def test_with_workers_later_asks_know_less(toy: Path) -> None:
    """With as many workers as networks the strategy does not matter: all is asked before anything is told."""
    table = read_table(toy)
    assert len(simulate(table, "local", 0, 9, "val", "test", workers=9).best) == 9
    assert simulate(table, "random", 0, 9, "val", "test", workers=1).best[-1] == 14


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most"),
    [("evolution", 0.6), ("local", 0.45), ("nsga2", 0.8), ("nsga3", 0.85), ("reinforce", 0.6)],
)
def test_ours_beat_random_on_nas_bench_201(nb201: Table, name: str, most: float) -> None:
    """Random is at 1.15 after 100 evaluations; the bounds leave room for three times the spread of a mean of 12."""
    best = nb201.best("c10_valid_e12")
    assert statistics.fmean(best - simulate(nb201, name, seed, 100, "c10_valid_e12", "c10_test_e200").best[-1] for seed in range(12)) < most


# ---------------------------------------------------------------- the command


@pytest.mark.thorough
def test_jobs_share_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    outs = []
    for jobs in ("1", "2"):
        words = ["--jobs", jobs, "--seeds", "2", "--strategies", "local", "--evals", "15", "--workers", "3", "--json"]
        assert main(["bench", *words]) == 0
        outs.append(json.loads(capsys.readouterr().out))
        outs[-1]["strategies"]["local"].pop("seconds")
    assert outs[0] == outs[1] and outs[0]["workers"] == 3


def test_a_plot_has_a_line_and_a_band_for_each_strategy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "regret.svg"
    assert main(["bench", "--seeds", "2", "--strategies", "random,local", "--evals", "10", "--plot", str(file)]) == 0
    root = ElementTree.parse(file).getroot()
    shapes = [node.tag.split("}")[1] for node in root.iter()]
    assert shapes.count("polygon") == 2 and {"random", "local"} <= {node.text for node in root.iter()}
    assert main(["bench", "--seeds", "1", "--strategies", "random", "--evals", "5", "--plot", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_curve_is_the_mean_with_half_its_interval() -> None:
    found = curve([Trace([90.0, 92.0]), Trace([91.0, 93.0])], 94.0, 3)
    assert [m for m, _ in found] == [3.5, 1.5, 1.5]
    assert found[0][1] == pytest.approx(12.7062 * math.sqrt(0.5) / math.sqrt(2), abs=1e-3)
    drawing = plot({"a": [(1.0, 0.1), (LEAST / 10, 0.0)]}, "regret")
    assert ElementTree.fromstring(drawing).get("aria-label") == "regret"


def test_speed_is_told_for_every_size(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasforge.commands.bench_speed.SIZES", (5, 50))
    assert main(["bench", "--speed", "--strategies", "random,local", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert out["trials"] == [5, 50]
    assert all(0 < ms[size] < 1000 for ms in out["strategies"].values() for size in ("5", "50"))
    assert main(["bench", "--speed", "--strategies", "random"]) == 0
    assert "median time of one ask and tell" in capsys.readouterr().out


def test_bench_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json", "--seeds", "2", "--strategies", "random,tpe", "--evals", "20,10"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert list(out["strategies"]) == ["random", "tpe"] and out["evals"] == [10, 20]
    for result in out["strategies"].values():
        assert result["regret"]["10"] >= result["regret"]["20"] >= 0
        assert 0 < result["report"]["20"] <= out["best"]["report"]
        assert set(result["ci"]) == {"10", "20"} and result["duplicates"] >= 0


def test_runs_start_at_the_first_seed(capsys: pytest.CaptureFixture[str]) -> None:
    def regret(seeds: int, first: int) -> float:
        words = ["--strategies", "random", "--evals", "5", "--json", "--seeds", str(seeds), "--first", str(first)]
        assert main(["bench", *words]) == 0
        return json.loads(capsys.readouterr().out)["strategies"]["random"]["regret"]["5"]

    assert regret(2, 7) == pytest.approx((regret(1, 7) + regret(1, 8)) / 2, abs=1e-4)
    assert regret(1, 7) != regret(1, 0)


def test_bench_prints_a_table(capsys: pytest.CaptureFixture[str], toy: Path) -> None:
    columns = ["--select", "val", "--report", "test"]
    assert main(["bench", "--table", str(toy), *columns, "--seeds", "1", "--strategies", "nsga2", "--evals", "3"]) == 0
    out = capsys.readouterr().out
    assert "regret@3" in out and "test@3" in out and "nsga2" in out and "12 sets of choices" in out


@pytest.mark.slow
def test_bench_takes_any_column_of_a_table_of_official_strings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    rows = [f"|{a}~0|+|{b}~0|none~1|+|skip_connect~0|{a}~1|{b}~2|,{i},{-i}" for i, (a, b) in enumerate((a, b) for a in OPS for b in OPS)]
    table.write_text("\n".join(["arch,speed,heat", *rows]))
    assert main(["bench", "--table", str(table), "--select", "speed", "--report", "heat", "--seeds", "1", "--strategies", "random",
                 "--evals", "2", "--json"]) == 0  # fmt: skip
    out = json.loads(capsys.readouterr().out)
    assert out["networks"] == 25 and out["best"] == {"select": 24.0, "report": 0.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategies", "randon"], "did you mean 'random'"),
        (["--strategies", ","], "at least one"),
        (["--evals", "10,x"], "--evals 10,x"),
        (["--evals", "0"], "whole numbers >= 1"),
        (["--seeds", "0"], "--seeds"),
        (["--first", "-1"], "--first: must not be negative"),
        (["--workers", "0"], "--workers: must be at least 1"),
        (["--jobs", "0"], "--jobs: must be at least 1"),
        (["--select", "vall"], "--select vall: .* did you mean 'val'"),
        (["--table", "nowhere.csv"], "nowhere.csv: cannot be read"),
    ],
)
def test_mistakes_are_said(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["bench", *words]) == 2
    streams = capsys.readouterr()
    assert not streams.out
    assert re.search(message, streams.err), streams.err


@pytest.mark.slow
def test_a_search_may_look_its_networks_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = OURS.with_name("digits_table.yaml")
    command = ["search", str(space), "--evaluator", "table", "--objective", "accuracy", "--trials", "20", "--strategy", "random", "--json"]
    assert main([*command, "--run", str(tmp_path / "run"), "--no-control", "--finalists", "2", "--final-seeds", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    of = read_table()
    assert found["finished"] == 20 and found["failed"] == 0
    assert found["best"]["val"] == pytest.approx(found["best"]["search_val"]) and found["best"]["test_mean"] is not None
    assert 100 * found["best"]["val"] <= of.best("val") + 1e-6
    assert main([*command, "--run", str(tmp_path / "b"), "--select", "nonsense"]) == 2
    assert "--select nonsense" in capsys.readouterr().err
    losses = tmp_path / "t.jsonl"
    losses.write_text(_run())
    assert main([*command, "--run", str(tmp_path / "b"), "--table", str(losses)]) == 2
    assert "must hold accuracies, got losses; `nasforge bench`" in capsys.readouterr().err
