"""The layer tables of the lecture notes, row by row: sizes, parameters and multiply-adds against formulas written out by hand.

Figures that the notes print wrongly (catalogue, `suspect`) are not asserted; the right ones are.
"""

from __future__ import annotations

from functools import lru_cache

import pytest

from nasforge import zoo
from nasforge.networks.build import Step, steps
from nasforge.networks.cost import Row, count, layer_table


@lru_cache(maxsize=32)
def lines(name: str) -> list[Step]:
    return [step for step in steps(zoo.load(name)) if not step.where.startswith("aux.")]


@lru_cache(maxsize=8)
def layers(name: str) -> list[Row]:
    return layer_table(zoo.load(name))


def stages(name: str) -> list[tuple[int, int]]:
    """(channels, side) after each line of the body that changes them or keeps them with weights."""
    return [step.probe.shapes[-1][:2] for step in lines(name) if step.where.startswith("body") and step.probe.macs]


def conv(kernel: int, before: int, after: int, groups: int = 1) -> int:
    """Weights of a convolution; times the positions of its output its multiply-adds."""
    return kernel * kernel * before // groups * after


# ---------------------------------------------------------------- residual networks


RESNET = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
PRINTED_GMACS = {18: 1.8, 34: 3.6, 50: 3.8, 101: 7.6, 152: 11.3}  # 3.86 and 3.66 truncated; stride on the first 1x1


def bottlenecks(before: int, mid: int, after: int, depth: int, side: int, groups: int = 1, first: int = 1) -> tuple[int, int]:
    """Parameters with norms and multiply-adds of a stage with its stride on the 3x3 (`first` 2: the 1x1 sees twice the side)."""
    params = macs = 0
    for i in range(depth):
        into, wide = (before, first * side) if i == 0 else (after, side)
        parts = [(conv(1, into, mid), wide), (conv(3, mid, mid, groups), side), (conv(1, mid, after), side)]
        parts += [(conv(1, into, after), side)] if i == 0 else []
        params += sum(weights for weights, _ in parts) + 2 * (2 * mid + after) + (2 * after if i == 0 else 0)
        macs += sum(weights * s * s for weights, s in parts)
    return params, macs


def basics(before: int, after: int, depth: int, side: int) -> tuple[int, int]:
    params = macs = 0
    for i in range(depth):
        into = before if i == 0 else after
        convs = [conv(3, into, after), conv(3, after, after)] + ([conv(1, into, after)] if into != after else [])
        params += sum(convs) + 2 * after * len(convs)
        macs += sum(convs) * side * side
    return params, macs


ALEXNET = [  # kernel, maps in, maps out, groups, side of the output, field. Source: Krizhevsky et al. 2012, figure 2
    (11, 3, 96, 1, 55, 11), (5, 96, 256, 2, 27, 51), (3, 256, 384, 1, 13, 99), (3, 384, 384, 2, 13, 131), (3, 384, 256, 2, 13, 163),
]  # fmt: skip


def test_alexnet_table() -> None:
    """Five convolutions with biases, three of them in two groups, pools that halve, and three linear layers: 60,965,224 weights."""
    rows = [row for row in layers("alexnet") if row.params]
    assert len(rows) == 8
    for row, (kernel, before, after, groups, side, field) in zip(rows, ALEXNET, strict=False):
        weights = kernel**2 * before // groups * after
        assert row.outputs == ((after, side, side),) and row.receptive_field == field
        assert (row.params, row.macs) == (weights + after, weights * side**2)
    assert [row.params for row in rows[5:]] == [(256 * 6 * 6 + 1) * 4096, 4097 * 4096, 4097 * 1000]
    pools = [row.outputs[0][1:] for row in layers("alexnet") if row.type == "pool"]
    assert pools == [(27, 27), (13, 13), (6, 6)]


