"""Costs: sums of remembered blocks against whole models, hand formulas, and the figures of papers and lecture notes."""

from __future__ import annotations

import random
from dataclasses import astuple

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nasforge import zoo
from nasforge.blocks.core.shapes import example
from nasforge.errors import UserError
from nasforge.networks.build import build, input_shapes
from nasforge.networks.cost import count, layer_table, textbook_rows
from nasforge.spaces import files
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Space


def mobile_archs(number: int) -> list[Arch]:
    space = Space(files.read(files.find_space("mobile")))
    ask = random_chooser(random.Random(7))
    return [space.draw(ask)[0] for _ in range(number)]


def whole_model(arch: Arch) -> tuple[int, int]:
    network = build(arch, "meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network(*[example(shape, 1, "meta") for shape in input_shapes(arch).values()])
    return sum(p.numel() for p in network.parameters()), flops.get_total_flops() // 2


@pytest.mark.parametrize("number", range(20))
def test_sum_of_blocks_is_the_whole_model(number: int) -> None:
    arch = mobile_archs(20)[number]
    assert (count(arch).params, count(arch).macs) == whole_model(arch)


def test_layer_table_sums_to_count() -> None:
    named = ("resnet18", "mobilenet_v2", "googlenet", "densenet_bc_100_12", "efficientnet_b0", "squeezenet1_1", "alexnet")
    for arch in [*mobile_archs(4), *map(zoo.load, named)]:
        rows, cost = layer_table(arch), count(arch)
        assert (sum(r.params for r in rows), sum(r.macs for r in rows)) == (cost.params, cost.macs)
        assert sum(r.parameter_bytes for r in rows) == cost.weight_bytes == 4 * cost.params


def test_convolution_by_hand() -> None:
    """c_out * c_in / groups * kh * kw * h' * w' MACs, and two numbers a map for the norm."""
    arch = {"input": [6, 10, 14], "classes": 3, "body": [{"conv": {"out": 8, "kernel": [3, 5], "stride": 2, "groups": 2}}]}
    (row,) = layer_table(arch)
    assert (row.type, row.path, row.inputs, row.outputs) == ("conv", "body.0", ((6, 10, 14),), ((8, 5, 7),))
    assert (row.kernel, row.stride, row.padding) == ((3, 5), (2, 2), (2, 4))
    assert row.params == 8 * 3 * 15 + 16 and row.macs == 8 * 3 * 15 * 35
    assert (row.input_bytes, row.output_bytes) == (4 * 6 * 140, 4 * 8 * 35)


def test_a_combinator_has_a_row_for_what_it_holds() -> None:
    gate = {"parallel": {"join": "gate", "branches": [{"conv": {"out": 4}}, {"conv": {"out": 4, "kernel": 1}}, []]}}
    arch = {"input": [4, 6, 6], "classes": 2, "body": [gate]}
    assert [(r.type, r.params) for r in layer_table(arch)] == [("conv", 4 * 4 * 9 + 8), ("conv", 16 + 8), ("parallel", 3)]
    assert count(arch).params == 4 * 4 * 9 + 8 + 16 + 8 + 3


def test_bias_norm_and_pool_count_no_macs() -> None:
    arch = {"input": [3, 8, 8], "classes": 5, "body": ["relu", "norm", {"pool": {"kernel": 2}}], "head": ["flatten", "linear"]}
    assert count(arch).macs == 3 * 16 * 5
    assert count(arch).params == 6 + 48 * 5 + 5


# ---------------------------------------------------------------- memory


def conv(out: int, **more: object) -> dict:
    return {"conv": {"out": out, "kernel": 1, "norm": "none", "act": "none", **more}}


def test_peak_is_the_largest_input_plus_output() -> None:
    arch = {"input": [2, 4, 4], "classes": 2, "body": [conv(8), conv(3), conv(1)]}
    assert count(arch).peak_bytes == 4 * 16 * (8 + 3)


def test_peak_holds_named_outputs_until_their_last_reader() -> None:
    body = [{**conv(4), "as": "skip"}, conv(8), conv(2), {"parallel": {"branches": [[], []]}, "from": ["last", "skip"]}, conv(1)]
    arch = {"input": [2, 4, 4], "classes": 2, "body": body}
    assert count(arch).peak_bytes == 4 * 16 * (8 + 2 + 4)
    unread = [{k: v for k, v in node.items() if k != "from"} for node in body]
    assert count({**arch, "body": unread}).peak_bytes == 4 * 16 * (4 + 8)


def test_peak_holds_the_body_for_every_head() -> None:
    heads = {"a": [conv(6), {"pool": {"kind": "avg"}}], "b": [conv(3)]}
    arch = {"input": [1, 4, 4], "classes": 2, "body": [conv(5)], "heads": heads}
    assert count(arch).peak_bytes == max(4 * 16 * (5 + 6), 4 * (16 * (5 + 3) + 6))


def test_activation_bytes_by_hand() -> None:
    """Kept: the input of each convolution (the activation's output is the next one's input), the last activation's output."""
    arch = {"input": [2, 4, 4], "classes": 2, "body": [conv(8, act="relu"), conv(3, act="relu")]}
    assert count(arch).activation_bytes == 4 * 16 * (2 + 8 + 3)


def test_activation_bytes_with_norm_and_max_pool() -> None:
    """Batch norm keeps its input, max pooling its input and 8-byte places; what a norm keeps of the whole batch is not a sample's."""
    body = [{"conv": {"out": 4, "kernel": 1, "act": "relu"}}, {"pool": {"kernel": 2}}, conv(1)]
    arch = {"input": [2, 4, 4], "classes": 2, "body": body}
    kept = 16 * (2 + 4 + 4) + 4 * 4  # input, norm's input, relu's output (pool's input), pool's output
    assert count(arch).activation_bytes == 4 * kept + 8 * 4 * 4


def test_activation_bytes_are_what_training_keeps() -> None:
    """The meta count against a real training pass on the processor."""
    arch = mobile_archs(1)[0]
    network = build(arch).train()
    own = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}

    def kept(batch: int) -> int:
        storages: dict[int, torch.UntypedStorage] = {}
        keep = lambda t: (storages.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage()), t)[1]  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            out = network(torch.zeros(batch, 3, 32, 32))
            total = sum(s.nbytes() for pointer, s in storages.items() if pointer not in own)
        del out
        return total

    assert count(arch).activation_bytes == kept(3) - kept(2)


