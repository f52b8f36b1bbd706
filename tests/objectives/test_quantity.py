"""Numbers with units, as limits say them."""

from __future__ import annotations

from pathlib import Path

import pytest

import nasforge as nf
from nasforge.api.networks import limits_of as fit_limits
from nasforge.errors import UserError
from nasforge.objectives.metrics import full_name, metric
from nasforge.objectives.objective import limits_of, parse_limit, parse_objectives
from nasforge.objectives.quantity import quantity


@pytest.mark.parametrize(
    ("text", "stands_for"),
    [
        ("size<=1MB", "weight_bytes<=1000000"),
        ("size<=1.5 MiB", "weight_bytes<=1572864"),
        ("weight_bytes<200kB", "weight_bytes<200000"),
        ("params<20k", "params<20000"),
        ("macs<=300M", "macs<=300000000"),
        ("macs<=1.2G", "macs<=1200000000"),
        ("latency<=5ms", "latency_ms<=5"),
        ("latency_ms<=5", "latency_ms<=5"),
        ("latency@pi<=.25s", "latency_ms@pi<=250"),
        ("latency<=800us", "latency_ms<=0.8"),
        ("accuracy>=98%", "accuracy>=0.98"),
        ("params<=1_000_000", "params<=1000000"),
        ("params<=2e6", "params<=2000000"),
    ],
)
def test_limits_with_units(text: str, stands_for: str) -> None:
    assert str(parse_limit(text)) == stands_for
    assert parse_limit(stands_for) == parse_limit(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("params<=1MB", "the bound must be a number with or without a unit of k, M, G, B, T, got '1MB'"),
        ("size<=5ms", "with or without a unit of B, kB"),
        ("latency<=fast", "got 'fast'"),
        ("loss<=1k", "the bound must be a number, got '1k'"),
        ("params<=", "must be METRIC<=NUMBER"),
        ("accuracy>=98", "accuracy is a share of at most 1, got 98; for per cent write 98%"),
        ("params<=nan", "got 'nan'"),
        ("params<=1e999", "got '1e999'"),
        ("sise<=1MB", "'sise' is no metric; did you mean 'size'"),
    ],
)
def test_units_that_do_not_fit_are_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_limit(text)


def test_units_in_a_space_file_and_of_scale() -> None:
    assert [str(x) for x in limits_of({"size": "1MB", "macs": "4M", "accuracy": "90%", "params": 3})] == [
        "weight_bytes<=1000000", "macs<=4000000", "accuracy>=0.9", "params<=3",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"constraints\.macs: must be a number with or without a unit"):
        limits_of({"macs": "4 apples"})
    with pytest.raises(UserError, match=r"constraints\.accuracy: accuracy is a share of at most 1, got 98; for per cent write 98%"):
        limits_of({"accuracy": 98})
    assert fit_limits("macs<=300M,size=1MB,memory=2MiB") == {"macs": 3e8, "weight_bytes": 1e6, "memory": 2**21}
    with pytest.raises(UserError, match="--fit params=few: must be METRIC=NUMBER"):
        fit_limits("params=few")
    assert nf.scale("resnet20", fit="params<=20k") == nf.scale("resnet20", fit={"params": 20_000})


def test_other_names_of_metrics() -> None:
    assert [str(o) for o in parse_objectives("accuracy,-size,-latency@pi")] == ["accuracy", "-weight_bytes", "-latency_ms@pi"]
    assert full_name("params") == "params" and full_name("size") == "weight_bytes"
    assert quantity("2.5", metric("loss")) == 2.5


def test_a_search_keeps_a_limit_with_a_unit(tmp_path: Path) -> None:
    brief = {"epochs": 1, "final_epochs": 1, "finalists": 1, "final_seeds": 1, "strategy": "random", "runner": "inline", "trials": 3}
    run = nf.search("digits", "digits", data_limit=300, constraints=["size<=20kB"], run=tmp_path / "run", show=False, page=False, **brief)
    assert run.summary["constraints"][-1] == "weight_bytes<=20000"
    assert all(record["params"] * 4 <= 20_000 for record in run.summary["finalists"])
