"""Embeddings, positions, patches and the ways between images, tokens and vectors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasforge.blocks.core.shapes import Shape, Tokens
from nasforge.blocks.sequence.tokens import sinusoid
from nasforge.errors import UserError
from nasforge.export import export
from nasforge.networks.build import build, make, probe
from nasforge.networks.cost import count as cost_of


def layer(node: Any, shape: Shape) -> nn.Module:
    torch.manual_seed(0)
    return make(node, (shape,), 5, "block").eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# ---------------------------------------------------------------- embedding


def test_embedding_is_one_hot_times_matrix() -> None:
    embedding = layer({"embedding": {"out": 300}}, Tokens(4, 9000))
    assert count(embedding) == 2_700_000  # kalhor: 9k words x 300
    words = torch.tensor([[0, 17, 8999, 17]])
    one_hot = nn.functional.one_hot(words, 9000).float()
    torch.testing.assert_close(embedding(words), one_hot @ embedding.table.weight)


def test_scaled_embedding_multiplies_by_the_root_of_the_width() -> None:
    """Vaswani et al. 2017, section 3.4."""
    embedding = layer({"embedding": {"out": 16, "scale": True}}, Tokens(4, 9))
    words = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(embedding(words), 4 * embedding.table.weight[1:5][None])


def test_embedding_of_numbers_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"block\.embedding: embedding reads tokens"):
        layer({"embedding": {"out": 4}}, (8, 3))


# ---------------------------------------------------------------- positions


def test_interleaved_sinusoids_follow_the_formula() -> None:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(same)."""
    table, d = sinusoid(50, 8), 8
    for pos in (0, 1, 49):
        for i in range(4):
            angle = pos / 10000 ** (2 * i / d)
            assert table[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_wavelengths_grow_geometrically_from_two_pi_to_ten_thousand_times_that() -> None:
    width = 512
    angles = torch.atan2(sinusoid(2, width)[1, 0::2], sinusoid(2, width)[1, 1::2])  # the angle of one step
    wavelengths = 2 * math.pi / angles.double()
    assert wavelengths[0].item() == pytest.approx(2 * math.pi, rel=1e-5)
    assert wavelengths[-1].item() == pytest.approx(2 * math.pi * 10000 ** (510 / 512), rel=1e-3)
    torch.testing.assert_close(wavelengths[1:] / wavelengths[:-1], torch.full((255,), 10000 ** (2 / 512)).double(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("offset", [1, 7])
def test_a_shift_of_position_is_one_linear_map(offset: int) -> None:
    """PE(pos + k) = M_k PE(pos), the same M_k at every position."""
    table, angles = sinusoid(60, 16), offset / 10000 ** (torch.arange(8) / 8)
    blocks = [torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]]) for a in angles]  # turns (sin, cos) by k * frequency
    torch.testing.assert_close(table[:-offset] @ torch.block_diag(*blocks), table[offset:], rtol=0, atol=1e-5)


def test_split_sinusoids_have_the_lectures_values() -> None:
    """kalhor, width 4: [0, 0, 1, 1], [.84, .0001, .54, 1], [.91, .0002, -.42, 1]."""
    expected = torch.tensor([[0, 0, 1, 1], [0.84, 0.0001, 0.54, 1], [0.91, 0.0002, -0.42, 1]])
    torch.testing.assert_close(sinusoid(3, 4, split=True), expected, rtol=0, atol=5e-3)
    assert sinusoid(3, 4, split=True)[2, 1].item() == pytest.approx(0.0002, abs=1e-6)


def test_odd_widths_are_cut() -> None:
    for split in (False, True):
        assert sinusoid(5, 7, split).shape == (5, 7)


def test_positions_are_added_and_learned_ones_trained() -> None:
    x = torch.randn(2, 5, 6)
    fixed, learned = layer({"positions": {}}, (5, 6)), layer({"positions": {"kind": "learned"}}, (5, 6))
    torch.testing.assert_close(fixed(x) - x, sinusoid(5, 6).expand(2, 5, 6), rtol=0, atol=1e-6)
    assert (count(fixed), count(learned)) == (0, 30)
    torch.testing.assert_close(learned(x) - x, learned.table.expand(2, 5, 6), rtol=0, atol=1e-6)


# ---------------------------------------------------------------- patches, tokens, images


