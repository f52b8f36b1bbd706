"""Recurrent layers against torch's own, hand-written loops and the numbers of the lectures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasforge.blocks.core.shapes import Shape
from nasforge.blocks.sequence.recurrent_steps import lstm_step
from nasforge.errors import UserError
from nasforge.networks.build import key, make, probe

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def layer(node: Any, shape: Shape) -> nn.Module:
    torch.manual_seed(0)
    return make(node, (shape,), 5, "block").eval()


def count(node: Any, shape: Shape) -> int:
    return probe(node, (shape,), 5).params


# ---------------------------------------------------------------- sizes


def test_sizes_of_the_lectures() -> None:
    """redfern: gates*(K*N + N*N + N); kalhor's translator has K = 300, N = 500."""
    counts = {cell: count({cell: {"hidden": 500}}, (4, 300)) for cell in GATES}
    assert counts == {"rnn": 400_500, "gru": 1_201_500, "lstm": 1_602_000}
    weights = counts["rnn"] - 500
    assert weights == 400_000
    vocabulary = count({"linear": {"out": 10_000, "bias": False}}, (4, 500))
    assert (vocabulary, vocabulary / weights) == (5_000_000, 12.5)  # the lecture says about 10 times


@pytest.mark.parametrize("cell", GATES)
def test_double_bias_has_the_size_of_torch(cell: str) -> None:
    theirs = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](6, 5, 2, bidirectional=True)
    args = {"hidden": 5, "layers": 2, "bidirectional": True, "bias": "double"}
    assert count({cell: args}, (4, 6)) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize(("both", "merge"), [(False, "concat"), (True, "concat"), (True, "add")])
@pytest.mark.parametrize("layers", [1, 3])
def test_sizes_and_macs_follow_the_formula(cell: str, both: bool, merge: str, layers: int) -> None:
    steps, before, hidden, gates, ways = 7, 6, 5, GATES[cell], 1 + both
    later = hidden * ways if merge == "concat" else hidden
    inputs = [before] + [later] * (layers - 1)
    args = {"hidden": hidden, "layers": layers, "bidirectional": both, "merge": merge}
    found = probe({cell: args}, ((steps, before),), 5)
    assert found.shapes == ((steps, later),)
    assert found.params == sum(ways * gates * (k * hidden + hidden * hidden + hidden) for k in inputs)
    assert found.macs == sum(steps * ways * gates * (k * hidden + hidden * hidden) for k in inputs)


@pytest.mark.parametrize(
    ("node", "gates", "peepholes"),
    [
        ({"gru": {"hidden": 5, "reset": "before"}}, 3, 0),
        ({"lstm": {"hidden": 5, "cell": "peephole"}}, 4, 15),
        ({"lstm": {"hidden": 5, "cell": "no_forget"}}, 3, 0),
    ],
)
def test_cells_run_step_by_step_cost_the_same_products(node: Any, gates: int, peepholes: int) -> None:
    found = probe(node, ((7, 6),), 5)
    assert found.params == gates * (6 * 5 + 5 * 5 + 5) + peepholes
    assert found.macs == 7 * gates * (6 * 5 + 5 * 5)


# ---------------------------------------------------------------- against torch


def copied(ours: nn.Module, theirs: nn.RNNBase) -> None:
    """The weights of ours in torch's module; its second bias becomes 0 where ours has one only."""
    weights = iter(ours.levels.levels[0].weights)
    single = ours.levels.levels[0].single
    for names in theirs._all_weights:
        for name in names:
            value = getattr(theirs, name)
            value.data = torch.zeros_like(value) if single and "bias_hh" in name else next(weights).data.clone()
    assert next(weights, None) is None


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("bias", ["single", "double"])
@pytest.mark.parametrize(("both", "layers"), [(False, 1), (True, 2)])
def test_layers_equal_torch(cell: str, bias: str, both: bool, layers: int) -> None:
    theirs = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](6, 5, layers, batch_first=True, bidirectional=both)
    args = {"hidden": 5, "layers": layers, "bidirectional": both, "bias": bias}
    ours, x = layer({cell: args}, (7, 6)), torch.randn(3, 7, 6)
    copied(ours, theirs)
    y, state = theirs(x)
    torch.testing.assert_close(ours(x), y)
    final = (state[0] if cell == "lstm" else state)[-1 - both :]  # the last state of each direction of the top level
    last = layer({cell: {**args, "output": "last"}}, (7, 6))
    last.load_state_dict(ours.state_dict())
    torch.testing.assert_close(last(x), torch.cat(list(final), 1))


