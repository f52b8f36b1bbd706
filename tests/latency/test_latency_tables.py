"""Tables of devices: features of networks, which networks are measured, and what is predicted from them."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from support import shared_data

from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.latency.design import covering
from nasforge.latency.gaussian_process import Part, condition
from nasforge.latency.nasbench_cells import OPS, counts, longest, needed, reached
from nasforge.latency.tables import chip, read_latencies
from nasforge.latency.transfer import curves, learn, order, predict_all, prior, scaled

COSTS = np.array([0.1, 0.1, 0.7, 2.0, 0.4])  # ms of the operations, none to avg_pool_3x3


def cells(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, (number, 6))


def devices(ops: np.ndarray, seed: int = 1) -> dict[str, np.ndarray]:
    """Made-up devices: a time for each operation that differs by device, half of them without what the output does not need."""
    rng, out = np.random.default_rng(seed), {}
    for i in range(6):
        costs = COSTS * rng.uniform(0.5, 2, 5)
        work = needed(ops) if i % 2 else ops
        times = (1 + counts(work, range(5)) @ costs) * rng.uniform(0.5, 5)
        out[f"lab/board{chr(97 + i)}_1"] = times * rng.normal(1, 0.01, len(ops))
    return out


def write(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


# ---------------------------------------------------------------- cells


def test_dead_operations_by_hand() -> None:
    """Edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3."""
    ops = np.array(
        [
            [3, 0, 0, 1, 0, 0],  # node 1 is computed and never read
            [0, 0, 2, 1, 3, 0],  # node 1 is zero: 1->2 and 1->3 only pass zeros on
            [3, 3, 3, 3, 3, 3],
        ]
    )
    assert needed(ops).tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 3, 0], [3] * 6]
    assert needed(reached(ops)).tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0], [3] * 6]
    assert longest(ops, (0, 0, 1, 1, 1)).tolist() == [0, 0, 3]
    assert longest(np.zeros((1, 6), int), (0, 1, 1, 1, 1)).tolist() == [0]


def test_strings_and_numbers_are_the_same_cells(tmp_path: Path) -> None:
    ops = cells(30)
    names = [[OPS[op] for op in row] for row in ops]
    texts = np.array([f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in names])
    by_number = read_latencies(write(tmp_path / "a.npz", ops=ops, dev=np.ones(30)))
    by_text = read_latencies(write(tmp_path / "b.npz", arch=texts, dev=np.ones(30)))
    assert by_text.kind == by_number.kind == "cells"
    assert all((one == other).all() for (_, one), (_, other) in zip(by_number.groups, by_text.groups, strict=True))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("help/1080ti_1", "help/1080ti_256", True),
        ("help/titan_rtx_32", "other/titanrtx", True),
        ("hwnasbench/cifar10/edgegpu_latency", "hwnasbench/cifar100/edgegpu_energy", True),
        ("help/gold_6226", "help/gold_6240", False),
        ("help/titanx_1", "help/titanxp_1", False),
        ("help/silver_4114", "help/silver_4210r", False),
    ],
)
def test_settings_of_one_chip(one: str, other: str, same: bool) -> None:
    assert (chip(one) == chip(other)) is same


def test_any_choices_make_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks, side = rng.integers(0, 9, (200, 22)), rng.integers(1, 200, 200)
    times = 1 + (blocks == 3).sum(1) + 0.01 * side
    table = read_latencies(write(tmp_path / "t.npz", blocks=blocks, side=side, board=times.astype(np.float32), ignored=np.ones((200, 3))))
    assert list(table.devices) == ["board"] and table.networks == 200
    known = prior(scaled(table, table), {})
    chosen = order(known, times, 40, np.arange(200))
    predicted = predict_all(known, learn(known, chosen, times[chosen]))
    assert np.median(np.abs(predicted / times - 1)) < 0.03


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"dev": np.ones(30)}, "must say which networks"),
        ({"ops": cells(30)}, "must hold at least one device"),
        ({"ops": cells(5), "dev": np.ones(5)}, "20 or more networks, got 5"),
        ({"arch": np.array(["|what~0|"] * 30), "dev": np.ones(30)}, "arch must be like"),
    ],
)
def test_what_is_no_table_is_refused(arrays: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        read_latencies(write(tmp_path / "t.npz", **arrays))


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.npz").write_text("hello")
    for path in (tmp_path / "t.npz", tmp_path / "absent.npz"):
        with pytest.raises(UserError, match="cannot be read as npz"):
            read_latencies(path)
    np.savez(tmp_path / "pickled.npz", ops=np.array([{}] * 30, object))
    with pytest.raises(UserError, match="cannot be read as npz"):
        read_latencies(tmp_path / "pickled.npz")


# ---------------------------------------------------------------- the Gaussian process


def test_a_posterior_by_hand() -> None:
    """One feature with variance v and noise s: the weight after one measurement y at feature 1 is v / (v + s^2) y."""
    part = Part(np.array([[1.0]]), (0.5,))
    found = condition(np.array([1.0]), [part], np.array([3.0]), power=1.0, noises=(0.5,), scale=2.0)
    weight = 0.5 / (0.5 + 0.25) * (3 / 2 - 1)
    new_mean, new_rows = np.array([1.0, 4.0]), [np.array([[1.0], [2.0]])]
    assert found.predict(new_mean, new_rows) == pytest.approx([2 * (1 + weight), 2 * (4 + 2 * weight)])
    left = 0.5 - 0.5**2 / 0.75  # variance of the weight
    assert found.spread(new_mean, new_rows) == pytest.approx([2 * np.sqrt(left + 0.25), 2 * np.sqrt(4 * left + 1)])


def test_errors_left_out_are_those_of_fits_without() -> None:
    rng = np.random.default_rng(0)
    rows, mean = rng.normal(size=(8, 3)), np.ones(8)
    times = 1 + rows @ np.array([0.2, -0.1, 0.05]) + rng.normal(0, 0.02, 8)
    found = condition(mean, [Part(rows, (0.1,))], times, power=1.0, noises=(0.1,), scale=1.0)
    for i in range(8):
        rest = np.arange(8) != i
        without = condition(mean[rest], [Part(rows[rest], (0.1,))], times[rest], power=1.0, noises=(0.1,), scale=1.0)
        assert times[i] - without.predict(mean[[i]], [rows[[i]]])[0] == pytest.approx(found.left_out[i], abs=1e-9)


def test_the_first_network_measured_is_the_one_that_tells_most() -> None:
    """Three networks along one feature, one along another: a long row of the first kind comes first, then the other kind."""
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert covering(rows, 0.1, 2) == [2, 3]
    assert covering(rows, 0.1, 2, usable=lambda i: i != 2)[0] in (0, 1)
    assert len(covering(rows, 0.1, 10)) == 4


# ---------------------------------------------------------------- transfer


def test_known_devices_help_and_outliers_do_not_hurt() -> None:
    ops = cells(3000)
    times = devices(ops)
    table = read_latencies_of(ops, times)
    target = times.pop("lab/boardc_1")
    known = prior(scaled(table, table), {name: c for name, c in curves(table, table).items() if name in times})
    alone = prior(scaled(table, table), {})
    chosen = order(known, target, 10, np.arange(500))

    def error(one: object, measured: np.ndarray) -> float:
        return float(np.median(np.abs(predict_all(one, learn(one, chosen, measured)) / target - 1)))  # type: ignore[arg-type]

    assert error(known, target[chosen]) < 0.03 < error(alone, target[chosen])
    wild = target[chosen].copy()
    wild[4] *= 7
    assert error(known, wild) < 0.08


def read_latencies_of(ops: np.ndarray, times: dict[str, np.ndarray]) -> object:
    with tempfile.TemporaryDirectory() as folder:
        return read_latencies(write(Path(folder) / "t.npz", ops=ops, **{k: v for k, v in times.items()}))


def test_the_choice_of_networks_sees_no_latency() -> None:
    """Only whether a network runs at all may matter."""
    ops = cells(300)
    table = read_latencies_of(ops, devices(ops))
    known = prior(scaled(table, table), curves(table, table))
    pool, one = np.arange(300), np.ones(300)
    chosen = order(known, one, 12, pool)
    assert (order(known, np.random.default_rng(0).uniform(1, 9, 300), 12, pool) == chosen).all()
    one[chosen[0]] = np.nan
    assert chosen[0] not in order(known, one, 12, pool)


# ---------------------------------------------------------------- the command


def bench(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["bench", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_bench_latency_on_made_up_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ops = cells(600)
    times = devices(ops)
    times["lab/boarda_256"] = times["lab/boarda_1"] * 1.5  # the same chip
    times["lab/boardb_1"][:200] = np.nan  # does not compile
    path = write(tmp_path / "t.npz", ops=ops, **times)
    out = bench(capsys, "--latency", str(path), "--samples", "25,10", "--seeds", "1")
    assert list(out["mean_spearman"]) == ["10", "25"] and len(out["devices"]) == 7
    assert out["devices"]["lab/boarda_1"]["helpers"] == 5 and out["devices"]["lab/boardb_1"]["helpers"] == 6
    assert out["mean_spearman"]["25"] > 0.97 and out["mape"]["25"] < 0.05
    assert out["mean_spearman"]["10"] > out["alone"]["mean_spearman"]["10"]
    assert out["groups"]["lab"]["devices"] == 7
    far = write(tmp_path / "far.npz", ops=ops[:400], **{"new/chip_1": times["lab/boardc_1"][:400]})
    alone = bench(capsys, "--latency", str(far), "--samples", "10", "--seeds", "1")
    helped = bench(capsys, "--latency", str(far), "--transfer", str(path), "--samples", "10", "--seeds", "1")
    assert alone["devices"]["new/chip_1"]["helpers"] == 0 and helped["devices"]["new/chip_1"]["helpers"] == 7
    assert helped["mean_spearman"]["10"] > alone["mean_spearman"]["10"]


def test_bench_latency_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ops = cells(200)
    path = write(tmp_path / "t.npz", ops=ops, **devices(ops))
    assert main(["bench", "--latency", str(path), "--samples", "10", "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    assert "rank@10" in out and "lab/boarda_1" in out and "mean rank correlation with 10 measured" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--samples", "10,x"], "--samples 10,x"),
        (["--samples", "1"], "whole numbers >= 2"),
        (["--samples", "195"], "no device of .* has 205 networks"),
        (["--seeds", "0"], "--seeds"),
        (["--transfer", "nowhere.npz"], "nowhere.npz: cannot be read"),
    ],
)
def test_mistakes_are_said(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ops = cells(200)
    path = write(tmp_path / "t.npz", ops=ops, board=np.arange(1.0, 201))
    assert main(["bench", "--latency", str(path), *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_networks_of_another_kind_do_not_transfer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.npz", ops=cells(200), board=np.arange(1.0, 201))
    b = write(tmp_path / "b.npz", blocks=np.random.default_rng(0).integers(0, 3, (200, 4)), board=np.arange(1.0, 201))
    assert main(["bench", "--latency", str(a), "--transfer", str(b)]) == 2
    assert "must be of the kind of" in capsys.readouterr().err


@pytest.mark.thorough
def test_real_devices(capsys: pytest.CaptureFixture[str]) -> None:
    """Rank correlations that the issue asks for, over the devices of HELP, each predicted from other hardware."""
    path = shared_data("nas/nb201_latency.npz")
    out = bench(capsys, "--latency", str(path), "--samples", "10,25,50", "--seeds", "2")
    found = out["groups"]["help"]["mean_spearman"]
    assert found["10"] >= 0.94 and found["25"] >= 0.965 and found["50"] >= 0.975
    assert out["devices"]["help/titan_rtx_1"]["helpers"] == 25  # its batch of 32 is the same chip