@pytest.mark.parametrize("depth", RESNET)
def test_resnet_table(depth: int) -> None:
    """Source: Redfern, Design, table '18-layer'; He et al. 2016, table 1."""
    name, blocks = f"resnet{depth}", RESNET[depth]
    found = lines(name)
    assert [step.probe.shapes[-1] for step in found[:2]] == [(64, 112, 112), (64, 56, 56)]
    assert (found[0].probe.params, found[0].probe.macs) == (conv(7, 3, 64) + 128, conv(7, 3, 64) * 112**2)
    before = 64
    for i, (step, repeats) in enumerate(zip(found[2:6], blocks, strict=True)):
        mid, side = 64 << i, 56 >> i
        after = mid if depth < 50 else 4 * mid
        hand = basics(before, mid, repeats, side) if depth < 50 else bottlenecks(before, mid, after, repeats, side, 1, 2 if i else 1)
        assert step.probe.shapes[-1] == (after, side, side)
        assert (step.probe.params, step.probe.macs) == hand
        before = after
    assert (found[6].probe.params, found[6].probe.macs) == (before * 1000 + 1000, before * 1000)
    weighted = 2 * sum(blocks) + 2 if depth < 50 else 3 * sum(blocks) + 2
    assert weighted == depth
    printed = zoo.load(name if depth < 50 else f"{name}_original")
    assert count(printed).macs / 1e9 == pytest.approx(PRINTED_GMACS[depth], abs=0.07)


@pytest.mark.parametrize(
    ("name", "groups", "mids", "blocks", "params", "macs"),
    [
        ("resnext50_32x4d", 32, [128, 256, 512, 1024], [3, 4, 6, 3], 25.0e6, 4.2e9),
        ("resnext101_32x4d", 32, [128, 256, 512, 1024], [3, 4, 23, 3], 44.3e6, 8.0e9),
        ("resnext101_64x4d", 64, [256, 512, 1024, 2048], [3, 4, 23, 3], 83.7e6, 15.5e9),
    ],
)
def test_resnext_table(name: str, groups: int, mids: list[int], blocks: list[int], params: float, macs: float) -> None:
    """Source: Redfern, Design, table '32x4d' and the DPN table; Xie et al. 2017, table 1."""
    before = 64
    for i, step in enumerate(lines(name)[2:6]):
        after, side = 256 << i, 56 >> i
        hand = bottlenecks(before, mids[i], after, blocks[i], side, groups, 2 if i else 1)
        assert (step.probe.shapes[-1], step.probe.params, step.probe.macs) == ((after, side, side), *hand)
        before = after
    cost = count(zoo.load(name))
    assert cost.params == pytest.approx(params, rel=0.005) and cost.macs == pytest.approx(macs, rel=0.008)