def test_rnn_with_relu() -> None:
    theirs = nn.RNN(6, 5, batch_first=True, nonlinearity="relu")
    ours, x = layer({"rnn": {"hidden": 5, "act": "relu"}}, (7, 6)), torch.randn(3, 7, 6)
    copied(ours, theirs)
    torch.testing.assert_close(ours(x), theirs(x)[0])


def test_rnn_follows_its_formula() -> None:
    """h_t = tanh(U x_t + V h_{t-1} + b), h_0 = 0."""
    module, x = layer({"rnn": {"hidden": 5}}, (7, 6)), torch.randn(1, 7, 6)
    u, v, b = module.levels.levels[0].weights
    h, hs = torch.zeros(5), []
    for t in range(7):
        h = torch.tanh(u @ x[0, t] + v @ h + b)
        hs.append(h)
    torch.testing.assert_close(module(x)[0], torch.stack(hs))


@pytest.mark.parametrize("reset", ["after", "before"])
def test_added_directions_are_the_sum_of_the_halves(reset: str) -> None:
    args = {"hidden": 5, "bidirectional": True, "reset": reset}
    joined, added = layer({"gru": args}, (7, 6)), layer({"gru": {**args, "merge": "add"}}, (7, 6))
    added.load_state_dict(joined.state_dict())
    x = torch.randn(3, 7, 6)
    torch.testing.assert_close(added(x), joined(x)[..., :5] + joined(x)[..., 5:])
    last = layer({"gru": {**args, "merge": "add", "output": "last"}}, (7, 6))
    last.load_state_dict(joined.state_dict())
    torch.testing.assert_close(last(x), joined(x)[:, -1, :5] + joined(x)[:, 0, 5:])


# ---------------------------------------------------------------- other cells


def test_gru_with_reset_before_is_the_lectures_and_not_torchs() -> None:
    """kalhor, wang: candidate tanh(W x + U (r * h)); torch's nn.GRU has r * (U h)."""
    ours, x = layer({"gru": {"hidden": 5, "reset": "before"}}, (7, 6)), torch.randn(1, 7, 6)
    cell = ours.levels.levels[0]
    (wz, wr, wc), (uz, ur, uc), (bz, br, bc) = (p.chunk(3) for p in (cell.read, cell.recur, cell.bias))
    h, hs = torch.zeros(5), []
    for t in range(7):
        z, r = (wz @ x[0, t] + uz @ h + bz).sigmoid(), (wr @ x[0, t] + ur @ h + br).sigmoid()
        h = z * h + (1 - z) * torch.tanh(wc @ x[0, t] + uc @ (r * h) + bc)
        hs.append(h)
    torch.testing.assert_close(ours(x)[0], torch.stack(hs))
    theirs = nn.GRU(6, 5, batch_first=True)  # its gates stand in the order r, z, candidate
    theirs.weight_ih_l0.data = torch.cat([wr, wz, wc]).data
    theirs.weight_hh_l0.data = torch.cat([ur, uz, uc]).data
    theirs.bias_ih_l0.data, theirs.bias_hh_l0.data = torch.cat([br, bz, bc]).data, torch.zeros(15)
    y = theirs(x)[0]
    torch.testing.assert_close(y[0, 0], ours(x)[0, 0])  # equal while h is 0
    assert (y[0, 1:] - ours(x)[0, 1:]).abs().max() > 1e-3


