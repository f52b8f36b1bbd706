"""Figures in words, axes, labels and block diagrams of a report."""

from __future__ import annotations

import random
from typing import Any
from xml.etree import ElementTree

import pytest
from support import Balanced

from nasforge.networks.cost import layer_table
from nasforge.report.diagram import arch_picture
from nasforge.report.format import cap, clock, difference, lower, percent, score, short, spread, tick, value, whole, word
from nasforge.report.svg import Axis, axis, labels, tag
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import find_space, read, space_names
from nasforge.spaces.space import Space


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (whole(6912), "6,912"), (short(6912), "6.91 k"), (short(288240), "288 k"), (short(2e6), "2 M"),
        (short(17), "17"),
        (percent(0.9921), "99.2 %"), (value("top5", 0.9921), "99.2 %"), (value("miou@mask", 0.5), "50.0 %"),
        (value("loss", 0.12345), "0.123"), (value("mse", 2914.2), "2,910"), (value("mse", 4.72e9), "4.72e+09"),
        (value("mae", 99.96), "100.0"),
        (value("r2", -0.5), "-0.500"), (value("mse", 0.0), "0"), (value("mse", 0.0000123), "1.23e-05"),
        (value("peak_bytes", 4096), "4.1 kB"), (value("latency_ms", None), "–"), (value("latency_ms@phone", 3.14159), "3.14 ms"),
        (spread("accuracy", 0.9921, 0.0021), "99.2 ± 0.2 %"), (spread("miou@mask", 0.99, 0.0, 1), "99.0 %"),
        (spread("mse", None, None), "no result"), (spread("mse", 2914, 78), "2,910 ± 80"),
        (spread("mse", 0.03121, 0.0008), "0.0312 ± 0.0008"),
        (spread("mse", 0.031214, 0.00002), "0.03121 ± 0.00002"), (spread("r2", 0.001, 0.3), "0.001 ± 0.300"),
        (spread("mse", 4.72e9, 8e7), "4.72e+09 ± 8e+07"), (spread("loss", 0.0, 0.0), "0 ± 0"),
        (score("accuracy", 0.983, 0.002, 3), "98.3 ± 0.2 % accuracy"), (score("mse", 2914, 78, 3), "mean squared error 2,910 ± 80"),
        (score("miou@mask", 0.612), "61.2 % mean IoU of mask"),
        (difference("accuracy", 0.98, 0.99), "1.0 point"), (difference("miou@mask", 0.004), "0.4 points"),
        (difference("mse", 2910.2, 2792.1), "118"), (difference("loss", 0.3, 0.3121), "0.0121"),
        (tick("accuracy", 0.995), "99.5 %"), (tick("macs", 3e6), "3 M"), (tick("mse", 12000), "12,000"), (tick("mse", 2e9), "2e+09"),
        (tick("latency_ms", 0.5), "0.5 ms"), (tick("loss", 0.05), "0.05"),
        (f"{cap('miou@mask')} {cap('mse')} {cap('r2')}", "1.0 inf inf"), (word("miou@mask"), "mean IoU of mask"),
        (lower("loss") + lower("accuracy") + lower("r2"), ", lower is better"),
        (clock(3.21), "3.2 s"), (clock(75), "1 min 15 s"), (clock(3720), "1 h 02 min"), (clock(59.9), "1 min 00 s"),
    ],
)  # fmt: skip
def test_figures(got: str, wanted: str) -> None:
    assert got == wanted


def elements(svg: str, name: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(svg).iter() if e.tag == name]


@pytest.mark.parametrize("name", space_names())
def test_picture_of_every_space(name: str) -> None:
    arch, _ = Space(read(find_space(name))).draw(random_chooser(random.Random(1)))
    svg = arch_picture(arch, name)
    said = [e.text for e in elements(svg, "text")]
    layers = {row.path.split(".")[0] for row in layer_table(arch)}  # a section of blocks that were drawn away is left out
    sections = [s for s in ("stem", "body", "neck", "head", "heads") if s in layers]
    assert [s for s in said if s in sections] == sections
    assert sum(s is not None and s.startswith("output ") for s in said) == 1
    width, height = (float(ElementTree.fromstring(svg).attrib[k]) for k in ("width", "height"))
    assert width > 60 and height > 100


