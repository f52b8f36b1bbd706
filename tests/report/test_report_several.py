"""Several runs side by side, and trials as flat tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from support import Balanced, Killed, MadeUpRunner, made_up_run

import nasforge as nf
from nasforge.cli import main
from nasforge.data import Source
from nasforge.objectives.objective import parse_limit, parse_objectives
from nasforge.report import collect
from nasforge.report.several import differing, ranked, side_by_side, unlike, words, write_several
from nasforge.report.trials import names_of, rows_of, trial_rows, write_csv

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    found = {"one": made_up_run(folder / "one")}
    found["two"] = made_up_run(folder / "two", strategy="random", seed=5, limits=(parse_limit("params<=9000"),))
    losses = tuple(parse_objectives("-loss,-params"))
    found["sums"] = made_up_run(folder / "sums", MadeUpRunner(finds=["loss"]), objectives=losses, limits=())
    with pytest.raises(Killed):
        made_up_run(folder / "killed", MadeUpRunner(end_after=12))
    return {**found, "killed": folder / "killed"}


def test_rows_say_what_the_summaries_say(runs: dict[str, Path]) -> None:
    found = [collect(runs[name]) for name in ("one", "two", "killed")]
    one, two, killed = side_by_side(found)
    for row, run in zip((one, two), found, strict=False):
        best = run.best()
        assert best is not None and (row["best"], row["test_mean"], row["params"]) == (best["name"], best["test_mean"], best["params"])
        assert row["seconds"] == run.seconds["total"] and row["state"] == "finished" and row["trials"] == 24
    leader = found[2].leader()
    assert leader is not None and killed["best"] == f"trial {leader.number}" and killed["test_mean"] is None
    assert killed["val"] == leader.metrics["accuracy"] and killed["state"] == "unfinished" and killed["trials"] < killed["asked"] == 24


def test_what_differs_is_named_and_nothing_else(runs: dict[str, Path]) -> None:
    one, two = collect(runs["one"]), collect(runs["two"])
    found = differing([one, two])
    assert found == {"strategy": ["predictor", "random"], "limits": [["params<=20000"], ["params<=9000"]], "seed": [0, 5]}
    assert differing([one, one]) == {} and "settings of these runs are the same" in words([one, one])


def test_the_page_holds_every_run_and_stands_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    found = [collect(folder) for folder in runs.values()]
    path = write_several(found, tmp_path / "made" / "page.html")
    html = path.read_text(encoding="utf-8")
    parsed = Balanced(html)
    assert "http" not in html and "<script" not in html and "side by side" in parsed.words
    for name in runs:
        assert html.count(f">{name}<") >= 2, "in the table of results and over a column of what differs"
    assert html.count('class="front run') >= 4  # three runs by one metric, for wide and narrow pages
    assert "not yet" in parsed.words and "without runs that are judged by something else than accuracy" in html.replace("\u00a0", " ")


def test_runs_are_sorted_by_the_first_objective(runs: dict[str, Path], tmp_path: Path) -> None:
    best = made_up_run(tmp_path / "best", trials=30, seed=3)
    found = [collect(folder) for folder in (runs["killed"], runs["two"], runs["one"], best)]
    rows = side_by_side(ranked(found))
    scores = [row["test_mean"] for row in rows[:3]]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 3 and rows[3]["run"] == "killed"
    low = [collect(runs["sums"]), collect(made_up_run(tmp_path / "low", MadeUpRunner(finds=["loss"]), seed=8,
                                                     objectives=tuple(parse_objectives("-loss"))))]  # fmt: skip
    errors = [row["test_mean"] for row in side_by_side(ranked(low))]
    assert errors == sorted(errors) and "sorted by loss" in words(ranked(low))


def test_what_makes_runs_unlike_is_named(runs: dict[str, Path], tmp_path: Path) -> None:
    one, two, sums = (collect(runs[name]) for name in ("one", "two", "sums"))
    assert unlike([one, one]) == []
    (limits,) = unlike([one, two])
    assert limits.endswith("was not asked for (one: params<=20000; two: params<=9000).")
    told = unlike([one, sums])
    assert told[0] == "They are judged by different metrics (one: accuracy; sums: loss)."
    assert told[1].startswith("They wish for different things") and "(one: accuracy, -params; sums: -loss, -params)" in told[1]
    part = collect(made_up_run(tmp_path / "part", data=Source("digits", limit=300)))
    assert unlike([one, part]) == [
        "Their data have one name but other contents or another split, so their scores cannot be compared (one: seed 0; part: limit 300, "
        "seed 0)."
    ]
    said, page = words([one, part]), write_several([one, part], tmp_path / "page.html").read_text(encoding="utf-8")
    assert said.startswith("careful: Their data have one name") and "Careful: Their data have one name" in page


def test_what_some_run_limits_is_a_column_of_all(runs: dict[str, Path], tmp_path: Path) -> None:
    sized = collect(made_up_run(tmp_path / "sized", limits=(parse_limit("size<=60kB"),)))
    rows = side_by_side([collect(runs["one"]), sized])
    for row in rows:
        assert list(row["quantities"]) == ["weight_bytes"] and 4 * row["params"] <= row["quantities"]["weight_bytes"] < 4.5 * row["params"]
    assert "bytes of weights" in words([collect(runs["one"]), sized])


def test_one_page_lies_beside_the_first_run(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs["one"]), str(runs["two"]), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["report"]).resolve() == (runs["one"].parent / "comparison.html").resolve() and Path(told["report"]).is_file()
    assert [row["run"] for row in told["runs"]] == ["one", "two"] and "against" not in told and "strategy" in told["differ"]
    assert main(["report", str(runs["one"]), str(runs["two"])]) == 0
    assert "what differs:" in capsys.readouterr().out


def test_a_run_is_named_once(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs["one"]), str(runs["one"])]) == 2
    assert "must be named once" in capsys.readouterr().err


def test_runs_of_one_name_are_told_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(runs["one"])
    assert names_of([collect(runs["one"]), collect(runs["two"])]) == ["one", "two"]
    other = made_up_run(tmp_path / "again" / "one", trials=3, control=False, baselines={}, finalists=1, final_seeds=1)
    assert names_of([collect(runs["one"]), collect(other)]) == [f"{runs['one'].parent.name}/one", "again/one"]


# ---------------------------------------------------------------- flat rows


def test_rows_hold_records(runs: dict[str, Path]) -> None:
    run = collect(runs["one"])
    rows = trial_rows(run)
    assert [row["number"] for row in rows] == sorted(run.search.records)
    for row in rows:
        record = run.search.records[row["number"]]
        assert row["kind"] == record.kind and row["epochs"] == len(record.curve) and row.get("message", "") == record.message
        assert record.metrics.items() <= row.items() and record.choices.items() <= row.items()
        assert row["seconds"] == sum(record.seconds.values())


def test_csv_of_several_runs(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "all" / "trials.csv"
    assert main(["report", str(runs["one"]), str(runs["two"]), "--csv", str(table), "--json"]) == 0
    json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0])[:4] == ["run", "study", "number", "kind"]
    for name, folder in (("one", runs["one"]), ("two", runs["two"])):
        for study, ledger in collect(folder).ledgers.items():
            mine = [row for row in rows if (row["run"], row["study"]) == (name, study)]
            assert [int(row["number"]) for row in mine] == sorted(ledger.records)
            for row in mine:
                assert float(row["params"] or -1) == ledger.records[int(row["number"])].metrics.get("params", -1)
    frame = nf.trials(runs["one"], runs["two"])
    assert len(frame) == len(rows) and set(frame.run) == {"one", "two"}


def test_csv_of_one_run(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs["one"]), "--csv", str(tmp_path / "t.csv"), "--out", str(tmp_path / "p.html")]) == 0
    assert f"trials: {tmp_path / 't.csv'}" in capsys.readouterr().out and (tmp_path / "p.html").is_file()
    assert (tmp_path / "t.csv").read_text().splitlines()[0].startswith("number,kind,key,")


def test_a_text_is_no_formula(tmp_path: Path) -> None:
    write_csv([{"number": 0, "choice": "=HYPERLINK()", "accuracy": -0.5}], tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "number,choice,accuracy\n0,'=HYPERLINK(),-0.5\n"


def test_rows_of_controls_are_marked(runs: dict[str, Path]) -> None:
    assert {row["study"] for row in rows_of([collect(runs["one"])])} == {"search", "control"}