def test_lstm_with_open_forget_and_shut_input_gate_keeps_its_cell() -> None:
    """f = 1, i = 0 keeps C, so with o = 1 the output stays; input 1 opens the input gate at step 0, -1 shuts it."""
    module, x = layer({"lstm": {"hidden": 3}}, (6, 1)), torch.tensor([1.0, -1, -1, -1, -1, -1]).view(1, 6, 1)
    w, u, b = module.levels.levels[0].weights  # gates in the order i, f, candidate, o
    for p in (w, u, b):
        p.data.zero_()
    w.data[:3], b.data[3:6], b.data[9:] = 100.0, 100.0, 100.0
    b.data[6:9] = torch.tensor([0.5, -1.0, 2.0])
    y = module(x)[0]
    torch.testing.assert_close(y[0], torch.tanh(torch.tanh(b.data[6:9])))
    torch.testing.assert_close(y, y[:1].expand(6, 3))


def test_lstm_without_forget_gate_adds_to_its_cell() -> None:
    """The constant error carousel: C_t = C_{t-1} + i * tanh(..). Source: Hochreiter & Schmidhuber 1997."""
    module = layer({"lstm": {"hidden": 1, "cell": "no_forget"}}, (5, 1))
    cell = module.levels.levels[0]
    for p in cell.parameters():
        p.data.zero_()
    cell.bias.data = torch.tensor([100.0, 0.3, 100.0])  # input gate, candidate, output gate
    steps = torch.arange(1, 6) * torch.tanh(torch.tensor(0.3))
    torch.testing.assert_close(module(torch.zeros(1, 5, 1))[0, :, 0], torch.tanh(steps))


