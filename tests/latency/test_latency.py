"""Latency: what is timed and in which order, and profiles fitted to known times."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasforge.errors import UserError
from nasforge.latency import (
    Latency,
    calibrate,
    measure,
    measure_many,
    predict,
    read_profile,
    runtimes,
    with_measured,
    write_profile,
)
from nasforge.latency.design import pick
from nasforge.latency.fit import at_rates
from nasforge.latency.measure import AGAIN, _latency
from nasforge.latency.profile import profile_of
from nasforge.latency.units import amounts, units, units_of
from nasforge.networks.cost import count, layer_table
from nasforge.spaces import files
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Space

ABOUT = {
    "runtime": "eager", "device": "cpu", "threads": 1, "batch": 1, "precision": "float32", "processor": "", "versions": {}, "date": "",
    "space": "mobile",
}  # fmt: skip


def net(width: int, depth: int = 1, side: int = 16) -> Arch:
    stage = {"stage": {"block": {"conv": {"out": width}}, "depth": depth}}
    return {"input": [3, side, side], "classes": 4, "body": [stage], "head": ["gap_head"]}


def mobile_archs(number: int) -> list[Arch]:
    space = Space(files.read(files.find_space("mobile")))
    ask = random_chooser(random.Random(3))
    return [space.draw(ask)[0] for _ in range(number)]


# ---------------------------------------------------------------- measuring


@pytest.mark.slow
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
    assert [name for name, *_ in log[-16:]] == ["a", "a", "b", "b"] * 4  # each runs untimed before it is timed
    assert {entry[1:] for entry in log} == {(False, 2, (5, 3, 4, 4))}
    assert a.training and not b.training and torch.get_num_threads() == threads


def test_a_rounded_copy_is_measured() -> None:
    layer = nn.Linear(8, 8)
    before = layer.weight.detach().clone()
    found = measure(layer, (8,), precision="bfloat16", repeats=3)
    assert found.precision == "bfloat16" and layer.weight.dtype == torch.float32 and torch.equal(layer.weight, before)


class Sleeper(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.004)
        return x


def test_waiting_is_told_and_not_counted() -> None:
    """A pass that waits 4 ms without computing, as beside a busy process."""
    one = measure(Sleeper(), (4,), repeats=5)
    assert one.wall_ms > 4 > 2 * one.median_ms and one.waiting > 0.5 and one.busy
    two = measure(Sleeper(), (4,), repeats=5, threads=2)
    assert two.median_ms == two.wall_ms > 4 and not two.busy


class Erratic(nn.Module):
    """Every other pair of passes takes twenty times the work."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        for _ in range(2000 if self.passes // 2 % 2 else 100):
            x = x + 1
        return x


def test_noisy_measurements_are_repeated_and_told() -> None:
    one = measure(Erratic(), (4,), repeats=6)
    assert one.repeats == 6 * (1 + AGAIN) and one.noisy


def test_error_of_the_median() -> None:
    calm = _latency(([10.0, 10.1, 9.9, 10.0, 10.0],) * 2, "eager", "cpu", 1, 1)
    wild = _latency(([10.0, 20.0, 5.0, 12.0, 8.0],) * 2, "eager", "cpu", 1, 1)
    assert calm.median_ms == 10.0 and not calm.noisy and wild.noisy
    found = _latency(([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]), "eager", "cpu", 1, 1)
    assert found.spread == pytest.approx((3 - 1) / 2)  # exclusive quartiles of three values
    assert found.wall_ms == 4.0 and found.waiting == pytest.approx(0.5)


@pytest.mark.thorough
@pytest.mark.parametrize("runtime", ["compile", "openvino"])
def test_other_runtimes(runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    light, heavy = measure_many([net(4, 2), net(64, 4, 32)], runtime=runtime, repeats=5)
    assert heavy.median_ms > 2 * light.median_ms > 0


@pytest.mark.thorough
def test_cuda_events() -> None:
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    light, heavy = measure_many([net(8), net(256, 6, 64)], device="cuda", batch=32, repeats=9)
    assert heavy.median_ms > light.median_ms > 0


def test_a_runtime_without_its_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runtimes.PACKAGES, "openvino", "no_such_package")
    with pytest.raises(UserError, match="openvino needs the package no_such_package"):
        measure(net(4), runtime="openvino")


def test_what_a_runtime_cannot_run_is_told() -> None:
    with pytest.raises(UserError, match=r"onnxruntime cannot run this network in torch\.bfloat16 here"):
        measure(net(4), runtime="onnxruntime", precision="bfloat16")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"runtime": "eagre"}, "did you mean 'eager'"),
        ({"threads": 0}, "threads: must be a whole number >= 1, got 0"),
        ({"repeats": 1.5}, "repeats: must be a whole number"),
        ({"precision": "float23"}, "did you mean 'float32'"),
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
        return [Latency(ms, 0.0, False, "eager", "cpu", 1, 1) for ms in times]


def test_known_rates_are_found_again() -> None:
    clock = Clock()
    profile = calibrate(mobile_archs(12), timer=clock)
    rates = profile.predictor.fit.rates
    assert profile.error["worst"] < 1e-6 and profile.error["rank_correlation"] == pytest.approx(1)
    assert rates["network"] == pytest.approx(0.3, rel=1e-3) and rates["grouped_macs"] == pytest.approx(2e-7, rel=1e-3)
    for arch in mobile_archs(20)[12:]:
        assert predict(profile, arch).ms == pytest.approx(clock.true_ms(arch), rel=1e-6)