def test_auxiliary_heads_are_not_counted() -> None:
    arch = zoo.load("googlenet")
    assert count(arch).params == count({k: v for k, v in arch.items() if k != "aux"}).params
    assert not any(row.path.startswith("aux") for row in layer_table(arch))


# ---------------------------------------------------------------- receptive field


def field_before_classifier(arch: Arch) -> float | None:
    return next(row.receptive_field for row in reversed(layer_table(arch)) if len(row.outputs[0]) == 3)


@pytest.mark.parametrize(
    ("name", "field"),
    [("alexnet", 195), ("vgg16", 212), ("resnet18", 435), ("resnet34", 899), ("resnet50", 427), ("mobilenet_v1", 315)],
)
def test_receptive_fields_of_the_catalogue(name: str, field: int) -> None:
    """Source: the lecture notes' rule r += (k - 1) jump (catalogue rules.yaml, kind receptive field; resnet50 with stride on the 3x3)."""
    assert field_before_classifier(zoo.load(name)) == field


def body(*nodes: object, shape: tuple[int, ...] = (3, 64, 64)) -> Arch:
    return {"input": list(shape), "classes": 2, "body": list(nodes)}


def test_receptive_field_of_a_stem() -> None:
    arch = body({"conv": {"out": 4, "kernel": 7, "stride": 2}}, {"pool": {"kernel": 3, "stride": 2}})
    assert [row.receptive_field for row in layer_table(arch)] == [7, 11]


