"""The example of docs/plugins.md, searched on a Ray cluster that is started here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, ranks_example

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
WORDS = (
    "search space.yaml --data set.ranks --task ranking --strategy modest --scheduler last_of_all --trials 3 --epochs 2 "
    "--final-epochs 2 --finalists 1 --final-seeds 1 --no-control --runner ray --ray --workers 2 --plugin ranks.py --allow-code "
    "--run run --export python --json"
)


@pytest.mark.thorough
def test_ray_actors_load_the_plugins_of_the_driver(tmp_path: Path) -> None:
    ranks_example(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "nasforge", *WORDS.split()], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["finished"], found["failed"], found["best"]["metric"]) == (3, 0, "rank_error")
    assert found["exported"]["largest_difference"] == 0
