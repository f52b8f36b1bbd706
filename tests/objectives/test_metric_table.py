"""The metric table, and objectives and limits of metrics of something in particular."""

from __future__ import annotations

import math

import pytest

from nasforge.errors import UserError
from nasforge.objectives.metrics import METRICS, Known, is_metric, metric, metric_or_value, names, trained
from nasforge.objectives.objective import (
    Objective,
    epoch_losses,
    limits_of,
    losses,
    parse_limit,
    parse_objectives,
    scaled,
    validation,
    with_limits,
)

UNITS = {"share", "count", "bytes", "ms", "number"}


@pytest.mark.parametrize("name", list(METRICS))
def test_every_row_says_what_is_needed(name: str) -> None:
    row = METRICS[name]
    assert row.name == name and name.isidentifier() and name == name.lower()
    assert row.title and row.title == row.title.strip() and "_" not in row.title
    assert isinstance(row.maximize, bool) and row.unit in UNITS and isinstance(row.known, Known)
    assert metric(name) is row and is_metric(name) and metric_or_value(name) is row
    assert row.is_cost == (row.unit in ("count", "bytes", "ms"))
    assert not (row.is_cost and row.maximize)  # less of a cost is better
    if row.unit == "share":
        assert row.maximize and row.known is Known.TRAINED


def test_no_two_rows_look_alike() -> None:
    assert len({row.title for row in METRICS.values()}) == len(METRICS)


def test_the_times_when_metrics_are_known() -> None:
    assert names(Known.PAPER) == ("params", "macs", "weight_bytes", "peak_bytes", "activation_bytes")
    assert names(Known.MEASURED) == ("latency_ms",) and names(Known.PREDICTED) == ()
    assert {"accuracy", "miou", "mse", "perplexity"} <= set(names(Known.TRAINED))
    assert trained(["accuracy", "params", "latency_ms@phone", "miou@mask", "synflow"]) == ["accuracy", "miou@mask"]


def test_a_metric_of_something_in_particular() -> None:
    phone, mask = metric("latency_ms@phone"), metric("miou@mask")
    assert (phone.name, phone.title, phone.known) == ("latency_ms@phone", "latency on phone", Known.PREDICTED)
    assert phone.is_cost and not phone.maximize and phone.unit == "ms"
    assert (mask.name, mask.title, mask.known) == ("miou@mask", "mean IoU of mask", Known.TRAINED)
    assert mask.maximize and mask.unit == "share"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("acuracy", "did you mean 'accuracy'"),
        ("miuo", "did you mean 'miou'"),
        ("latency@phone", "did you mean 'latency_ms'"),
        ("accuracy@", "must be a known name, got 'accuracy@'"),
        ("@mask", "`nasforge metrics` lists all 26"),
        ("", "got ''; `nasforge metrics` lists all 26"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name: str, words: str) -> None:
    assert not is_metric(name)
    with pytest.raises(UserError, match=words):
        metric(name)


def test_a_plain_number_stands_for_what_is_no_metric() -> None:
    found = metric_or_value("column 7")
    assert (found.name, found.maximize, found.unit, found.known) == ("column 7", True, "number", Known.TRAINED)


def test_objectives_of_heads_and_devices() -> None:
    made = parse_objectives("miou@mask, -mse@age, -latency_ms@phone")
    assert [(o.metric, o.maximize) for o in made] == [("miou@mask", True), ("mse@age", False), ("latency_ms@phone", False)]
    assert [o.described.title for o in made] == ["mean IoU of mask", "mean squared error of age", "latency on phone"]
    assert losses({"miou@mask": 0.5, "mse@age": 3.0, "latency_ms@phone": 2.0}, made) == (-0.5, 3.0, 2.0)
    (product,) = parse_objectives("miou@mask*(latency_ms@phone/5)^-0.07")
    assert product.base == "miou@mask" and product.reads == {"miou@mask", "latency_ms@phone"}
    assert product.value({"miou@mask": 0.5, "latency_ms@phone": 5.0}) == 0.5
    with pytest.raises(UserError, match=r"'mio@mask' is no metric; did you mean 'miou'"):
        parse_objectives("mio@mask")


def test_a_limit_of_a_space_goes_the_way_of_its_metric() -> None:
    found = [str(limit) for limit in limits_of({"params": 5, "accuracy": 0.9, "mse": 2.5, "r2": 0.5, "latency_ms@phone": 3})]
    assert found == ["params<=5", "accuracy>=0.9", "mse<=2.5", "r2>=0.5", "latency_ms@phone<=3"]
    with pytest.raises(UserError, match=r"constraints\.parms: no metric has that name; did you mean 'params'"):
        limits_of({"parms": 5})
    with pytest.raises(UserError, match=r"constraints\.params: must be a number, got True"):
        limits_of({"params": True})


def test_a_limit_on_what_training_tells_is_watched_as_an_objective() -> None:
    wanted = parse_objectives("accuracy,-params")
    limits = [parse_limit(text) for text in ("mse<=3", "macs<=9", "accuracy>=0.9", "miou@mask>=0.5")]
    assert [str(o) for o in with_limits(wanted, limits)] == ["accuracy", "-params", "-mse", "miou@mask"]


def test_a_row_of_a_curve_as_metrics_on_val() -> None:
    row = {"epoch": 3, "loss": 1.0, "val_loss": 2.0, "accuracy": 0.5, "miou@mask": 0.25, "lr": 0.1, "seconds": 9.0, "params": 7.0}
    assert validation(row) == {"loss": 2.0, "accuracy": 0.5, "miou@mask": 0.25}
    assert epoch_losses(row, {"params": 7.0, "accuracy": 0.9}, parse_objectives("accuracy,-params,-loss")) == (-0.5, 7.0, 2.0)


def test_halving_a_cost_or_an_error_counts_alike_everywhere() -> None:
    wanted = parse_objectives("accuracy,-params,-mse")
    found = [scaled({"accuracy": a, "params": p, "mse": 3.0}, wanted) for a, p in ((0.8, 1e6), (0.9, 5e5), (0.95, 2.5e5))]
    for before, after in ((found[0], found[1]), (found[1], found[2])):
        assert after[0] - before[0] == pytest.approx(-math.log10(2)) and after[1] - before[1] == pytest.approx(-math.log10(2))
        assert after[2] == before[2] == 3.0
    assert scaled({"accuracy": 1.0}, [Objective("accuracy", True)]) == (-3.0,)  # an error of nothing is a thousandth


@pytest.mark.parametrize(("word", "keeps", "breaks"), [
    ("params<16026", (16025.0, 0.0), (16026.0, 16027.0)), ("params<=16026", (16025.0, 16026.0), (16027.0,)),
    ("accuracy>.97", (0.98,), (0.97, 0.96)), ("accuracy>=.97", (0.97, 0.98), (0.96,)), ("params<0", (-1.0,), (0.0, 1.0)),
])  # fmt: skip
def test_a_strict_limit_is_strict(word: str, keeps: tuple[float, ...], breaks: tuple[float, ...]) -> None:
    limit = parse_limit(word)
    assert all(limit.excess(value) <= 0 for value in keeps) and all(limit.excess(value) > 0 for value in breaks)
    assert parse_limit(str(limit)) == limit