def test_patches_are_flattened_and_projected() -> None:
    patches = layer({"patches": {"size": 4, "out": 6}}, (3, 8, 12))
    x = torch.randn(2, 3, 8, 12)
    flat = nn.functional.unfold(x, 4, stride=4).transpose(1, 2)  # (B, 6, 48)
    expected = flat @ patches.project.weight.flatten(1).T + patches.project.bias
    torch.testing.assert_close(patches(x), expected, rtol=1e-5, atol=1e-5)


def test_patches_of_16_make_196_tokens_of_a_224_image() -> None:
    found = probe({"patches": {"size": 16, "out": 768}}, ((3, 224, 224),), 5)
    assert (found.shapes, found.params, found.macs) == (((196, 768),), 590_592, 196 * 768 * 768)
    assert probe([{"patches": {"size": 16, "out": 768}}, "class_token"], ((3, 224, 224),), 5).shapes == ((197, 768),)


def test_patches_that_do_not_tile_the_image_are_a_mistake_unless_they_overlap() -> None:
    with pytest.raises(UserError, match="patches of 16 do not tile 40 x 32"):
        layer({"patches": {"size": 16, "out": 8}}, (3, 40, 32))
    assert probe({"patches": {"size": 7, "stride": 4, "pad": 3, "out": 8}}, ((3, 32, 32),), 5).shapes == ((64, 8),)


@pytest.mark.parametrize(
    ("layers", "width", "hidden", "heads", "patch", "params"),
    [
        (12, 768, 3072, 12, 16, 86_567_656),  # ViT-B/16
        (24, 1024, 4096, 16, 16, 304_326_632),  # ViT-L/16
        (24, 1024, 4096, 16, 32, 306_535_400),  # ViT-L/32
        (32, 1280, 5120, 16, 14, 632_045_800),  # ViT-H/14
    ],
)
def test_vision_transformers_have_their_published_size(layers: int, width: int, hidden: int, heads: int, patch: int, params: int) -> None:
    """Dosovitskiy et al. 2021, table 1 (86, 307, 632 M); exact counts of the catalogue, 224 x 224, 1,000 classes."""
    block = {"encoder_layer": {"heads": heads, "hidden": hidden, "order": "pre", "act": "gelu", "eps": 1e-6}}
    vit = {
        "input": [3, 224, 224],
        "classes": 1000,
        "stem": [{"patches": {"size": patch, "out": width}}, "class_token", {"positions": {"kind": "learned"}}],
        "body": [{"stage": {"block": block, "depth": layers}}, {"norm": {"kind": "layer"}}],
        "head": [{"take": {"index": "first"}}, "linear"],
    }
    assert count(build(vit, device="meta")) == params


def test_class_token_stands_in_front_and_take_reads_it() -> None:
    module = layer(["class_token", {"take": {"index": "first"}}], (5, 6))
    token = dict(module.named_parameters())["blocks.0.token"]
    torch.testing.assert_close(module(torch.randn(3, 5, 6)), token[0].expand(3, 6))


def test_take_reads_first_last_or_a_number() -> None:
    x = torch.arange(2 * 4 * 3.0).view(2, 4, 3)
    for index, step in (("first", 0), ("last", 3), (2, 2), (-2, 2)):
        torch.testing.assert_close(layer({"take": {"index": index}}, (4, 3))(x), x[:, step])
    with pytest.raises(UserError, match="take reads one of 4 steps, got index 4"):
        layer({"take": {"index": 4}}, (4, 3))


def test_to_image_undoes_to_sequence() -> None:
    x = torch.randn(2, 3, 4, 5)
    there_and_back = layer([{"to_sequence": {}}, {"to_image": {"size": [4, 5]}}], (3, 4, 5))
    torch.testing.assert_close(there_and_back(x), x)
    with pytest.raises(UserError, match="20 tokens do not fill a grid of 4 x 4"):
        layer([{"to_sequence": {}}, "to_image"], (3, 4, 5))


def test_to_sequence_steps() -> None:
    x = torch.randn(2, 3, 4, 5)

    def steps(by: str, x: Tensor) -> Tensor:
        return layer({"to_sequence": {"by": by}}, tuple(x.shape[1:]))(x)

    torch.testing.assert_close(steps("row", x)[:, 2], x[:, :, 2].flatten(1))
    torch.testing.assert_close(steps("column", x)[:, 4], x[:, :, :, 4].flatten(1))
    torch.testing.assert_close(steps("pixel", x)[:, 7], x[:, :, 1, 2])
    video = torch.randn(2, 3, 4, 5, 6)
    torch.testing.assert_close(steps("frame", video)[:, 1], video[:, :, 1].flatten(1))
    torch.testing.assert_close(steps("value", x[:, 0, 0])[:, 3], x[:, 0, 0, 3:4])