@pytest.mark.parametrize(
    ("nodes", "field"),
    [
        ([{"conv": {"out": 4}}] * 2, 5),
        ([{"conv": {"out": 4}}] * 3, 7),
        ([{"conv": {"out": 4, "kernel": 3, "dilation": 4}}], 9),
        ([{"conv": {"out": 4, "kernel": [7, 1]}}, {"conv": {"out": 4, "kernel": [1, 7]}}], 7),
        ([{"lrn": {"size": 5}}], 1),
        ([{"parallel": {"branches": [[{"conv": {"out": 4, "kernel": 1}}], [{"conv": {"out": 4, "kernel": 5}}]]}}, {"conv": {"out": 4}}], 7),
        ([{"se": {"ratio": 0.5}}], float("inf")),
    ],
    ids=["two 3x3", "three 3x3", "dilated", "factorised", "lrn", "branches", "squeeze-excite"],
)
def test_receptive_field_by_hand(nodes: list, field: float) -> None:
    assert layer_table(body(*nodes, shape=(8, 16, 16)))[-1].receptive_field == field


def conv_of(kernel: int, **more: object) -> dict:
    return {"conv": {"out": 1, "kernel": kernel, "norm": "none", "act": "none", **more}}


DOWN = {"pool": {"kind": "avg", "kernel": 2}}


