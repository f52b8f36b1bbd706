"""Found and generated networks: sizes of the reference implementations, and that their cells are points of the cell space."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from nasforge import zoo
from nasforge.blocks import BLOCKS
from nasforge.blocks.core.conv import Conv
from nasforge.networks.build import build, steps
from nasforge.networks.cost import count
from nasforge.spaces.arch import live_lines
from nasforge.spaces.choosers import replay
from nasforge.spaces.files import find_space, read
from nasforge.spaces.locate import locate
from nasforge.spaces.space import Space

# Source: parameters of timm (nasnetalarge, pnasnet5large), pytorchcv (nasnet_4a1056, darts, proxylessnas, the regnets that torchvision
# lacks) and torchvision (other regnets); of DARTS on CIFAR-10 the reference code's README (3.349 MB). The stored counts are recounted
# by test_zoo.py.
REFERENCE = {
    "nasnet_a_large": 88_753_150,
    "nasnet_a_mobile": 5_289_978,
    "pnasnet5_large": 86_057_668,
    "darts_v2": 3_349_342,
    "darts_v2_imagenet": 4_718_752,
    "proxylessnas_cpu": 4_361_648,
    "proxylessnas_gpu": 7_119_848,
    "proxylessnas_mobile": 4_080_512,
    "proxylessnas_mobile_14": 6_857_568,
    "regnet_x_200mf": 2_684_792,
    "regnet_x_400mf": 5_495_976,
    "regnet_x_400mf_paper": 5_157_512,
    "regnet_x_600mf": 6_196_040,
    "regnet_x_800mf": 7_259_656,
    "regnet_x_1_6gf": 9_190_136,
    "regnet_x_3_2gf": 15_296_552,
    "regnet_x_4gf": 22_118_248,
    "regnet_x_6_4gf": 26_209_256,
    "regnet_x_8gf": 39_572_648,
    "regnet_x_12gf": 46_106_056,
    "regnet_x_16gf": 54_278_536,
    "regnet_x_32gf": 107_811_560,
    "regnet_y_200mf": 3_162_996,
    "regnet_y_400mf": 4_344_144,
    "regnet_y_600mf": 6_055_160,
    "regnet_y_800mf": 6_432_512,
    "regnet_y_800mf_paper": 6_263_168,
    "regnet_y_1_6gf": 11_202_430,
    "regnet_y_3_2gf": 19_436_338,
    "regnet_y_4gf": 20_646_656,
    "regnet_y_6_4gf": 30_583_252,
    "regnet_y_8gf": 39_381_472,
    "regnet_y_8gf_paper": 39_180_068,
    "regnet_y_12gf": 51_822_544,
    "regnet_y_16gf": 83_590_140,
    "regnet_y_32gf": 145_046_770,
}

# Source: multiply-adds recounted from the public definitions (catalogue networks.yaml), and as torchvision prints them (10^9, three digits)
MACS = {"nasnet_a_large": 23_783_414_658, "pnasnet5_large": 24_937_395_792}
TORCHVISION_MACS = {
    "regnet_x_400mf": 0.414, "regnet_x_800mf": 0.8, "regnet_x_1_6gf": 1.603, "regnet_x_3_2gf": 3.177, "regnet_x_8gf": 7.995,
    "regnet_x_16gf": 15.941, "regnet_x_32gf": 31.736, "regnet_y_400mf": 0.402, "regnet_y_800mf": 0.834, "regnet_y_1_6gf": 1.612,
    "regnet_y_3_2gf": 3.176, "regnet_y_8gf": 8.473, "regnet_y_16gf": 15.912, "regnet_y_32gf": 32.28,
}  # fmt: skip


@lru_cache(maxsize=1)
def table() -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in zoo.entries()}


@pytest.mark.parametrize("name", REFERENCE)
def test_parameters_of_the_reference_implementations(name: str) -> None:
    assert table()[name]["params"] == REFERENCE[name]


@pytest.mark.parametrize("name", [*MACS, *TORCHVISION_MACS])
def test_multiply_adds_of_the_references(name: str) -> None:
    found = table()[name]["macs"]
    assert found == MACS[name] if name in MACS else round(found / 1e9, 3) == TORCHVISION_MACS[name]


@pytest.mark.parametrize(
    "name", ["amoebanet_a", "amoebanet_c", "gpipe_amoebanet_b", "nasnet_a_mobile", "pnasnet5_mobile", "amoebanet_a_cifar"]
)
def test_counts_round_to_the_printed_figures(name: str) -> None:
    """Within one unit of the last digit that the papers print: three digits for sizes in M and G."""
    published = table()[name]["published"]
    for figure in ("params", "macs"):
        if figure in published:
            assert table()[name][figure] == pytest.approx(published[figure], rel=0.01)


def test_reductions_of_the_large_nasnet_are_skipped_by_the_older_input() -> None:
    """Source: the reference code's skip_reduction_layer_input: after a reduction the older input is the cell two before it."""
    for name, skips in (("nasnet_a_large", True), ("nasnet_a_mobile", False)):
        lines = [line for line in live_lines(zoo.load(name)) if line.where.startswith("body")]
        reductions = [line for line in lines if line.node["cell_stack"].get("stride") == 2]
        assert [("before" in line.writes) for line in reductions] == [not skips] * 2


