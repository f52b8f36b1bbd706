"""A real search under a latency limit: what it hands over keeps the limit when it is measured again."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from random import Random

import pytest

from nasforge.cli import main
from nasforge.data import Source
from nasforge.evaluation.train import fit_to_data
from nasforge.latency import measure_many
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import find_space, read
from nasforge.spaces.space import Space
from nasforge.tasks import load_data

pytestmark = pytest.mark.thorough


def test_no_finalist_is_over_the_limit_when_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = Space(fit_to_data(read(find_space("digits")), load_data(Source("digits"))))
    some = measure_many([space.draw(random_chooser(Random(seed)))[0] for seed in range(15)])
    bound = round(statistics.median(one.median_ms for one in some), 3)
    words = ["search", "digits", "--run", str(tmp_path / "run"), "--constraint", f"latency_ms<={bound}", "--trials", "10", "--epochs", "2"]
    assert main([*words, "--final-epochs", "2", "--final-seeds", "2", "--finalists", "3", "--no-control", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["infeasible"] > 0
    kept = [read(row["arch"]) for row in summary["finalists"] if not row["refused"]]
    again = [round(one.median_ms, 4) for one in measure_many(kept)]
    before = [row["latency_ms"] for row in summary["finalists"]]
    assert kept and max(again) <= bound, f"limit {bound}, measured in the search {before}, now {again}"
