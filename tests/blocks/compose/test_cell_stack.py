"""Cells that read two cells before them, and the operations on their edges: counts by formula, wiring by value, keys."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasforge.errors import UserError
from nasforge.networks.build import key, make, probe

POOL: dict[str, Any] = {"pool": {"kind": "max", "kernel": 3}}


def edge(source: int, op: Any) -> dict[str, Any]:
    return {"from": source, "op": op}


def built(node: Any, *shapes: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    return make(node, shapes, 5, "block").eval()


def params(node: Any, *shapes: tuple[int, ...]) -> int:
    return probe(node, shapes, 5).params


def values(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, *shape, generator=generator) for shape in shapes]


# ---------------------------------------------------------------- operations


@pytest.mark.parametrize(("high", "wide"), [(6, 6), (7, 5)])
def test_factorized_reduction_reads_two_lattices(high: int, wide: int) -> None:
    """Even positions in the first half, odd ones in the second, zeros beyond the edge; C * out weights and a norm."""
    node = {"factorized_reduction": {"out": 5, "norm": "none", "act": "none"}}
    module = built(node, (4, high, wide))
    (x,) = values((4, high, wide))
    even, odd = x[:, :, ::2, ::2], nn.functional.pad(x, [0, 1, 0, 1])[:, :, 1::2, 1::2]
    here, beside = (conv.weight.flatten(1) for conv in (module.here, module.beside))
    wanted = torch.cat([torch.einsum("oc,bchw->bohw", w, part) for w, part in ((here, even), (beside, odd))], 1)
    torch.testing.assert_close(module(x), wanted)
    assert (here.shape[0], beside.shape[0]) == (2, 3)
    assert params({"factorized_reduction": {"out": 5}}, (4, high, wide)) == 4 * 5 + 2 * 5


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_sep_conv_is_two_separable_convolutions(kernel: int) -> None:
    assert params({"sep_conv": {"kernel": kernel}}, (6, 8, 8)) == 2 * (6 * kernel**2 + 6 * 6 + 2 * 6)
    found = probe({"sep_conv": {"kernel": kernel, "depth": 1, "dilation": 2, "stride": 2, "out": 4}}, ((6, 8, 8),), 5)
    assert (found.shapes, found.params) == (((4, 4, 4),), 6 * kernel**2 + 6 * 4 + 2 * 4)


def test_reduced_conv_works_in_a_quarter_of_the_maps() -> None:
    """1x1 to 4, 1x7, 7x1, 1x1 to 16, each with a norm; the half of the map remains."""
    found = probe({"reduced_conv": {"kernel": 7, "factorized": True, "stride": 2}}, ((16, 8, 8),), 5)
    assert found.shapes == ((16, 4, 4),)
    assert found.params == 16 * 4 + 2 * 7 * 4 * 4 + 4 * 16 + 2 * (4 + 4 + 4 + 16)


# ---------------------------------------------------------------- stacks


def test_a_stack_by_formula() -> None:
    """Two cells of width 6: a sep_conv, a pool and a skip; the second reads the 12 maps of the first and the 8 of the input."""
    nodes = [[edge(0, "sep_conv"), edge(1, POOL)], [edge(0, "identity"), edge(1, "sep_conv")]]
    sep, squeeze = 2 * (6 * 9 + 6 * 6 + 12), [before * 6 + 12 for before in (8, 8, 12, 8)]
    found = probe({"cell_stack": {"nodes": nodes, "out": 6, "depth": 2}}, ((8, 9, 9), (8, 9, 9)), 5)
    assert found.shapes == ((12, 9, 9), (12, 9, 9))
    assert found.params == sum(squeeze) + 4 * sep


def test_edges_bring_what_they_say_and_outputs_stand_in_order() -> None:
    nodes = [[edge(0, "identity"), edge(1, "identity")], [edge(2, "identity"), edge(0, "identity")]]
    stack = built({"cell_stack": {"nodes": nodes, "out": 3, "also": [2, 1]}}, (4, 5, 5), (2, 5, 5))
    x, before = values((4, 5, 5), (2, 5, 5))
    cell = stack.cells[0]
    a, b = cell.current(x), cell.before(before)
    first, second = stack(x, before)
    assert torch.equal(first, x)
    torch.testing.assert_close(second, torch.cat([b, a + b, a + b + a], 1))


@pytest.mark.parametrize(("skip", "weights"), [("conv", 1), ("factorized", 2)])
def test_a_reduction_strides_edges_of_inputs_only(skip: str, weights: int) -> None:
    nodes = [[edge(0, "identity"), edge(1, POOL)], [edge(2, POOL), edge(0, POOL)]]
    stack = built({"cell_stack": {"nodes": nodes, "out": 4, "stride": 2, "skip": skip}}, (3, 8, 8), (3, 16, 16))
    assert [tuple(out.shape[1:]) for out in stack(*values((3, 8, 8), (3, 16, 16)))] == [(3, 8, 8), (4, 4, 4)]
    assert sum(isinstance(m, nn.Conv2d) for m in stack.cells[0].cell.modules()) == weights
    assert sum(isinstance(m, nn.Conv2d) for m in stack.cells[0].before.modules()) == 2  # twice as large: factorized


def test_a_raw_input_is_widened_by_what_reads_it() -> None:
    """sep_conv from 5 to 4 maps, a pool with a 1x1 of 5 * 4 behind, a skip as a 1x1, and one for the output."""
    nodes = [[edge(0, "identity"), edge(1, "sep_conv")], [edge(1, POOL), edge(1, "identity")]]
    node = {"cell_stack": {"nodes": nodes, "out": 4, "raw": True, "also": [1]}}
    sep = 5 * 9 + 5 * 4 + 8 + 4 * 9 + 4 * 4 + 8
    assert probe(node, ((5, 6, 6),), 5).shapes[-1] == (12, 6, 6)
    assert params(node, (5, 6, 6)) == sep + 4 * (5 * 4 + 8)  # three 1x1 with a norm, and the one for node 0


def test_an_input_that_no_edge_reads_is_not_prepared() -> None:
    node = {"cell_stack": {"nodes": [[edge(0, "sep_conv")]], "out": 4}}
    assert params(node, (5, 6, 6), (7, 6, 6)) == 5 * 4 + 8 + 2 * (4 * 9 + 4 * 4 + 8)


def test_dropped_edges_are_zero_or_scaled_for_whole_samples() -> None:
    stack = built({"cell_stack": {"nodes": [[edge(0, "act_conv"), edge(0, "identity")]], "out": 3, "drop_path": 0.5}}, (3, 4, 4))
    cell = stack.cells[0].cell
    cell.train()
    for norm in (m for m in cell.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    x = torch.randn(64, 3, 4, 4)
    change, whole = cell(x, x) - x, cell.nodes[0][0](x)
    dropped = change.flatten(1).abs().sum(1) < 1e-6
    assert 10 < int(dropped.sum()) < 54
    torch.testing.assert_close(change[~dropped], 2 * whole[~dropped])


def test_cells_are_keyed_by_function() -> None:
    a = [[edge(0, "sep_conv"), edge(1, POOL)], [edge(0, POOL), edge(1, "identity")], [edge(2, POOL), edge(3, "identity")]]
    b = [[edge(1, "identity"), edge(0, POOL)], [edge(1, POOL), edge(0, "sep_conv")], [edge(2, "identity"), edge(3, POOL)]]
    c = [*a[:2], [edge(3, POOL), edge(2, "identity")]]
    keys = [key(_arch({"nodes": nodes, "out": 4})) for nodes in (a, b, c)]
    assert keys[0] == keys[1] != keys[2]
    strided, plain = _arch({"nodes": [[edge(0, "identity")]], "out": 4, "stride": 2}), _arch({"nodes": [[edge(0, "identity")]], "out": 4})
    assert key(strided) != key(plain)


def _arch(args: dict[str, Any]) -> dict[str, Any]:
    return {"input": [3, 8, 8], "classes": 5, "body": [{"cell_stack": args}], "head": ["gap_head"]}


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({"nodes": [[edge(0, "identity")]], "also": [3]}, "`also` takes numbers of nodes from 0 to 2"),
        ({"nodes": [[edge(0, "zero")]]}, "no node of the cell's output is reached"),
        ({"nodes": [[edge(0, {"dropout": {}})]], "stride": 2}, "dropout has no argument 'stride'"),
        ({"nodes": [[edge(0, "identity")]], "depth": -1}, "a depth from 0 to 2000"),
    ],
)
def test_mistakes_are_named(args: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        make({"cell_stack": {"out": 4, **args}}, ((3, 8, 8),), 5, "block")


# ---------------------------------------------------------------- weighted sums


def test_weighted_edges_start_at_one_half_and_single_ones_have_no_weight() -> None:
    nodes = [[edge(0, "identity"), edge(0, "identity")], [edge(1, "relu")], [edge(1, "identity"), edge(2, "identity")]]
    cell = built({"cell": {"nodes": nodes, "join": "weighted", "output": "mean"}}, (3, 4, 4))
    (x,) = values((3, 4, 4))
    torch.testing.assert_close(cell(x), (x + x.relu()) / 2)
    assert sorted(p.numel() for p in cell.parameters()) == [2, 2]


def test_two_weighted_sums_of_the_same_nodes_are_two() -> None:
    both, last = [edge(0, "identity"), edge(0, "relu")], [edge(1, "conv"), edge(2, "conv")]
    arch = {"input": [3, 4, 4], "classes": 2, "head": ["gap_head"]}
    once = {**arch, "body": [{"cell": {"nodes": [both, [edge(1, "conv"), edge(1, "conv")]], "join": "weighted"}}]}
    twice = {**arch, "body": [{"cell": {"nodes": [both, both, last], "join": "weighted"}}]}
    assert key(once) != key(twice)


def test_a_mean_output_is_of_nodes_of_one_shape() -> None:
    with pytest.raises(UserError, match="the output must end in one shape"):
        make({"cell": {"nodes": [[edge(0, "conv")], [edge(0, {"conv": {"out": 2}})]], "output": "mean"}}, ((3, 4, 4),), 5, "block")


def test_listed_outputs_are_concatenated_in_their_order() -> None:
    cell = built({"cell": {"nodes": [[edge(0, "relu")]], "output": [1, 0]}}, (3, 4, 4))
    (x,) = values((3, 4, 4))
    torch.testing.assert_close(cell(x), torch.cat([x.relu(), x], 1))