@pytest.mark.parametrize(
    "nodes",
    [
        [conv_of(3, stride=2), {"upsample": {"scale": 2}}, conv_of(2, pad="valid")],
        [DOWN, conv_of(3), {"upsample": {"scale": 2}}, conv_of(3), conv_of(3)],
        [DOWN, {"upsample": {"scale": 2, "mode": "bilinear"}}],
        [DOWN, DOWN, {"upsample": {"scale": 4, "mode": "bilinear"}}, conv_of(3)],
        [conv_of(3, stride=3), {"upsample": {"scale": 3, "mode": "bilinear"}}, conv_of(3)],
        [DOWN, DOWN, conv_of(3), {"upsample": {}}, conv_of(3), {"upsample": {}}, conv_of(2, pad="valid")],
        [DOWN, {"deconv": {"kernel": 4, "norm": "none", "act": "none"}}, conv_of(3)],
        [DOWN, {"deconv": {"kernel": 2, "norm": "none", "act": "none"}}, conv_of(2, pad="valid")],
        [{"upsample": {}}, conv_of(3), DOWN, conv_of(3)],
        [DOWN, conv_of(3), {"bed_of_nails": {}}, conv_of(2, pad="valid")],
        [DOWN, {"bed_of_nails": {"stride": 4}}, conv_of(3), conv_of(3)],
        [{"space_to_depth": {}}, {"conv": {"out": 4, "norm": "none", "act": "none"}}, {"depth_to_space": {}}, conv_of(2, pad="valid")],
        [
            {"parallel": {"join": "add", "branches": [[conv_of(3)], [{"same_size": {"body": [DOWN, conv_of(3)], "kind": "nearest"}}]]}},
            conv_of(3),
        ],
    ],
)
def test_receptive_field_of_enlarged_maps_is_what_the_gradient_reaches(nodes: list) -> None:
    arch = body(*nodes, shape=(1, 72, 72))
    network = build(arch).double().eval()
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1)
    x = torch.rand(1, 1, 72, 72, dtype=torch.double, requires_grad=True)
    y = network(x)
    widest = 0
    for at in range(y.shape[3] // 2 - 6, y.shape[3] // 2 + 6):
        (slope,) = torch.autograd.grad(y[0, 0, y.shape[2] // 2, at], x, retain_graph=True)
        seen = slope[0, 0].sum(0).nonzero().flatten()
        widest = max(widest, int(seen[-1] - seen[0]) + 1)
    assert layer_table(arch)[-1].receptive_field == widest


def test_receptive_field_of_values_put_back() -> None:
    """2 from pooling, 6 with a 3x3 there; back in squares of 2 a window of 3 sees two of them, of 5 three."""
    pool, back = {"index_pool": {}, "as": ["where", "pooled"]}, {"index_unpool": {}, "from": ["last", "where"]}
    rows = layer_table(body(pool, conv_of(3), back, conv_of(3), conv_of(3), shape=(1, 64, 64)))
    assert [row.receptive_field for row in rows] == [2, 6, 6, 8, 10]


def test_receptive_field_of_sequences_and_vectors() -> None:
    arch = body({"conv": {"out": 4, "kernel": 5, "stride": 2}}, {"conv": {"out": 4}}, {"norm": {"kind": "layer"}}, shape=(32, 6))
    assert [row.receptive_field for row in layer_table(arch)] == [5, 9, 9]
    assert layer_table(body("linear", shape=(6,)))[0].receptive_field is None


# ---------------------------------------------------------------- the table of the lecture notes

# Source: Redfern, Design, AlexNet cost table (rows 1 to 21 below the input row):
# layer, type, Ni, M, padding, F, S, No, operations, in map, parameters, out map, all memory
ALEXNET = [
    (1, "Conv", 3, 224, 3, 11, 4, 96, 105705600, 150528, 325248, 290400, 766176),
    (1, "Nonl", 96, 55, 0, 0, 0, 0, 290400, 290400, 0, 290400, 580800),
    (1, "Norm", 96, 55, 0, 5, 0, 0, 2613600, 290400, 0, 290400, 580800),
    (1, "Pool", 96, 55, 0, 3, 2, 0, 629856, 290400, 0, 69984, 360384),
    (2, "Conv", 96, 27, 4, 5, 1, 256, 448084224, 69984, 801024, 186624, 1057632),
    (2, "Nonl", 256, 27, 0, 0, 0, 0, 186624, 186624, 0, 186624, 373248),
    (2, "Norm", 256, 27, 0, 5, 0, 0, 1679616, 186624, 0, 186624, 373248),
    (2, "Pool", 256, 27, 0, 3, 2, 0, 389376, 186624, 0, 43264, 229888),
    (3, "Conv", 256, 13, 2, 3, 1, 384, 149585280, 43264, 949632, 64896, 1057792),
    (3, "Nonl", 384, 13, 0, 0, 0, 0, 64896, 64896, 0, 64896, 129792),
    (4, "Conv", 384, 13, 2, 3, 1, 384, 224345472, 64896, 1392000, 64896, 1521792),
    (4, "Nonl", 384, 13, 0, 0, 0, 0, 64896, 64896, 0, 64896, 129792),
    (5, "Conv", 384, 13, 2, 3, 1, 256, 149563648, 64896, 928000, 43264, 1036160),
    (5, "Nonl", 256, 13, 0, 0, 0, 0, 43264, 43264, 0, 43264, 86528),
    (5, "Pool", 256, 13, 0, 3, 2, 0, 82944, 43264, 0, 9216, 52480),
    (6, "Full", 9216, 1, 0, 1, 1, 4096, 37752832, 9216, 37752832, 4096, 37766144),
    (6, "Nonl", 4096, 1, 0, 0, 0, 0, 4096, 4096, 0, 4096, 8192),
    (7, "Full", 4096, 1, 0, 1, 1, 4096, 16781312, 4096, 16781312, 4096, 16789504),
    (7, "Nonl", 4096, 1, 0, 0, 0, 0, 4096, 4096, 0, 4096, 8192),
    (8, "Full", 4096, 1, 0, 1, 1, 1000, 4097000, 4096, 4097000, 1000, 4102096),
    (8, "Nonl", 1000, 1, 0, 0, 0, 0, 1000, 1000, 0, 1000, 2000),
]


def test_textbook_table_of_alexnet() -> None:
    rows = textbook_rows(zoo.load("alexnet_textbook"))
    assert [(*astuple(row), row.memory) for row in rows] == ALEXNET
    assert sum(row.macs for row in rows) == 1_141_970_032
    assert sum(row.parameters for row in rows) == 63_027_048
    assert sum(row.memory for row in rows) == 67_012_640


def test_textbook_table_of_other_layers() -> None:
    """Grouped convolution by the same formula, and a clear error for a layer that the table does not know."""
    arch = body({"conv": {"out": 8, "kernel": 3, "groups": 4, "norm": "none", "act": "none"}}, shape=(4, 6, 6))
    (row,) = textbook_rows(arch)
    assert (row.macs, row.parameters) == (36 * 8 * (9 + 1), 9 * 8 + 36 * 8)
    with pytest.raises(UserError, match=r"body.0.*without norm.*conv"):
        textbook_rows(body({"conv": {"out": 4}}))
