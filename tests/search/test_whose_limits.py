"""A search says of each limit and objective who set it, and the space's own are lifted by a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nasforge.api.named import arch_named, space_named
from nasforge.data import Source, load
from nasforge.errors import UserError
from nasforge.search.opening import opening
from nasforge.search.plan import Plan
from nasforge.search.settings import plan_of
from nasforge.tasks import load_data

OWN: dict[str, Any] = {"search": {"objective": "accuracy,-macs"}, "constraints": {"macs": 4.0e6, "params": 3.0e4}}


def asked(own: dict[str, Any] = OWN, **given: Any) -> tuple[Plan, dict[str, str]]:
    """The plan, and the lines that open the search by their names."""
    raw = {**{k: v for k, v in space_named("digits").items() if k not in ("search", "constraints")}, **own}
    data = load("digits", limit=100)
    plan = plan_of(raw, given, arch_named, lambda note: None, data)
    lines = [line.split(maxsplit=1) for line in opening(plan, raw, data)]
    return plan, {name: text for name, text in lines if name in ("limits", "objective")}


def test_limits_of_the_space_stay_beside_a_given_one_and_are_told() -> None:
    plan, said = asked(constraint=["size<=100kB"])
    assert [str(limit) for limit in plan.limits] == ["macs<=4000000", "params<=30000", "weight_bytes<=100000"]
    assert said["limits"] == (
        "macs<=4,000,000 (of the space; --constraint none lifts it), params<=30,000 (of the space; --constraint none lifts it), "
        "weight_bytes<=100,000 (--constraint)"
    )
    assert said["objective"] == "high accuracy, low macs (of the space; --objective gives another)"


def test_a_word_lifts_them() -> None:
    plan, said = asked(constraint=["none", "size<=100kB"])
    assert [str(limit) for limit in plan.limits] == ["weight_bytes<=100000"]
    assert said["limits"] == "weight_bytes<=100,000 (--constraint); not the space's own macs<=4000000 and params<=30000"
    plan, said = asked(constraint=["none"])
    assert not plan.limits and said["limits"] == "none; not the space's own macs<=4000000 and params<=30000"


def test_a_given_one_of_the_same_metric_goes_before() -> None:
    plan, said = asked(constraint=["macs<=1M"])
    assert [str(limit) for limit in plan.limits] == ["macs<=1000000", "params<=30000"]
    assert said["limits"].startswith("macs<=1,000,000 (--constraint), ") and said["limits"].endswith("; not the space's own macs<=4000000")


def test_objectives_say_who_set_them() -> None:
    assert asked(objective="accuracy")[1]["objective"] == "high accuracy (--objective)"
    assert asked({})[1] == {"limits": "none", "objective": "high accuracy, low params (the default; --objective gives another)"}


def test_none_is_no_word_of_until() -> None:
    with pytest.raises(UserError, match="--until"):
        asked(until=["none"])


def test_the_columns_of_a_table_are_told_by_their_names(tmp_path: Path) -> None:
    rows = [f"{'' if i == 7 else i},{('Rome', 'Paris', '')[i % 3]},{1000 + i}" for i in range(60)]
    (tmp_path / "houses.csv").write_text("area,city,price\n" + "\n".join(rows), encoding="utf-8")
    data = load_data(Source(str(tmp_path / "houses.csv"), task="regression", target="price"))
    raw = space_named("tabular")
    plan = plan_of(raw, {}, arch_named, lambda note: None, data)
    said = dict(line.split(maxsplit=1) for line in opening(plan, raw, data))
    assert said["target"] == "value: 1 value: price"
    assert said["columns"] == (
        "area: 1 empty cell, counted as the mean of the column; city: 2 names, one column each; 20 empty cells, counted as none of them"
    )
