"""Attention against its formulas, torch's own modules and the numbers of papers and lectures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasforge.blocks.core.shapes import Shape
from nasforge.errors import UserError
from nasforge.networks.build import make, probe


def layer(node: Any, *shapes: Shape) -> nn.Module:
    torch.manual_seed(0)
    return make(node, shapes, 5, "block").eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def params(node: Any, *shapes: Shape) -> int:
    return probe(node, shapes, 5).params


# ---------------------------------------------------------------- multi-head attention


def test_weights_of_the_transformer() -> None:
    """Vaswani et al. 2017: 8 heads of 64 over 512 features: 4 * 512 * 512."""
    assert params({"attention": {"heads": 8, "bias": False}}, (10, 512)) == 1_048_576
    assert params({"attention": {"heads": 8}}, (10, 512)) == 1_048_576 + 4 * 512


@pytest.mark.parametrize(("heads", "key", "value", "out"), [(1, 4, 4, 12), (3, 5, 2, 7), (4, 3, 6, 12)])
def test_weights_and_macs_follow_the_formula(heads: int, key: int, value: int, out: int) -> None:
    """redfern: H*(2*K*P + K*L + L*N) weights for M inputs of K features; products M*M*(P + L) for each head."""
    args = {"heads": heads, "head_width": key, "value_width": value, "out": out, "bias": False}
    found = probe({"attention": args}, ((9, 12),), 5)
    weights = heads * (2 * 12 * key + 12 * value + value * out)
    assert (found.params, found.shapes) == (weights, ((9, out),))
    assert found.macs == 9 * weights + heads * 9 * 9 * (key + value)


def as_torch(ours: nn.Module, width: int, heads: int) -> nn.MultiheadAttention:
    """torch's own attention with the weights of ours."""
    theirs = nn.MultiheadAttention(width, heads, batch_first=True).eval()
    projections = [ours.read] if not hasattr(ours, "ask") else [ours.ask, ours.read]
    theirs.in_proj_weight.data = torch.cat([p.weight.data for p in projections])
    theirs.in_proj_bias.data = torch.cat([p.bias.data for p in projections])
    theirs.out_proj.load_state_dict(ours.project.state_dict())
    return theirs


def test_attention_equals_torch() -> None:
    ours, x = layer({"attention": {"heads": 2}}, (5, 8)), torch.randn(3, 5, 8)
    torch.testing.assert_close(ours(x), as_torch(ours, 8, 2)(x, x, x)[0], rtol=1e-5, atol=1e-6)


def test_cross_attention_equals_torch_and_counts_its_products() -> None:
    ours = layer({"cross_attention": {"heads": 2}}, (5, 8), (7, 8))
    x, memory = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    torch.testing.assert_close(ours(x, memory), as_torch(ours, 8, 2)(x, memory, memory)[0], rtol=1e-5, atol=1e-6)
    found = probe({"cross_attention": {"heads": 2, "bias": False}}, ((5, 8), (7, 6)), 5)
    assert found.params == 2 * 8 * 8 + 2 * 6 * 8
    assert found.macs == 5 * 8 * 8 * 2 + 7 * 6 * 16 + 2 * 5 * 7 * 8  # queries and output, keys and values, 2 heads of P = L = 4


def reads(module: nn.Module, length: int, width: int) -> Tensor:
    """(T, T): whether output step i depends on input step j."""
    x = torch.randn(1, length, width, requires_grad=True)
    y = module(x)[0]
    rows = [torch.autograd.grad(y[i].sum(), x, retain_graph=True)[0][0].abs().sum(1) > 0 for i in range(length)]
    return torch.stack(rows)


def test_causal_attention_gives_the_future_no_weight() -> None:
    assert torch.equal(reads(layer({"attention": {"heads": 2, "causal": True}}, (6, 8)), 6, 8), torch.ones(6, 6).tril().bool())
    assert reads(layer({"attention": {"heads": 2}}, (6, 8)), 6, 8).all()


def test_a_window_reads_near_steps_only() -> None:
    both = layer({"attention": {"heads": 2, "window": 2}}, (7, 8))
    assert torch.equal(reads(both, 7, 8), torch.ones(7, 7).tril(2).triu(-2).bool())
    past = layer({"attention": {"heads": 2, "window": 2, "causal": True}}, (7, 8))
    assert torch.equal(reads(past, 7, 8), torch.ones(7, 7).tril().triu(-2).bool())


def test_dropout_of_weights_acts_in_training_alone() -> None:
    module, x = layer({"attention": {"heads": 2, "dropout": 0.5}}, (6, 8)), torch.randn(1, 6, 8)
    assert torch.equal(module(x), module(x))
    module.train()
    assert not torch.equal(module(x), module(x))


