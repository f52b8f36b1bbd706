"""Objectives, limits, fronts, schedulers, storage: the parts of a search, each alone."""

from __future__ import annotations

from pathlib import Path
from random import Random

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasforge.errors import UserError
from nasforge.objectives.objective import limits_of, losses, parse_limit, parse_objectives
from nasforge.objectives.pareto import dominates, front, hypervolume
from nasforge.search.timing import Timing
from nasforge.storage.lock import DriverLock
from nasforge.storage.open import JOURNAL, open_storage
from nasforge.strategies.schedulers import asha, median, rank, ranks, rungs

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


def test_objectives_and_limits_read_as_written() -> None:
    assert [(o.metric, o.maximize) for o in parse_objectives("accuracy,-params")] == [("accuracy", True), ("params", False)]
    limit = parse_limit("latency_ms <= 5")
    assert str(limit) == "latency_ms<=5" and limit.excess(6) == pytest.approx(0.2) and limit.excess(4) < 0
    assert parse_limit("accuracy>=0.9").excess(0.8) > 0
    assert [str(x) for x in limits_of({"params": 2e6, "accuracy": 0.5})] == ["params<=2000000", "accuracy>=0.5"]


@pytest.mark.parametrize("text", ["acuracy", "accuracy,accuracy", ""])
def test_bad_objectives(text: str) -> None:
    with pytest.raises(UserError, match="--objective"):
        parse_objectives(text)


@pytest.mark.parametrize("text", ["params", "params<=", "params<=x", "parms<=3", "params==3", "params<=nan"])
def test_bad_limits(text: str) -> None:
    with pytest.raises(UserError, match="--constraint"):
        parse_limit(text)


@given(POINTS)
def test_a_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    kept = {points[i] for i in front(points)}
    assert kept == {p for p in points if not any(dominates(q, p) for q in points)}


@given(POINTS)
def test_hypervolume_counts_the_dominated_cells(points: list[tuple[int, int]]) -> None:
    cells = sum(any(p[0] <= x and p[1] <= y for p in points) for x in range(10) for y in range(10))
    assert hypervolume(points, (10, 10)) == cells


def test_hypervolume_in_three_dimensions_by_hand() -> None:
    assert hypervolume([(0, 0, 1), (1, 1, 0)], (2, 2, 2)) == 4 + 2 - 1


def test_asha_keeps_the_best_third_at_its_rungs() -> None:
    assert rungs(20) == [1, 3, 9]
    others = [[(float(i),)] * 9 for i in range(9)]
    assert not asha(others, [(1.5,)], 20) and asha(others, [(3.5,)], 20)
    assert not asha(others, [(8.5,)] * 2, 20)  # epoch 2 is no rung
    assert not asha(others[:3], [(8.5,)], 20)  # too few to compare with


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_ranks_count_what_dominates(objectives: int) -> None:
    rng = Random(objectives)
    points = [tuple(rng.choice([0.0, 1.0, 2.0, 2.5]) for _ in range(objectives)) for _ in range(60)]
    assert ranks(points) == [rank(p, points) for p in points]
    assert ranks([]) == []


def test_schedulers_spare_what_is_good_on_any_objective() -> None:
    others = [[(float(i), 10.0 - i)] * 3 for i in range(9)]  # a front
    assert not asha(others, [(4.5, 5.2)], 20) and not median(others, [(4.5, 5.2)], 20)
    assert asha(others, [(9.0, 11.0)], 20) and median(others, [(9.0, 11.0)], 20)


def test_median_never_stops_the_last_epoch() -> None:
    assert not median([[(0.0,)] * 3] * 8, [(1.0,)] * 3, 3)


def test_a_torn_last_line_is_cut_off_and_damage_elsewhere_is_refused(tmp_path: Path) -> None:
    study = optuna.create_study(storage=open_storage(tmp_path, None), study_name="search")
    study.tell(study.ask(), 1.0)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "worke')
    again = optuna.load_study(study_name="search", storage=open_storage(tmp_path, None))
    assert [t.value for t in again.trials] == [1.0] and path.read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    path.write_bytes(lines[0] + b"damage\n" + b"".join(lines[1:]))
    with pytest.raises(UserError, match=f"{JOURNAL}:2: the journal is damaged"):
        open_storage(tmp_path, None)


def test_one_driver_a_run(tmp_path: Path) -> None:
    lock = DriverLock(tmp_path)
    with pytest.raises(UserError, match="another search is running"):
        DriverLock(tmp_path)
    lock.close()
    DriverLock(tmp_path).close()


def test_an_unreachable_storage_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--storage: cannot be opened"):
        open_storage(tmp_path, "nonsense://nowhere/none")


def test_the_timing_adds_up() -> None:
    timing = Timing()
    timing.carry({"total": 10.0, "busy": 8.0, "training": 7.0, "overhead": 2.0})
    timing.started(1)
    timing.started(2)
    timing.ended(1, {"training": 3.0})
    timing.ended(2, {"training": 1.0, "measuring": 0.5})
    totals = timing.totals()
    assert totals["training"] == 11.0 and totals["measuring"] == 0.5 and totals["overhead"] == pytest.approx(2.0, abs=0.1)


def test_a_weighted_product_is_an_objective() -> None:
    (product,) = parse_objectives("accuracy*(macs/100)^-0.07*(params/10)^-1")
    assert product.value({"accuracy": 0.5, "macs": 100, "params": 20}) == pytest.approx(0.25)
    assert product.reads == {"accuracy", "macs", "params"} and product.maximize
    assert parse_objectives(str(product)) == [product]
    assert losses({"accuracy": 0.5, "macs": 200.0, "params": 10}, [product])[0] == pytest.approx(-0.5 * 2**-0.07)


@pytest.mark.parametrize("text", ["accuracy*(mac/1)^-1", "accuracy*(macs/0)^-1", "accuracy*macs", "accuracy*(macs/1e)^1"])
def test_a_wrong_product_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--objective"):
        parse_objectives(text)
