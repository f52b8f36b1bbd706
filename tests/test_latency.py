"""Latency: what is timed and in which order, and profiles fitted to known times."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasforge import files
from nasforge.arch import Arch
from nasforge.choosers import random_chooser
from nasforge.cost import count, layer_table
from nasforge.errors import UserError
from nasforge.latency import Latency, calibrate, measure, measure_many, predict, read_profile, write_profile
from nasforge.latency.measure import _latency
from nasforge.latency.units import amounts, units
from nasforge.space import Space


def net(width: int, depth: int = 1, side: int = 16) -> Arch:
    stage = {"stage": {"block": {"conv": {"out": width}}, "depth": depth}}
    return {"input": [3, side, side], "classes": 4, "body": [stage], "head": ["gap_head"]}


def mobile_archs(number: int) -> list[Arch]:
    space = Space(files.read(files.find_space("mobile")))
    ask = random_chooser(random.Random(3))
    return [space.draw(ask)[0] for _ in range(number)]


# ---------------------------------------------------------------- measuring


@pytest.mark.parametrize("runtime", ["eager", "onnxruntime"])
def test_a_network_with_a_thousand_times_the_work_takes_longer(runtime: str) -> None:
    light, heavy = measure_many([net(4, 2), net(64, 4, 32)], runtime=runtime, repeats=9)
    assert heavy.median_ms > 2 * light.median_ms > 0
    assert (light.runtime, light.device, light.threads, light.batch) == (runtime, "cpu", 1, 1)


class Recorder(nn.Module):
    def __init__(self, name: str, log: list[tuple[str, bool, int, tuple[int, ...]]]) -> None:
        super().__init__()
        self.name, self.log = name, log

    def forward(self, x: Tensor) -> Tensor:
        self.log.append((self.name, self.training, torch.get_num_threads(), tuple(x.shape)))
        return x


def test_candidates_take_turns_and_are_given_back_as_they_were() -> None:
    log: list[tuple[str, bool, int, tuple[int, ...]]] = []
    a, b = Recorder("a", log).train(), Recorder("b", log).eval()
    threads = torch.get_num_threads()
    measure_many([a, b], (3, 4, 4), threads=2, batch=5, repeats=4)
    assert [name for name, *_ in log[-8:]] == ["a", "b"] * 4
    assert {entry[1:] for entry in log} == {(False, 2, (5, 3, 4, 4))}
    assert a.training and not b.training and torch.get_num_threads() == threads


def test_spread_is_between_the_quartiles() -> None:
    calm = _latency([10.0, 10.1, 9.9, 10.0, 50.0], "eager", "cpu", 1, 1)
    wild = _latency([10.0, 20.0, 5.0, 12.0, 8.0], "eager", "cpu", 1, 1)
    assert calm.median_ms == 10.0 and wild.noisy
    assert _latency([1.0, 2.0, 3.0], "eager", "cpu", 1, 1).spread == pytest.approx((3 - 1) / 2)  # exclusive quartiles of three values


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"runtime": "eagre"}, "did you mean 'eager'"),
        ({"threads": 0}, "threads: must be a whole number >= 1, got 0"),
        ({"repeats": 1.5}, "repeats: must be a whole number"),
        ({"device": "meta"}, "cannot be timed on meta"),
        ({"device": "nowhere"}, "device: 'nowhere' cannot be used"),
    ],
)
def test_mistakes_are_told(arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        measure(net(4), **arguments)


def test_a_module_needs_a_shape() -> None:
    with pytest.raises(UserError, match="needs the shape"):
        measure(nn.Identity())


# ---------------------------------------------------------------- blocks


def test_units_take_stages_apart() -> None:
    found = Counter(units(net(8, depth=3)))
    assert sorted(found.values()) == [1, 1, 2]  # first convolution, head, and two more convolutions of one shape


def test_amounts_are_those_of_the_layer_table() -> None:
    arch = mobile_archs(1)[0]
    total = [sum(column) for column in zip(*(amounts(unit) for unit in units(arch)), strict=True)]
    rows = layer_table(arch)
    assert total[0] == len(rows)
    assert total[1] + total[2] == count(arch).macs
    assert total[2] == sum(row.macs for row in rows if row.args.get("groups", 1) != 1) > 0


def test_units_of_texts_and_of_blocks_with_two_inputs() -> None:
    body = [{"conv": {"out": 4}, "as": "skip"}, {"conv": {"out": 4}}, {"parallel": {"branches": [[], []]}, "from": ["last", "skip"]}]
    arch = {"input": [4, 6, 6], "classes": 2, "body": body}
    assert sum(amounts(unit)[1] for unit in units(arch)) == count(arch).macs


# ---------------------------------------------------------------- profiles


class Clock:
    """A timer that knows the truth: 0.3 ms a network, and for each block its layers, work and bytes at fixed rates, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def true_ms(self, arch: Arch) -> float:
        total = 0.3
        for unit in units(arch):
            layers, dense, grouped, moved = amounts(unit)
            slow = self.factor if '"kernel": 7' in unit else 1.0
            total += slow * (0.02 * layers + 3e-8 * dense + 2e-7 * grouped + 1e-7 * moved)
        return total

    def __call__(self, archs: Sequence[Arch], **conditions: object) -> list[Latency]:
        times = [self.true_ms(arch) for arch in archs]
        return [Latency(ms, 0.0, False, conditions["runtime"], conditions["device"], 1, 1) for ms in times]  # type: ignore[arg-type]