def test_join_steps_lays_neighbours_side_by_side_and_drops_a_rest() -> None:
    x = torch.randn(2, 7, 3)
    y = layer({"join_steps": {"count": 2}}, (7, 3))(x)
    torch.testing.assert_close(y, torch.cat([x[:, 0:6:2], x[:, 1:6:2]], 2))


def test_patch_merging_halves_each_side_and_doubles_the_width() -> None:
    found = probe({"patch_merging": {}}, ((56 * 56, 96),), 5)
    assert (found.shapes, found.params) == (((28 * 28, 192),), 2 * 4 * 96 + 4 * 96 * 2 * 96)
    assert found.macs == 28 * 28 * 4 * 96 * 2 * 96


def test_patch_merging_reads_the_two_by_two_neighbours() -> None:
    merging = layer({"patch_merging": {"size": [4, 6]}}, (24, 2))
    x = torch.randn(1, 24, 2, requires_grad=True)
    merging(x)[0, 4].sum().backward()  # row 1, column 1 of the 2 x 3 grid: rows 2, 3 and columns 2, 3
    read = x.grad.view(4, 6, 2).abs().sum(2).nonzero().tolist()
    assert read == [[2, 2], [2, 3], [3, 2], [3, 3]]


def test_patch_merging_pads_odd_sides() -> None:
    assert probe({"patch_merging": {"size": [3, 5]}}, ((15, 4),), 5).shapes == ((6, 8),)


TIED = {
    "input": {"tokens": 1000, "length": 20}, "classes": 1000, "stem": [{"tied_embedding": {"out": 64}, "as": ["table", "words"]}],
    "body": [{"lstm": {"hidden": 64, "output": "sequence"}}], "head": [{"tied_linear": {"bias": False}, "from": ["last", "table"]}],
}  # fmt: skip


@pytest.mark.slow
def test_tied_weights_are_counted_once_and_learned_from_both_sides(tmp_path: Path) -> None:
    assert cost_of(TIED).params == 1000 * 64 + 4 * (64 * 64 + 64 * 64 + 64)
    untied = {**TIED, "stem": [{"embedding": {"out": 64}}], "head": [{"linear": {"bias": False}}]}
    assert cost_of(untied).params - cost_of(TIED).params == 1000 * 64 and cost_of(untied).macs == cost_of(TIED).macs
    network = build(TIED)
    assert [tuple(p.shape) for p in network.parameters()].count((1000, 64)) == 1
    x = torch.randint(0, 1000, (3, 20))
    out = network(x)
    words = network.steps["stem0"].table.weight
    assert torch.allclose(out, network.steps["body0"](network.steps["stem0"](x)[1]) @ words.T, atol=1e-5)
    out.logsumexp(-1).sum().backward()
    assert (words.grad.abs().sum(1) > 0).all(), "also words that are not read are scored"
    for to in ("python", "onnx"):
        assert export(TIED, None, to, tmp_path / to).largest_difference < 1e-4


def test_mixer_mixes_tokens_and_features() -> None:
    """MLP-Mixer-B/16: 59,880,472 parameters and 12,601,767,936 multiply-adds in timm."""
    tokens = [{"norm": {"kind": "layer"}}, "transpose", {"ffn": {"hidden": 384, "act": "gelu"}}, "transpose"]
    features = [{"norm": {"kind": "layer"}}, {"ffn": {"hidden": 3072, "act": "gelu"}}]
    block = [{"residual": {"shortcut": "identity", "body": body}} for body in (tokens, features)]
    mixer = {
        "input": [3, 224, 224], "classes": 1000, "stem": [{"patches": {"size": 16, "out": 768}}],
        "body": [{"stage": {"depth": 12, "block": block}}],
        "head": [{"norm": {"kind": "layer"}}, {"pool": {"kind": "avg"}}, {"linear": {}}],
    }  # fmt: skip
    cost = cost_of(mixer)
    assert (cost.params, cost.macs) == (59_880_472, 12_601_767_936)