def test_corrections_learn_blocks_that_are_slower_than_their_work() -> None:
    """Blocks with 7x7 kernels take twice their work's time: rates alone cannot say so, corrections can."""
    clock, archs = Clock(2.0), mobile_archs(40)
    profile = calibrate(archs[:28], timer=clock)
    found, truth = profile.predictor.fit, [clock.true_ms(arch) for arch in archs[28:]]
    rates_only = [sum(n * at_rates(b, found.rates) for b, n in units_of(a).items()) + found.rates["network"] for a in archs[28:]]

    def error(predicted: list[float]) -> float:
        return sum(abs(p / t - 1) for p, t in zip(predicted, truth, strict=True))

    assert error([predict(profile, arch).ms for arch in archs[28:]]) < 0.5 * error(rates_only)


def test_nine_of_ten_intervals_hold() -> None:
    """Times that are a twentieth off at random: about 90 % of new networks lie in their intervals, and these are not far too wide."""
    clock, archs, rng = Clock(1.3), mobile_archs(80), random.Random(5)
    times = [clock.true_ms(arch) * rng.gauss(1, 0.05) for arch in archs]
    profile = profile_of(archs[:40], times[:40], {}, **ABOUT)
    found = [predict(profile, arch) for arch in archs[40:]]
    inside = sum(p.low_ms <= t <= p.high_ms for p, t in zip(found, times[40:], strict=True)) / 40
    width = sum((p.high_ms - p.low_ms) / 2 / p.ms for p in found) / 40
    assert 0.8 <= inside <= 1 and 0.05 < width < 0.15  # 1.64 standard deviations are .08


def test_blocks_never_seen_make_an_interval_wider() -> None:
    profile = calibrate(mobile_archs(12), timer=Clock(1.3))
    foreign = {**net(32), "body": [{"conv": {"out": 32, "kernel": 3}}, {"fire": {"squeeze": 16, "e1": 32, "e3": 32}}]}
    near, far = (predict(profile, arch) for arch in (mobile_archs(1)[0], foreign))
    assert (far.high_ms - far.ms) / far.ms > 2 * (near.high_ms - near.ms) / near.ms


def test_one_wild_measurement_does_not_bend_a_profile() -> None:
    clock, archs = Clock(), mobile_archs(30)
    times = [clock.true_ms(arch) for arch in archs]
    times[3] *= 5
    profile = profile_of(archs[:20], times[:20], {}, **ABOUT)
    errors = sorted(abs(predict(profile, arch).ms / t - 1) for arch, t in zip(archs[20:], times[20:], strict=True))
    assert errors[5] < 0.15


def test_a_profile_is_for_its_conditions() -> None:
    profile = calibrate(mobile_archs(4), timer=Clock(), threads=2)
    with pytest.raises(UserError, match="profile: is for threads 2, asked for 1"):
        predict(profile, net(8), threads=1)
    with pytest.raises(UserError, match="runtime 'eager', asked for 'onnxruntime'"):
        predict(profile, net(8), runtime="onnxruntime")
    with pytest.raises(UserError, match="at least 4 networks"):
        calibrate(mobile_archs(3), timer=Clock())


def test_measured_finalists_join_a_profile() -> None:
    clock, archs = Clock(), mobile_archs(8)
    before = calibrate(archs[:5], timer=clock)
    after = with_measured(before, archs[5:], [clock.true_ms(arch) for arch in archs[5:]])
    assert len(after.networks) == 8 and after.units == [units_of(arch) for arch in archs]
    assert predict(after, archs[6]).ms == pytest.approx(clock.true_ms(archs[6]), rel=1e-3)


def test_profiles_are_files(tmp_path: Path) -> None:
    profile = calibrate(mobile_archs(5), timer=Clock())
    again = read_profile(write_profile(profile, tmp_path / "profile.json"))
    assert again == profile and predict(again, net(8)) == predict(profile, net(8))


@pytest.mark.parametrize(
    "change",
    [
        {"runtime": 3}, {"blocks": [1]}, {"blocks": {"x": [1, 2, 3, 4]}}, {"networks": [{"0": 1}] * 5}, {"times_ms": [1.0, 2.0]},
        {"times_ms": [1.0, 2.0, 3.0, 4.0, -1.0]}, {"networks": [{"99": 1}] * 5}, {"surprise": 1}, {"times_ms": None}, {"error": []},
    ],
)  # fmt: skip
def test_what_is_no_profile_is_refused(change: dict, tmp_path: Path) -> None:
    path = write_profile(calibrate(mobile_archs(5), timer=Clock()), tmp_path / "profile.json")
    data = json.loads(path.read_text()) | change
    if change.get("networks") == [{"0": 1}] * 5:
        data["blocks"] = {}
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UserError, match="no latency profile"):
        read_profile(path)


def test_a_real_profile_ranks_networks_by_size() -> None:
    profile = calibrate([net(8), net(16, 2), net(32, 2), net(48, 3), net(64, 4), net(24, 5)], repeats=9)
    assert profile.runtime == "eager" and len(profile.networks) == 6 and "torch" in profile.versions
    assert 0 < predict(profile, net(8)).ms < predict(profile, net(96, 6, 32)).ms


# ---------------------------------------------------------------- choosing what to measure


def test_a_copy_of_a_picked_network_is_measured_late() -> None:
    archs = [net(width, depth) for width in (8, 12, 16, 24) for depth in (1, 2, 3)] + [net(8)]
    picked = pick(archs, len(archs))
    assert sorted(picked) == list(range(13)) and picked[:5] == pick(archs, 5)
    assert min(picked.index(0), picked.index(12)) < 7 < max(picked.index(0), picked.index(12))