def test_known_rates_are_found_again() -> None:
    clock = Clock()
    profile = calibrate(mobile_archs(12), timer=clock)
    assert profile.error["worst"] < 1e-6 and profile.error["rank_correlation"] == pytest.approx(1)
    assert profile.rates["network"] == pytest.approx(0.3, rel=1e-3) and profile.rates["grouped_macs"] == pytest.approx(2e-7, rel=1e-3)
    for arch in mobile_archs(20)[12:]:
        assert predict(profile, arch) == pytest.approx(clock.true_ms(arch), rel=1e-6)


def test_the_table_learns_blocks_that_are_slower_than_their_work() -> None:
    """Blocks with 7x7 kernels take twice their work's time: rates alone cannot say so, corrections can."""
    clock, archs = Clock(2.0), mobile_archs(40)
    profile = calibrate(archs[:28], timer=clock)
    rates_only = type(profile)(**{**vars(profile), "table": {}})

    def error(one: object) -> float:
        return sum(abs(predict(one, arch) / clock.true_ms(arch) - 1) for arch in archs[28:])  # type: ignore[arg-type]

    assert error(profile) < 0.5 * error(rates_only)


def test_a_profile_is_for_its_conditions() -> None:
    profile = calibrate(mobile_archs(4), timer=Clock(), threads=2)
    with pytest.raises(UserError, match="profile: is for threads 2, asked for 1"):
        predict(profile, net(8), threads=1)
    with pytest.raises(UserError, match="runtime 'eager', asked for 'onnxruntime'"):
        predict(profile, net(8), runtime="onnxruntime")
    with pytest.raises(UserError, match="at least 4 networks"):
        calibrate(mobile_archs(3), timer=Clock())


def test_profiles_are_files(tmp_path: Path) -> None:
    profile = calibrate(mobile_archs(4), timer=Clock())
    assert read_profile(write_profile(profile, tmp_path / "profile.json")) == profile
    (tmp_path / "other.json").write_text('{"runtime": "eager"}', encoding="utf-8")
    with pytest.raises(UserError, match="no latency profile"):
        read_profile(tmp_path / "other.json")


def test_a_real_profile_ranks_networks_by_size() -> None:
    profile = calibrate([net(8), net(16, 2), net(32, 2), net(48, 3), net(64, 4), net(24, 5)], repeats=9)
    assert profile.runtime == "eager" and profile.networks == 6
    assert 0 < predict(profile, net(8)) < predict(profile, net(96, 6, 32))