def test_mistakes_say_what_must_hold() -> None:
    with pytest.raises(UserError, match="features divisible by heads, got 10 and 4"):
        layer({"attention": {"heads": 4}}, (5, 10))
    with pytest.raises(UserError, match=r"cross_attention reads two inputs, got one; .*from: \[last, memory\]"):
        layer({"cross_attention": {"heads": 2}}, (5, 8))
    with pytest.raises(UserError, match="attention needs a sequence"):
        layer({"attention": {"heads": 1}}, (3, 8, 8))


# ---------------------------------------------------------------- single attention by score


def test_scaled_scores_of_the_lecture() -> None:
    """kalhor: D_k = 64, products 112 and 96: 112/8 = 14, 96/8 = 12, softmax 0.88 and 0.12."""
    attend = layer({"attend": {"score": "scaled"}}, (64,), (2, 64))
    query = torch.zeros(1, 64)
    query[0, 0] = 16.0
    memory = torch.zeros(1, 2, 64)
    memory[0, :, 0] = torch.tensor([7.0, 6.0])  # products 112 and 96
    memory[0, 0, 1], memory[0, 1, 2] = 1.0, 1.0  # where each weight can be read
    torch.testing.assert_close(attend.scores(query[:, None], memory)[0, 0], torch.tensor([14.0, 12.0]))
    torch.testing.assert_close(attend(query, memory)[0, 1:3], torch.tensor([0.88, 0.12]), rtol=0, atol=5e-3)


def test_attention_unit_of_the_lecture() -> None:
    """kalhor: 100 scores of a 500-long state, H is 500 x 100, c = H w is 500-long."""
    attend = layer({"attend": {}}, (500,), (100, 500))
    state, states = torch.randn(1, 500) / 20, torch.randn(1, 100, 500)
    weights = (states[0] @ state[0]).softmax(0)
    assert attend.scores(state[:, None], states).shape == (1, 1, 100)
    torch.testing.assert_close(attend(state, states)[0], states[0].T @ weights, rtol=1e-4, atol=1e-4)
    found = probe({"attend": {}}, ((500,), (100, 500)), 5)
    assert (found.params, found.macs, found.shapes) == (0, 2 * 100 * 500, ((500,),))


def test_self_attention_without_matrices() -> None:
    """y_i = sum_j softmax_j(x_i . x_j) x_j; rows sum to 1 and, for words of one length, a word reads itself most."""
    attend, x = layer({"attend": {}}, (6, 512)), nn.functional.normalize(torch.randn(1, 6, 512), dim=2)
    weights = attend.scores(x, x).softmax(2)[0]
    torch.testing.assert_close(weights.sum(1), torch.ones(6))
    assert torch.equal(weights.argmax(1), torch.arange(6))
    expected = torch.stack([sum(weights[i, j] * x[0, j] for j in range(6)) for i in range(6)])
    torch.testing.assert_close(attend(x)[0], expected)


def test_additive_scores() -> None:
    """Bahdanau et al. 2015: e_ij = v . tanh(W s_i + U h_j), c_i = sum_j softmax_j(e_ij) h_j."""
    attend = layer({"attend": {"score": "additive", "hidden": 4}}, (5, 8), (7, 6))
    x, memory = torch.randn(1, 5, 8), torch.randn(1, 7, 6)
    for i in (0, 4):
        scores = torch.stack([attend.value(torch.tanh(attend.ask(x[0, i]) + attend.read(memory[0, j]))) for j in range(7)])
        torch.testing.assert_close(attend(x, memory)[0, i], (scores.softmax(0) * memory[0]).sum(0))
    assert count(attend) == 4 * 8 + 4 + 4 * 6 + 4


def test_location_scores_need_a_weight_vector_for_each_source_place() -> None:
    assert params({"attend": {"score": "location"}}, (8,), (7, 6)) == 7 * 8


def test_concat_keeps_the_query_beside_the_context() -> None:
    attend = layer({"attend": {"score": "general", "join": "concat"}}, (5, 8), (7, 6))
    x, memory = torch.randn(2, 5, 8), torch.randn(2, 7, 6)
    y = attend(x, memory)
    torch.testing.assert_close(y[..., :8], x)
    torch.testing.assert_close(y[..., 8:], (x @ attend.ask.weight.T @ memory.transpose(1, 2)).softmax(2) @ memory)


