"""Limits on latency: predicted by profiles while searching, of this machine and of others, and told where nothing keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support import Inline, quick, records, small_plan

from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.latency import write_profile
from nasforge.latency.profile import profile_of
from nasforge.networks.cost import count
from nasforge.objectives.objective import parse_limit
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Space


def made_up_ms(arch: Arch) -> float:
    """A device on which time is work: a twentieth of a microsecond for each multiply-add."""
    return 0.1 + 5e-5 * count(arch).macs


def profile_file(space: Space, path: Path, slower: float = 1.0, device: str = "cpu") -> Path:
    archs: Sequence[Arch] = [space.draw(random_chooser(Random(seed)))[0] for seed in range(24)]
    about: dict[str, Any] = {
        "runtime": "eager", "device": device, "threads": 1, "batch": 1, "precision": "float32",
        "processor": "made up", "versions": {}, "date": "2026-01-01", "space": "test",
    }  # fmt: skip
    return write_profile(profile_of(archs, [slower * made_up_ms(a) for a in archs], {}, **about), path)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return small_plan(trials=10)


def test_a_limit_on_another_device_holds_by_its_profile(plan: Plan, tmp_path: Path) -> None:
    space = Space(plan.space)
    times = sorted(3 * made_up_ms(space.draw(random_chooser(Random(seed)))[0]) for seed in range(40))
    bound = times[20]
    limits = (parse_limit(f"latency_ms@phone<={bound}"),)
    chosen = replace(plan, limits=limits, profiles={"phone": str(profile_file(space, tmp_path / "phone.json", slower=3.0))})
    runner = Inline(quick)
    summary = search(chosen, tmp_path / "run", lambda: runner, lambda status: None)
    trained = [job.arch for job in runner.jobs]
    assert summary["infeasible"] > 0 and trained
    assert all(3 * made_up_ms(arch) <= bound for arch in trained)
    assert all(r["metrics"]["latency_ms@phone"] <= bound for r in records(tmp_path / "run") if r["kind"] == "finished")


def test_what_this_machines_profile_is_sure_of_is_not_trained(plan: Plan, tmp_path: Path) -> None:
    space = Space(plan.space)
    times = sorted(made_up_ms(space.draw(random_chooser(Random(seed)))[0]) for seed in range(40))
    bound = times[20]
    chosen = replace(plan, limits=(parse_limit(f"latency_ms<={bound}"),), profiles={"": str(profile_file(space, tmp_path / "here.json"))})
    runner = Inline(quick)
    search(chosen, tmp_path / "run", lambda: runner, lambda status: None)
    assert all(made_up_ms(job.arch) <= 1.3 * bound for job in runner.jobs)  # those that are near are measured
    refused = [r for r in records(tmp_path / "run") if r["kind"] == "infeasible"]
    assert refused and all("predicted" in r["message"] and r["metrics"]["predicted_latency_ms"] > bound for r in refused)


def test_an_impossible_limit_names_the_fastest_network(plan: Plan, tmp_path: Path) -> None:
    chosen = replace(
        plan, limits=(parse_limit("latency_ms<=0.01"),), profiles={"": str(profile_file(Space(plan.space), tmp_path / "p.json"))}
    )
    with pytest.raises(UserError, match=r"latency_ms<=0.01; the nearest seen: latency_ms 0\.\d+"):
        search(chosen, tmp_path / "run", lambda: Inline(quick), lambda status: None)


def test_a_profile_of_other_conditions_is_refused(plan: Plan, tmp_path: Path) -> None:
    path = profile_file(Space(plan.space), tmp_path / "gpu.json", device="cuda")
    with pytest.raises(UserError, match="device"):
        search(replace(plan, profiles={"": str(path)}), tmp_path / "run", lambda: Inline(quick), lambda status: None)


def test_the_command_asks_for_the_profile_of_a_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "digits", "--constraint", "latency_ms@phone<=5"]) == 2
    assert "--profile phone=FILE" in capsys.readouterr().err
