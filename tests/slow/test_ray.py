"""Searches on a Ray cluster started here."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nasforge.errors import UserError
from nasforge.evaluate import DataSpec, Job, Result
from nasforge.files import find_space, read
from nasforge.runners.ray import RayRunner
from nasforge.search.objectives import parse_objectives
from nasforge.search.plan import Plan
from nasforge.search.session import search

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)] if False else [pytest.mark.slow]

ARCH = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 4, "stride": 2}}], "head": [{"pool": {"kind": "avg"}}, "linear"]}
JOB = Job(ARCH, DataSpec("digits"), recipe={"epochs": 3})


def plan(**changes: Any) -> Plan:
    """A search of six trials on the digits."""
    base = Plan(
        read(find_space("digits")), DataSpec("digits"), tuple(parse_objectives("accuracy,-params")), strategy="random", trials=6,
        recipe={"epochs": 2}, final_recipe={"epochs": 1}, finalists=1, final_seeds=1,
    )  # fmt: skip
    return replace(base, **changes)


def jobs(*given: Job) -> Callable[[], tuple[int, Job] | None]:
    """What a runner asks for its next job."""
    left = list(enumerate(given))
    return lambda: left.pop(0) if left else None