def test_step_by_step_lstm_without_peepholes_equals_torch() -> None:
    cell, c, h, x = nn.LSTMCell(6, 5), torch.randn(3, 5), torch.randn(3, 5), torch.randn(3, 6)
    parts = (x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh).chunk(4, 1)
    for ours, theirs in zip(lstm_step(parts, c, None), cell(x, (h, c)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_peepholes_show_the_gates_the_cell() -> None:
    """i and f see C_{t-1}, o sees C_t. Source: Gers & Schmidhuber 2000."""
    parts, c, peep = torch.randn(3, 20).chunk(4, 1), torch.randn(3, 5), torch.randn(3, 5)
    h, after = lstm_step(parts, c, peep)
    i, f = (parts[0] + peep[0] * c).sigmoid(), (parts[1] + peep[1] * c).sigmoid()
    torch.testing.assert_close(after, f * c + i * torch.tanh(parts[2]))
    torch.testing.assert_close(h, (parts[3] + peep[2] * after).sigmoid() * torch.tanh(after))


# ---------------------------------------------------------------- images and videos


def test_conv_lstm_on_one_pixel_is_an_lstm_with_peepholes() -> None:
    """1x1 kernels on a 1x1 map (kalhor)."""
    video, sequence = (
        layer({"conv_lstm": {"hidden": 5, "kernel": 1}}, (6, 7, 1, 1)),
        layer({"lstm": {"hidden": 5, "cell": "peephole"}}, (7, 6)),
    )
    cell = sequence.levels.levels[0]
    cell.read.data, cell.bias.data = video.read.weight.data.flatten(1), video.read.bias.data
    cell.recur.data, cell.peep.data = video.recur.data.flatten(1), video.peep.data.flatten(1)
    x = torch.randn(3, 7, 6)
    torch.testing.assert_close(video(x.transpose(1, 2)[..., None, None])[..., 0, 0].transpose(1, 2), sequence(x))
    last = layer({"conv_lstm": {"hidden": 5, "kernel": 1, "output": "last"}}, (6, 7, 1, 1))
    last.load_state_dict(video.state_dict())
    torch.testing.assert_close(last(x.transpose(1, 2)[..., None, None])[..., 0, 0], sequence(x)[:, -1])


def test_conv_lstm_size_and_macs() -> None:
    found = probe({"conv_lstm": {"hidden": 5, "kernel": 3}}, ((2, 4, 8, 6),), 5)
    weights = 4 * 9 * (2 * 5 + 5 * 5)
    assert found.params == weights + 4 * 5 + 3 * 5 * 8 * 6
    assert (found.macs, found.shapes) == (4 * 8 * 6 * weights, ((5, 4, 8, 6),))


def test_renet_sweeps_columns_then_rows() -> None:
    module, x = layer({"renet": {"hidden": 3}}, (2, 4, 5)), torch.randn(2, 2, 4, 5)
    down, across = (
        nn.GRU(2, 3, batch_first=True, bidirectional=True),
        nn.GRU(6, 3, batch_first=True, bidirectional=True),
    )
    for ours, theirs in ((module.down, down), (module.across, across)):
        weights = iter(ours.weights)
        for name in (name for names in theirs._all_weights for name in names):
            value = getattr(theirs, name)
            value.data = torch.zeros_like(value) if "bias_hh" in name else next(weights).data
    columns = torch.stack([down(x[:, :, :, w].transpose(1, 2))[0] for w in range(5)], 2)  # (B, H, W, 6)
    rows = torch.stack([across(columns[:, h])[0] for h in range(4)], 1)
    torch.testing.assert_close(module(x), rows.permute(0, 3, 1, 2))
    assert probe({"renet": {"hidden": 3, "patch": 2}}, ((2, 4, 6),), 5).shapes == ((6, 2, 3),)


def test_time_distributed_applies_one_block_to_every_step() -> None:
    inner = {"linear": {"out": 4, "act": "tanh"}}
    sequence, x = layer({"time_distributed": {"block": inner}}, (5, 6)), torch.randn(2, 5, 6)
    torch.testing.assert_close(sequence(x), torch.stack([sequence.block(x[:, t]) for t in range(5)], 1))
    frames = [{"conv": {"out": 3}}, {"pool": {"kind": "max", "kernel": 2}}]
    video, v = layer({"time_distributed": {"block": frames}}, (2, 5, 6, 4)), torch.randn(2, 2, 5, 6, 4)
    torch.testing.assert_close(video(v), torch.stack([video.block(v[:, :, t]) for t in range(5)], 2))
    vectors = probe({"time_distributed": {"block": [*frames, "flatten"]}}, ((2, 5, 6, 4),), 5)
    assert vectors.shapes == ((5, 18),)
    assert vectors.params == probe(frames, ((2, 6, 4),), 5).params  # shared by all steps
    assert vectors.macs == 5 * probe(frames, ((2, 6, 4),), 5).macs


# ---------------------------------------------------------------- stacks


def test_stacked_layers_have_their_widths() -> None:
    stack = {"stacked": {"cell": "lstm", "widths": [8, 5], "bidirectional": True, "output": "last"}}
    found = probe(stack, ((7, 6),), 5)
    assert found.shapes == ((10,),)
    assert found.params == 2 * 4 * (6 * 8 + 64 + 8) + 2 * 4 * (16 * 5 + 25 + 5)


def test_residual_recurrent_skips_where_the_width_stays() -> None:
    module, x = layer({"residual_recurrent": {"cell": "gru", "hidden": 6, "layers": 2}}, (7, 6)), torch.randn(3, 7, 6)
    for p in module.parameters():
        p.data.zero_()  # each layer gives 0
    torch.testing.assert_close(module(x), x)
    widened = layer({"residual_recurrent": {"cell": "gru", "hidden": 4, "layers": 1}}, (7, 6))
    for p in widened.parameters():
        p.data.zero_()
    assert not widened(x).any()


@pytest.mark.parametrize(("factor", "lengths"), [(2, (16, 8, 4)), (3, (16, 5, 1))])
def test_a_pyramid_shortens_the_sequence_at_every_level(factor: int, lengths: tuple[int, ...]) -> None:
    for layers, length in enumerate(lengths, 1):
        node = {"pyramidal": {"cell": "lstm", "hidden": 4, "layers": layers, "factor": factor}}
        assert probe(node, ((16, 6),), 5).shapes == ((length, 8),)


def seen(module: nn.Module, length: int, width: int) -> Tensor:
    """Which input steps the last output step depends on."""
    x = torch.randn(1, length, width, requires_grad=True)
    module(x)[0, -1].sum().backward()
    return x.grad[0].abs().sum(1) > 0


@pytest.mark.parametrize(("convs", "field"), [(1, 15), (2, 29)])
def test_temporal_convolutions_see_their_receptive_field(convs: int, field: int) -> None:
    """Kernel 3, dilations 1, 2, 4 (sojka): 15 steps with one convolution a level, 29 with two."""
    module = layer({"tcn": {"out": 16, "levels": 3, "kernel": 3, "convs": convs}}, (40, 16))
    steps = seen(module, 40, 16)
    assert steps[-field:].all()
    assert not steps[:-field].any()


def test_temporal_convolutions_never_see_the_future() -> None:
    module, x = layer({"tcn": {"out": 5, "levels": 2}}, (12, 3)), torch.randn(1, 12, 3)
    changed = x.clone()
    changed[:, 7:] += 1.0
    y, z = module(x), module(changed)
    torch.testing.assert_close(y[:, :7], z[:, :7])
    assert not torch.allclose(y[:, 7:], z[:, 7:])


def test_a_tcn_block_projects_its_skip_only_where_the_width_changes() -> None:
    """Bai et al. 2018: 1x1 where input and output differ. Weight norm: k*in*out weights, out gains, out biases."""
    same, wider = ({"tcn_block": {"out": out}} for out in (4, 6))
    assert count(same, (9, 4)) == 2 * (3 * 4 * 4 + 4 + 4)
    assert count(wider, (9, 4)) >= (3 * 4 * 6 + 12) + (3 * 6 * 6 + 12) + 4 * 6


# ---------------------------------------------------------------- forms and mistakes


def test_arguments_without_effect_are_not_part_of_the_key() -> None:
    def arch(args: dict[str, Any]) -> dict[str, Any]:
        return {
            "input": [7, 6],
            "classes": 3,
            "body": [{"gru": {"hidden": 4, **args}}, {"take": {"index": "last"}}, "linear"],
        }

    assert key(arch({})) == key(arch({"merge": "add"})) == key(arch({"dropout": 0.3}))
    assert key(arch({"bidirectional": True})) != key(arch({"bidirectional": True, "merge": "add"}))
    assert key(arch({"layers": 2})) != key(arch({"layers": 2, "dropout": 0.3}))


@pytest.mark.parametrize(
    ("node", "shape", "says"),
    [
        ({"gru": {"hidden": 4}}, (3, 8, 8), "gru needs a sequence"),
        ({"lstm": {"hidden": 4, "layers": 0}}, (7, 6), "layers >= 1"),
        ({"gru": {"hidden": 4, "reset": "before", "bias": "double"}}, (7, 6), "use bias: single"),
        ({"lstm": {"hidden": 4, "cell": "peephole", "bias": "double"}}, (7, 6), "use bias: single"),
        ({"conv_lstm": {"hidden": 4, "kernel": 2}}, (2, 3, 4, 4), "odd kernel"),
        ({"renet": {"hidden": 4, "patch": 3}}, (2, 4, 6), "divisible by patch"),
        ({"time_distributed": {"block": {"conv": {"out": 3}}}}, (3, 8, 8), "time_distributed needs a sequence"),
    ],
)
def test_mistakes_say_what_must_hold(node: Any, shape: Shape, says: str) -> None:
    with pytest.raises(UserError, match=says):
        layer(node, shape)