def test_se_tables() -> None:
    """Gates [16, 256], [32, 512], [64, 1024], [128, 2048] at the end of each block. Source: Redfern, Design, table 'fc, [16, 256]'.

    The rows of SE-ResNeXt-50 lost their 32 groups; with them 27.56 M (printed 27.7).
    """
    for name, plain in (("seresnet50", "resnet50_original"), ("seresnext50_32x4d", "resnext50_32x4d")):
        for i, (step, without) in enumerate(zip(lines(name)[2:6], lines(plain)[2:6], strict=True)):
            narrow, wide = 16 << i, 256 << i
            gates = [3, 4, 6, 3][i]
            assert step.probe.params - without.probe.params == gates * (2 * narrow * wide + narrow + wide)
            assert step.probe.macs - without.probe.macs == gates * 2 * narrow * wide
    assert count(zoo.load("seresnext50_32x4d")).params == pytest.approx(27.7e6, rel=0.006)
    rows = [row for row in layers("seresnet50") if row.type == "se"]
    assert [row.outputs[0][0] for row in rows] == [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3


def test_sk_table() -> None:
    """SK[M=2, G=32, r=16] in place of the 3x3, fused through max(C/16, 32) units. Source: Redfern, Design, table 'SKNet-50'."""
    before = 64
    for i, step in enumerate(lines("sknet50")[2:6]):
        mid, after, side, depth = 128 << i, 256 << i, 56 >> i, [3, 4, 6, 3][i]
        params, macs = bottlenecks(before, mid, after, depth, side, 32, 2 if i else 1)
        inner, second = max(mid // 16, 32), conv(3, mid, mid, 32)
        fuse = 3 * mid * inner  # one layer down, two up
        assert step.probe.params == params + depth * (second + 2 * mid + fuse + 2 * inner)
        assert step.probe.macs == macs + depth * (second * side * side + fuse)
        before = after
    cost = count(zoo.load("sknet50"))
    assert (round(cost.params / 1e6, 1), round(cost.macs / 1e9, 2)) == (27.5, 4.46)  # printed 4.47


def test_botnet_table() -> None:
    """Attention of 4 heads in place of the 3x3 in c5. Source: Wang, BoTNet (Srinivas et al. 2021, table 1, 1024 x 1024)."""
    found, plain = lines("botnet50"), lines("resnet50")
    assert [step.probe.shapes[-1] for step in found[:6]] == [
        (64, 512, 512), (64, 256, 256), (256, 256, 256), (512, 128, 128), (1024, 64, 64), (2048, 32, 32),
    ]  # fmt: skip
    assert [s.probe.params for s in found[:5]] == [s.probe.params for s in plain[:5]]
    relative = 2 * 128 * (2 * 64 - 1 + 2 * (2 * 32 - 1))  # one table for rows and one for columns, 128 numbers for each distance
    swapped = plain[5].probe.params - found[5].probe.params + relative
    assert swapped == 3 * (conv(3, 512, 512) - 3 * conv(1, 512, 512))
    assert round(count(zoo.load("botnet50_224")).params / 1e6, 1) == 20.8
    assert count(zoo.load("botnet50")).macs == pytest.approx(102.98e9, abs=0.02e9)


@pytest.mark.parametrize(
    ("name", "stem", "groups", "mid", "growth", "blocks", "params", "macs"),
    [
        ("dpn92", 64, 32, 96, [16, 32, 24, 128], [3, 4, 20, 3], 37.8e6, 6.5e9),
        ("dpn98", 96, 40, 160, [16, 32, 32, 128], [3, 6, 20, 3], 61.7e6, 11.7e9),
    ],
)
def test_dpn_table(name: str, stem: int, groups: int, mid: int, growth: list[int], blocks: list[int], params: float, macs: float) -> None:
    """Source: Redfern, Design, table '(+16)'; Chen et al. 2017 (DPN), table 1. A norm before each convolution, on what it reads."""
    before = stem
    for i, (first, rest) in enumerate(zip(lines(name)[2:10:2], lines(name)[3:10:2], strict=True)):
        width, inner, more, side = 256 << i, mid << i, growth[i], 56 >> i
        hand_params = hand_macs = 0
        for block in range(blocks[i]):
            wide = side if i == 0 or block else 2 * side
            parts = [(conv(1, before, inner), wide), (conv(3, inner, inner, groups), side), (conv(1, inner, width + more), side)]
            hand_params += 2 * (before + 2 * inner)
            if block == 0:
                parts.append((conv(1, before, width + 2 * more), side))
                hand_params += 2 * before
            hand_params += sum(weights for weights, _ in parts)
            hand_macs += sum(weights * s * s for weights, s in parts)
            before = width + 2 * more + more if block == 0 else before + more
        assert rest.probe.shapes[-1] == (width + (blocks[i] + 2) * more, side, side)
        assert first.probe.params + rest.probe.params == hand_params and first.probe.macs + rest.probe.macs == hand_macs
    cost = count(zoo.load(name))
    assert cost.params == pytest.approx(params, rel=0.005) and cost.macs == pytest.approx(macs, rel=0.005)


@pytest.mark.parametrize(("name", "factor", "printed"), [("wrn_40_4", 4, 8.9e6), ("wrn_16_8", 8, 11.0e6), ("wrn_28_10", 10, 36.5e6)])
def test_wrn_table(name: str, factor: int, printed: float) -> None:
    """WRN-d-k: (d - 4) / 6 blocks in each of three groups of 16k, 32k, 64k maps. Source: Kalhor, table 'WRN (ours)'."""
    depth = int(name.split("_")[1])
    before, repeats = 16, (depth - 4) // 6
    for i, step in enumerate(lines(name)[1:4]):
        after, side = (16 << i) * factor, 32 >> i
        convs = conv(3, before, after) + (2 * repeats - 1) * conv(3, after, after) + conv(1, before, after)
        norms = 2 * (before + (2 * repeats - 1) * after)
        assert (step.probe.shapes[-1], step.probe.params) == ((after, side, side), convs + norms)
        assert step.probe.macs == convs * side * side
        before = after
    assert count(zoo.load(name)).params == pytest.approx(printed, abs=0.05e6)


# ---------------------------------------------------------------- dense and parallel networks


DENSE = {121: [6, 12, 24, 16], 169: [6, 12, 32, 32], 201: [6, 12, 48, 32], 264: [6, 12, 64, 48]}


@pytest.mark.parametrize("depth", DENSE)
def test_densenet_table(depth: int) -> None:
    """Layers of 1x1 to 128 and 3x3 to 32, halving transitions. Source: Redfern, Design, table 'DenseNet-121'."""
    found = [step for step in lines(f"densenet{depth}") if step.where.startswith("body")][:7]
    maps = 64
    for i, repeats in enumerate(DENSE[depth]):
        side, params, macs = 56 >> i, 0, 0
        for _ in range(repeats):
            convs = conv(1, maps, 128) + conv(3, 128, 32)
            params, macs, maps = params + convs + 2 * maps + 2 * 128, macs + convs * side * side, maps + 32
        block = found[2 * i].probe
        assert (block.shapes[-1], block.params, block.macs) == ((maps, side, side), params, macs)
        if i < 3:
            half = found[2 * i + 1].probe
            assert (half.shapes[-1], half.params) == ((maps // 2, side // 2, side // 2), 2 * maps + conv(1, maps, maps // 2))
            maps //= 2
    weighted = 2 * sum(DENSE[depth]) + 5
    assert weighted == depth + (depth == 264)  # the name of the last one is off by one


# Source: Redfern, Design, table '#3x3 reduce' after Szegedy et al. 2015, table 1: input, side, widths, output, parameters (1024), ops (1e6)
GOOGLENET = {
    "3a": (192, 28, 64, 96, 128, 16, 32, 32, 256, 159, 128),
    "3b": (256, 28, 128, 128, 192, 32, 96, 64, 480, 380, 304),
    "4a": (480, 14, 192, 96, 208, 16, 48, 64, 512, 364, 73),
    "4b": (512, 14, 160, 112, 224, 24, 64, 64, 512, 437, 88),
    "4c": (512, 14, 128, 128, 256, 24, 64, 64, 512, 463, 100),
    "4d": (512, 14, 112, 144, 288, 32, 64, 64, 528, 580, 119),
    "4e": (528, 14, 256, 160, 320, 32, 128, 128, 832, 840, 170),
    "5a": (832, 7, 256, 160, 320, 32, 128, 128, 832, 1072, 54),
    "5b": (832, 7, 384, 192, 384, 48, 128, 128, 1024, 1388, 71),
}
SUSPECT_PARAMS, SUSPECT_OPS = ("4c", "5a"), ("5a",)


@pytest.mark.parametrize("row", GOOGLENET)
def test_googlenet_table(row: str) -> None:
    before, side, b1, r3, b3, r5, b5, pool, after, kilo, mega = GOOGLENET[row]
    step = [s for s in lines("googlenet") if s.where.startswith("body") and s.probe.params][list(GOOGLENET).index(row)]
    weights = conv(1, before, b1 + r3 + r5 + pool) + conv(3, r3, b3) + conv(5, r5, b5)
    biases = b1 + r3 + r5 + pool + b3 + b5
    assert step.shapes[0] == (before, side, side) and step.probe.shapes[-1] == (after, side, side)
    assert (step.probe.params, step.probe.macs) == (weights + biases, weights * side * side)
    assert after == b1 + b3 + b5 + pool
    if row not in SUSPECT_PARAMS:
        assert weights / 1024 == pytest.approx(kilo, rel=0.02)
    if row not in SUSPECT_OPS:
        assert step.probe.macs / 1e6 == pytest.approx(mega, rel=0.01)


def test_googlenet_table_outside_its_modules() -> None:
    """The printed first row, 2.7 K and 34 M, is a 7x1 and a 1x7 convolution; the full 7x7 has 9,408 weights and 118 M."""
    found = {step.where: step.probe for step in lines("googlenet")}
    assert (found["stem.0"].params - 64, found["stem.0"].macs) == (9408, 9408 * 112**2)
    assert found["stem.1"].shapes[-1] == (64, 56, 56) and found["stem.6"].shapes[-1] == (192, 28, 28)
    both = found["stem.3"].params + found["stem.4"].params - 256, found["stem.3"].macs + found["stem.4"].macs
    assert both[0] / 1024 == pytest.approx(112, rel=0.01) and both[1] / 1e6 == pytest.approx(360, rel=0.01)
    assert found["head.0"].params == 1024 * 1000 + 1000


# Source: Redfern, Design, table '#1x1 squeeze' after Iandola et al. 2016, table 1: output, parameters before pruning
SQUEEZENET = [
    ((96, 111, 111), 14_208), ((128, 55, 55), 11_920), ((128, 55, 55), 12_432), ((256, 55, 55), 45_344), ((256, 27, 27), 49_440),
    ((384, 27, 27), 104_880), ((384, 27, 27), 111_024), ((512, 27, 27), 188_992), ((512, 13, 13), 197_184),
]  # fmt: skip


def test_squeezenet_table() -> None:
    """Its sizes follow from 227, not from the printed 224; the pool after fire8 gives 13 x 13, not 13 x 12."""
    arch = {**zoo.load("squeezenet1_0"), "input": [3, 227, 227]}
    found = [step.probe for step in steps(arch)]
    assert [(probe.shapes[-1], probe.params) for probe in found[:-1] if probe.params] == SQUEEZENET
    assert found[-1].params == 513_000
    assert sum(probe.params for probe in found) == 1_248_424
    pools = [row.outputs[0] for row in layer_table(arch) if row.type == "pool"]
    assert pools == [(96, 55, 55), (256, 27, 27), (512, 13, 13), (1000,)]


# ---------------------------------------------------------------- mobile networks


# Source: Redfern, Design, table 'Type / Stride' after Howard et al. 2017, table 1: stride, kernel, maps in, maps out, side in
MOBILENET_V1 = [
    (2, 3, 3, 32, 224),
    *[(s, k, i, o, side) for s, i, w, side in (
        (1, 32, 64, 112), (2, 64, 128, 112), (1, 128, 128, 56), (2, 128, 256, 56), (1, 256, 256, 28), (2, 256, 512, 28),
        *[(1, 512, 512, 14)] * 5, (2, 512, 1024, 14), (1, 1024, 1024, 7),
    ) for s, k, i, o, side in ((s, 3, i, i, side), (1, 1, i, w, side // s))],
]  # fmt: skip


def test_mobilenet_v1_table() -> None:
    """The last depthwise row prints stride 2, but its map stays 7 x 7: stride 1."""
    rows = [row for row in layers("mobilenet_v1") if row.type == "conv"]
    assert len(rows) == len(MOBILENET_V1) == 27
    for i, (row, (stride, kernel, before, after, side)) in enumerate(zip(rows, MOBILENET_V1, strict=True)):
        weights = kernel * kernel * (before if kernel == 1 or i == 0 else 1) * after
        assert (row.stride, row.kernel) == ((stride, stride), (kernel, kernel))
        assert row.inputs[0] == (before, side, side) and row.outputs[0] == (after, side // stride, side // stride)
        assert (row.params, row.macs) == (weights + 2 * after, weights * (side // stride) ** 2)
    assert layers("mobilenet_v1")[-1].params == 1024 * 1000 + 1000


# Source: Redfern, Design, table 'bottleneck' after Sandler et al. 2018, table 2: side in, maps in, expansion, maps out, repeats, stride
MOBILENET_V2 = [
    (112, 32, 1, 16, 1, 1), (112, 16, 6, 24, 2, 2), (56, 24, 6, 32, 3, 2), (28, 32, 6, 64, 4, 2), (14, 64, 6, 96, 3, 1),
    (14, 96, 6, 160, 3, 2), (7, 160, 6, 320, 1, 1),
]  # fmt: skip


def inverted(side: int, before: int, expand: int, after: int, repeats: int, stride: int, kernel: int = 3, se: int = 0) -> tuple[int, int]:
    """Parameters with norms and multiply-adds of a stage of inverted residuals; `se`: the gate has before / se units."""
    params = macs = 0
    for i in range(repeats):
        into, step = (before, stride) if i == 0 else (after, 1)
        wide, small = into * expand, side // step
        parts = [(into * wide, side)] if expand > 1 else []
        parts += [(kernel * kernel * wide, small), (wide * after, small)]
        units = into // se if se else 0
        params += sum(w for w, _ in parts) + 2 * (wide * (2 if expand > 1 else 1) + after) + (2 * wide * units + wide + units if se else 0)
        macs += sum(w * s * s for w, s in parts) + 2 * wide * units
        side = small
    return params, macs


def test_mobilenet_v2_table() -> None:
    found = lines("mobilenet_v2")
    assert (found[0].probe.shapes[-1], found[0].probe.macs) == ((32, 112, 112), conv(3, 3, 32) * 112**2)
    for step, (side, before, expand, after, repeats, stride) in zip(found[1:8], MOBILENET_V2, strict=True):
        assert step.shapes[0] == (before, side, side) and step.probe.shapes[-1] == (after, side // stride, side // stride)
        assert (step.probe.params, step.probe.macs) == inverted(side, before, expand, after, repeats, stride)
    assert (found[8].probe.params, found[8].probe.macs) == (320 * 1280 + 2560, 320 * 1280 * 49)
    assert found[9].probe.params == 1281 * 1000


# Source: Banerjee, More on CNN, table 'Operator' after Tan & Le 2019, table 1: expansion, kernel, side in, maps out, repeats
EFFICIENTNET_B0 = [
    (1, 3, 112, 16, 1), (6, 3, 112, 24, 2), (6, 5, 56, 40, 2), (6, 3, 28, 80, 3), (6, 5, 14, 112, 3), (6, 5, 14, 192, 4), (6, 3, 7, 320, 1),
]  # fmt: skip


def test_efficientnet_b0_table() -> None:
    """The sides are those of the inputs; the gates (a quarter of a block's input) are in the text beside the table."""
    found, before = lines("efficientnet_b0"), 32
    sides = [row[2] for row in EFFICIENTNET_B0] + [7]
    for i, (expand, kernel, side, after, repeats) in enumerate(EFFICIENTNET_B0):
        step, stride = found[i + 1], side // sides[i + 1]
        assert step.shapes[0] == (before, side, side) and step.probe.shapes[-1] == (after, sides[i + 1], sides[i + 1])
        assert (step.probe.params, step.probe.macs) == inverted(side, before, expand, after, repeats, stride, kernel, se=4)
        before = after
    assert found[8].probe.shapes[-1] == (1280, 7, 7)
    assert found[0].probe.shapes[-1] == (32, 112, 112) and found[9].probe.shapes[-1] == (1000,)


# Source: Redfern, Design, table 'GlobalPool' after Zhang et al. 2018 (ShuffleNet), table 1: maps by groups, complexity in millions
SHUFFLENET_V1 = {
    1: ([144, 288, 576], 143),
    2: ([200, 400, 800], 140),
    3: ([240, 480, 960], 137),
    4: ([272, 544, 1088], 133),
    8: ([384, 768, 1536], 137),
}


@pytest.mark.parametrize("groups", SHUFFLENET_V1)
def test_shufflenet_v1_table(groups: int) -> None:
    """Stages of 4, 8 and 4 units; the first 1x1 of all is not grouped, and what a stride appends comes from the branch."""
    maps, printed = SHUFFLENET_V1[groups]
    found = lines(f"shufflenet_v1_g{groups}")
    assert [step.probe.shapes[-1] for step in found[:2]] == [(24, 112, 112), (24, 56, 56)]
    stages = [found[2:4], found[4:5], found[5:6]]
    before = 24
    for i, (parts, after) in enumerate(zip(stages, maps, strict=True)):
        side, mid, macs = 28 >> i, after // 4, 0
        for unit in range([4, 8, 4][i]):
            first = 2 * side if unit == 0 else side
            reads, own, gives = (before, 1 if i == 0 else groups, after - before) if unit == 0 else (after, groups, after)
            macs += conv(1, reads, mid, own) * first**2 + 9 * mid * side**2 + conv(1, mid, gives, groups) * side**2
        assert parts[-1].probe.shapes[-1] == (after, side, side)
        assert sum(part.probe.macs for part in parts) == macs
        before = after
    assert count(zoo.load(f"shufflenet_v1_g{groups}")).macs / 1e6 == pytest.approx(printed, abs=1.4)


# ---------------------------------------------------------------- receptive fields


# Source: catalogue networks.yaml, `structure` (recomputed with the stride on the 3x3); r grows by (k - 1) times the steps between outputs
FIELDS = {"vgg16": 212, "resnet18": 435, "resnet34": 899, "resnet50": 427, "mobilenet_v1": 315}


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_fields(name: str) -> None:
    last = [row for row in layers(name) if len(row.outputs[0]) == 3][-1]
    assert last.receptive_field == FIELDS[name]


def test_receptive_field_of_vgg16_by_hand() -> None:
    field, jump = 1, 1
    for convs in (2, 2, 3, 3, 3):
        field, jump = field + 2 * convs * jump + jump, 2 * jump
    assert field == FIELDS["vgg16"]