def test_cell_networks_halve_five_times_on_imagenet_and_end_in_the_printed_width() -> None:
    """NASNet-A (4 @ 1056) is named after the maps of its last cell: 6 * 4 * 44."""
    last = [step for step in steps(zoo.load("nasnet_a_mobile")) if step.where.startswith("body")][-1]
    assert last.probe.shapes[-1] == (1056, 7, 7)


def test_darts_by_formula() -> None:
    """20 cells of width 36, 72 and 144; a normal cell has 5 separable convolutions of 3x3 twice and a dilated one once."""

    def sep(width: int, times: int) -> int:
        return times * (9 * width + width**2 + 2 * width)

    total, older, last, fraction = 3 * 9 * 108 + 216, 108, 108, 0
    for i in range(20):
        width = 36 * 2 ** sum(i >= at for at in (6, 13))
        total += (older + last) * width + 4 * width  # 1x1 or factorized, with norms
        total += 0 if i in (6, 13) else sep(width, 11)
        older, last = last, 4 * width
        fraction = last
    assert table()["darts_v2"]["params"] == total + fraction * 10 + 10


def test_small_forms_build_and_end_in_maps_of_four() -> None:
    for name in ("regnet_x_200mf", "proxylessnas_mobile"):
        arch = zoo.load(f"small_{name}")
        assert count(arch).params < table()[name]["params"]
        assert [s.probe.shapes[-1] for s in steps(arch) if s.where.startswith("body")][-1][1:] == (4, 4)


@pytest.mark.parametrize(
    ("name", "uneven"), [("nasnet_a_cifar", True), ("amoebanet_a_cifar", True), ("nasnet_a_mobile", True), ("darts_v2", False)]
)
def test_strides_are_padded_as_in_the_reference_code(name: str, uneven: bool) -> None:
    """NASNet and AmoebaNet are written in TensorFlow, whose SAME pads an even map on one side only; DARTS is written in torch."""
    strided = [m for m in build(zoo.load(name), "meta").modules() if isinstance(m, Conv) and max(m.stride) > 1 and max(m.kernel) > 1]
    assert any(m.uneven for m in strided) == uneven


# ---------------------------------------------------------------- points of the spaces


def located(name: str, space: str) -> dict[str, Any]:
    data = Space(read(find_space(space)))
    choices = locate(zoo.load(name), data, BLOCKS)
    assert data.draw(replay(choices))[1] == choices
    return choices


@pytest.mark.parametrize(("name", "nodes", "operation"), [("nasnet_a_cifar", "five", "skip"), ("darts_v2", "four", "dil_3x3")])
def test_found_cells_are_points_of_the_cell_space(name: str, nodes: str, operation: str) -> None:
    choices = located(name, "nasnet")
    assert choices["body.0"] == nodes and choices["let.depth"] == 6
    assert choices[f"let.normal_{nodes}.{4 if nodes == 'five' else 3}.1.op"] == operation


def test_the_numbers_of_a_regnet_are_found_in_its_space() -> None:
    choices = located("regnet_y_400mf", "regnet")
    numbers = {name.rpartition(".")[2]: value for name, value in choices.items() if "regnet" in name}
    assert numbers == {"depth": 16, "w_0": 48, "w_a": 27.89, "w_m": 2.09, "group_width": 8, "se": 0.25, "first_stride": 2, "halves": "up"}