def test_attention_pool_is_a_weighted_mean() -> None:
    pool, x = layer("attention_pool", (5, 6)), torch.randn(2, 5, 6)
    weights = pool.value(torch.tanh(pool.read(x))).softmax(1)
    torch.testing.assert_close(pool(x), (weights * x).sum(1))
    pool.value.weight.data.zero_()
    torch.testing.assert_close(pool(x), x.mean(1))


# ---------------------------------------------------------------- feed-forward networks and transformer layers


def test_ffn_is_two_convolutions_of_kernel_one() -> None:
    assert params({"ffn": {"hidden": 2048}}, (10, 512)) == 2_099_712  # 2*Dm*Df + Df + Dm
    ffn, x = layer({"ffn": {"hidden": 7}}, (5, 4)), torch.randn(2, 5, 4)
    first, second = nn.Conv1d(4, 7, 1), nn.Conv1d(7, 4, 1)
    for conv, linear in ((first, ffn.widen), (second, ffn.narrow)):
        conv.weight.data, conv.bias.data = linear.weight.data[:, :, None], linear.bias.data
    torch.testing.assert_close(ffn(x), second(first(x.transpose(1, 2)).relu()).transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_experts_mix_the_networks_with_the_highest_gates() -> None:
    experts, x = layer({"experts": {"count": 4, "top": 2, "hidden": 3}}, (5, 6)), torch.randn(2, 5, 6)
    y = experts(x)
    for place in ((0, 0), (1, 3)):
        gates, chosen = experts.gate(x[place]).topk(2)
        expected = experts.narrow.bias.clone()
        for share, number in zip(gates.softmax(0), chosen.tolist(), strict=True):
            units = slice(3 * number, 3 * number + 3)
            inner = (experts.widen.weight[units] @ x[place] + experts.widen.bias[units]).relu()
            expected = expected + share * experts.narrow.weight[:, units] @ inner
        torch.testing.assert_close(y[place], expected)


def test_transformer_layers_have_their_size() -> None:
    """Derived from Vaswani et al. 2017, with biases: 512 features, 8 heads, 2,048 hidden units; 6 + 6 layers."""
    encoder = params({"encoder_layer": {"heads": 8, "hidden": 2048}}, (10, 512))
    decoder = params({"decoder_layer": {"heads": 8, "hidden": 2048}}, (10, 512), (12, 512))
    assert (encoder, decoder) == (3_152_384, 4_204_032)
    assert 6 * encoder + 6 * decoder == 44_138_496


def copy_layer(ours: nn.Module, theirs: nn.Module) -> None:
    """The weights of torch's transformer layer, in the order in which ours uses its parts."""
    parts = [m for m in ours.modules() if isinstance(m, nn.LayerNorm | nn.Linear)]
    norms = [m for m in parts if isinstance(m, nn.LayerNorm)]
    linears = [m for m in parts if isinstance(m, nn.Linear)]
    for ours_norm, name in zip(norms, ("norm1", "norm2", "norm3"), strict=False):
        ours_norm.load_state_dict(getattr(theirs, name).state_dict())
    for attention in ("self_attn", "multihead_attn"):
        if hasattr(theirs, attention):
            source = getattr(theirs, attention)
            weight, bias = source.in_proj_weight.data, source.in_proj_bias.data
            while weight.shape[0]:
                into = linears.pop(0)
                rows = into.weight.shape[0]
                into.weight.data, into.bias.data = weight[:rows].clone(), bias[:rows].clone()
                weight, bias = weight[rows:], bias[rows:]
            linears.pop(0).load_state_dict(source.out_proj.state_dict())
    linears.pop(0).load_state_dict(theirs.linear1.state_dict())
    linears.pop(0).load_state_dict(theirs.linear2.state_dict())
    assert not linears


@pytest.mark.parametrize("order", ["post", "pre"])
def test_encoder_layer_equals_torch(order: str) -> None:
    theirs = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True, norm_first=order == "pre")
    ours, x = layer({"encoder_layer": {"heads": 2, "hidden": 12, "order": order}}, (5, 8)), torch.randn(3, 5, 8)
    copy_layer(ours, theirs)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", ["post", "pre"])
def test_decoder_layer_equals_torch(order: str) -> None:
    theirs = nn.TransformerDecoderLayer(8, 2, 12, 0.0, batch_first=True, norm_first=order == "pre")
    ours = layer({"decoder_layer": {"heads": 2, "hidden": 12, "order": order}}, (5, 8), (7, 8))
    x, memory = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    copy_layer(ours, theirs)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(ours(x, memory), theirs(x, memory, tgt_mask=mask, tgt_is_causal=True), rtol=1e-4, atol=1e-5)