def test_picture_of_blocks_by_hand() -> None:
    branches = [[{"conv": {"out": 4, "kernel": 1}}], [{"conv": {"out": 4}}, {"conv": {"out": 6, "kernel": 5}}]]
    arch = {
        "input": [3, 8, 8],
        "classes": 5,
        "body": [
            {"conv": {"out": 8}},
            {"stage": {"block": {"basic": {"out": 8}}, "depth": 3}},
            {"parallel": {"branches": branches}},
            {"basic": {"out": 16, "stride": 2}},
        ],
        "head": [{"pool": {"kind": "avg"}}, "linear"],
    }
    said = [e.text for e in elements(arch_picture(arch, "net"), "text")]
    assert "input 3 × 8 × 8" in said and "output 5" in said
    assert said.count("× 3") == 1  # three equal blocks are drawn once
    assert "concat" in said and "10 × 8 × 8" in said  # 4 + 6 channels
    assert said.count("1×1") == 1 and said.count("+ relu") == 2  # one projection, two kinds of residual
    assert "16 × 4 × 4" in said and "linear, 5" in said


def test_blocks_of_no_layers_are_not_drawn() -> None:
    gone: dict[str, Any] = {"stage": {"depth": 0, "block": {"conv": {"out": 16}}}}
    arch = {"input": [3, 8, 8], "classes": 5, "stem": [{"conv": {"out": 8}}], "body": [gone, []], "head": [gone, "flatten", "linear"]}
    svg, below = arch_picture(arch, "net"), ["head", "flatten", "512", "linear, 5", "output 5"]
    assert [e.text for e in elements(svg, "text")] == ["input 3 × 8 × 8", "stem", "conv 3×3, 8", "8 × 8 × 8", *below]
    assert len(elements(svg, "rect")) == 2 + 3 + 2  # sections, layers, ends
    whole = {**arch, "body": [], "head": ["flatten", "linear"]}
    assert arch_picture(whole, "net") == svg


def test_picture_of_a_cell_leaves_dead_edges_out() -> None:
    nodes = [
        [{"from": 0, "op": "conv"}],
        [{"from": 0, "op": "zero"}, {"from": 1, "op": {"pool": {"kind": "avg", "kernel": 3, "stride": 1}}}],
        [{"from": 0, "op": {"conv": {"kernel": 1}}}, {"from": 2, "op": "identity"}],
    ]
    arch = {"input": [4, 8, 8], "classes": 2, "body": [{"cell": {"nodes": nodes}}], "head": ["gap_head"]}
    said = [e.text for e in elements(arch_picture(arch, "cell"), "text")]
    for words_of in ("conv 3×3", "avg pool 3×3", "conv 1×1", "identity"):
        assert said.count(words_of) == 1
    assert said.count("+") == 3 and "zero" not in said


def test_deep_networks_are_drawn_closed() -> None:
    body = [{"bottleneck": {"out": 8 * (1 + i % 3)}} for i in range(30)]
    arch = {"input": [3, 16, 16], "classes": 2, "body": body, "head": ["gap_head"]}
    said = [e.text for e in elements(arch_picture(arch, "deep"), "text")]
    assert sum(s is not None and s.startswith("bottleneck") for s in said) == 30 and not any(s == "+ relu" for s in said)


@pytest.mark.parametrize(("low", "high", "log"), [(0.91, 0.994, False), (0, 1, False), (1, 40, False), (1500, 21000, True), (3, 4.1, True)])
def test_ticks_are_inside_and_neither_few_nor_many(low: float, high: float, log: bool) -> None:
    made = axis([low, high], 0, 100, log)
    ticks = made.ticks(7)
    assert 2 <= len(ticks) <= 8 and all(made.low <= t <= made.high for t in ticks) and ticks == sorted(ticks)
    pixels = [made(t) for t in ticks]
    assert all(0 <= p <= 100 for p in pixels) and pixels == sorted(pixels)
    assert made(low * 0.01 - 1 if not log else low * 0.01) == 0 and made(high * 100) == 100


def test_axis_of_one_value_and_of_shares() -> None:
    assert axis([5.0], 0, 100)(5.0) == pytest.approx(50) and axis([5.0], 0, 100, True)(5.0) == pytest.approx(50)
    assert max(axis([0.97, 1.0], 0, 100, cap=1.0).ticks(7)) == 1.0
    assert Axis(1, 100, 0, 200, True)(10) == pytest.approx(100)


def test_labels_keep_apart() -> None:
    wanted = [(100.0 + 3 * i, 100.0 + 2 * i, f"network{i}", "finalist") for i in range(5)]
    svg = tag("svg", labels(wanted, (0, 0, 400, 300)))
    boxes = [(float(e.attrib["x"]), float(e.attrib["y"])) for e in elements(svg, "text")]
    assert len(boxes) == 5
    for i, (x, y) in enumerate(boxes):
        assert 0 <= x <= 400 - 7 * 8 and 14 <= y <= 300
        assert all(abs(x - u) >= 8 * 6 or abs(y - v) >= 13 for u, v in boxes[:i])


def test_text_of_a_drawing_is_escaped() -> None:
    Balanced(tag("svg", labels([(0, 0, "<b>", "a")], (0, 0, 9, 9)), aria_label='"<'))
