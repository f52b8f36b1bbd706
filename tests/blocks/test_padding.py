"""Sequences of unequal length: a padded batch gives what each sequence gives alone, through every block that reads sequences."""

from __future__ import annotations

import copy
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from examples_conv import EXAMPLES as CONV
from examples_sequence import EXAMPLES as SEQUENCE
from torch import Tensor, nn

from nasforge.blocks import BLOCKS
from nasforge.blocks.core.padding import with_lengths
from nasforge.blocks.core.shapes import Tokens
from nasforge.data import Batch, Target
from nasforge.errors import UserError
from nasforge.evaluation.zero_cost_scores import NONE, score
from nasforge.export import export
from nasforge.networks.build import build, input_shapes, key
from nasforge.networks.cost import count, layer_table
from nasforge.scaling.axes import along
from nasforge.scaling.compound import scale
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.locate import locate
from nasforge.spaces.space import Space
from nasforge.tasks import TASKS

STEPS = 16  # a square, for blocks that read a grid
LENGTHS = ([16, 7, 4, 1], [2, 16, 5, 11])  # of the main input and of the others
GRIDS = ("patch_merging", "swin_pair", "to_image", "transpose", "window_attention")  # refused
TABLES = ("tied_linear",)  # read a table beside the sequence: tested below
LAST = {"output": "last"}
BOTH = {"bidirectional": True}
NODES = {"f": {"op": "linear", "from": ["x", "h_prev_0"]}, "h_new_0": {"op": "tanh", "from": "f"}}
CEIL = {"kernel": 4, "pad": 1, "ceil": True}
CELL = {
    "nodes": [
        [{"from": 0, "op": "conv"}, {"from": 1, "op": "identity"}],
        [{"from": 2, "op": {"pool": {"kind": "avg", "kernel": 3, "stride": 1}}}, {"from": 1, "op": {"norm": {"kind": "group"}}}],
    ],
    "inputs": 2,
    "output": "concat",
}
MORE: dict[str, list[tuple[Any, dict[str, Any]]]] = {  # beside the examples of the contracts
    "attention": [((16, 8), {"heads": 2, "window": w, "causal": c}) for w in (None, 0, 3) for c in (False, True)],
    "attend": [
        (shapes, {"score": score, "join": join})
        for score in ("dot", "scaled", "general", "additive", "location")
        for shapes in (((16, 8), (16, 8)), ((8,), (16, 8)), ((16, 8),))
        for join in ("context", "concat")
    ],
    "cell": [(((16, 8), (16, 8)), CELL), ((16, 8), {"nodes": [[{"from": 0, "op": "conv"}]], "join": "mean"})],
    "conv": [
        ((16, 6), {"out": 4, "kernel": k, "stride": s, "pad": pad, "dilation": d, "norm": "group"})
        for k, s, d, pad in ((4, 2, 1, "same"), (3, 2, 2, [2, 1]), (3, 1, 3, "causal"), (4, 3, 1, "valid"), (3, 1, 1, "tf"))
    ]
    + [
        ((16, 6), {"out": 4, "norm": norm, "preact": preact, "act": "softmax"})
        for norm in ("batch", "layer", "group", "instance", "none")
        for preact in (False, True)
    ],
    "deconv": [
        ((16, 6), {"out": 4, "kernel": k, "stride": s, "pad": pad, "norm": norm})
        for k, s, pad in ((2, 2, "same"), (3, 2, "same"), (4, 2, 1), (3, 1, "same"), (3, 3, "valid"))
        for norm in ("batch", "group")
    ],
    "dense": [((16, 4), {"layers": ["conv", {"gru": {"hidden": 3, **BOTH}}]})],
    "gru": [((16, 6), {"hidden": 4, **BOTH, "layers": 3}), ((16, 6), {"hidden": 4, **BOTH, **LAST, "reset": "before", "layers": 2})],
    "lstm": [((16, 6), {"hidden": 4, **BOTH, **LAST, "layers": 2, "merge": merge}) for merge in ("concat", "add")]
    + [((16, 6), {"hidden": 4, **BOTH, **LAST, "cell": cell}) for cell in ("peephole", "no_forget")],
    "rnn": [((16, 6), {"hidden": 4, **BOTH, **LAST}), ((16, 6), {"hidden": 4, "layers": 2, **LAST})],
    "recurrent_cell": [((16, 6), {"hidden": 4, **LAST, "nodes": NODES})],
    "norm": [((16, 8), {"kind": kind, "affine": affine}) for kind in ("batch", "layer", "group", "instance") for affine in (True, False)],
    "parallel": [
        ((16, 8), {"branches": ["conv", {"pool": {"kernel": 3, "stride": 1}}], "join": join, "split": split})
        for join in ("concat", "add", "mean", "max", "mul", "gate")
        for split in (False, True)
    ]
    + [((16, 8), {"branches": [[{"pool": {"kernel": 2}}, "upsample", {"pool": {}}], [{"pool": {"kind": "avg"}}]]})],
    "pool": [
        ((16, 6), {"kind": kind, **window})
        for kind in ("max", "avg", "min", "mixed", "lp", "stochastic")
        for window in ({}, {"kernel": 2}, {"kernel": 3, "stride": 2}, {"kernel": 3, "stride": 2, "ceil": True}, CEIL)
    ],
    "residual": [((16, 8), {"body": [{"conv": {"out": 6, "stride": 2}}], "shortcut": kind}) for kind in ("auto", "pool", "none")],
    "take": [((16, 6), {"index": index}) for index in ("first", "last", 1, -3)],
    "time_distributed": [((16, 6), {"block": [{"linear": {"out": 4}}, "norm", "relu"]})],
    "upsample": [
        ((16, 6), {"mode": mode, **size}) for mode in ("nearest", "bilinear") for size in ({}, {"scale": 3}, {"size": 10}, {"size": 23})
    ],
}  # fmt: skip


def as_sequences(given: Any) -> tuple[Any, ...]:
    """The shapes of an example, with sequences of STEPS steps for texts, sequences, images and videos."""
    shapes = given if isinstance(given[0], tuple) else (given,)
    return tuple(Tokens(STEPS, s.vocab) if isinstance(s, Tokens) else s if len(s) == 1 else _long(s) for s in shapes)


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (STEPS, shape[-1] if len(shape) == 2 else shape[0])


@cache
def cases(block: str) -> list[tuple[str, dict[str, Any]]]:
    """The examples of a block that read sequences, as architectures of one block; none of one that reads images alone."""
    out = []
    if block in TABLES:
        return out
    for i, (given, args) in enumerate([*{**SEQUENCE, **CONV}[block], *MORE.get(block, [])]):
        shapes = as_sequences(given)
        arch = spelled(block, args, shapes)
        if any(isinstance(shape, Tokens) or len(shape) == 2 for shape in shapes) and builds(arch):
            out.append((f"{block}-{i}", arch))
    return out


def refused(block: str, arch: dict[str, Any]) -> bool:
    return block in GRIDS or shifts(arch)


def spelled(name: str, args: dict[str, Any], shapes: tuple[Any, ...]) -> dict[str, Any]:
    inputs = {f"x{i}": {"tokens": s.vocab, "length": s.length} if isinstance(s, Tokens) else list(s) for i, s in enumerate(shapes)}
    return {"input": inputs, "classes": 5, "body": [{name: copy.deepcopy(args), "from": list(inputs)}]}


def builds(arch: dict[str, Any]) -> bool:
    try:
        build(arch, "meta")
    except UserError:
        return False
    return True


def shifts(arch: Any) -> bool:
    """Whether a block pads as TensorFlow does at a stride: the windows of a sequence then depend on its length."""
    if isinstance(arch, dict):
        strided = max([arch.get("stride", arch.get("kernel", 1))], default=1) != 1
        return (arch.get("pad") == "tf" and strided) or any(map(shifts, arch.values()))
    return isinstance(arch, list) and any(map(shifts, arch))


# ---------------------------------------------------------------- batches and single sequences


def shortened(arch: dict[str, Any], lengths: tuple[int, ...]) -> dict[str, Any]:
    """The architecture for inputs of these lengths, which are full."""

    def short(spec: Any, length: int) -> Any:
        if isinstance(spec, dict):
            return {**spec, "length": length}
        return [length, spec[1]] if len(spec) == 2 else spec

    inputs = {name: short(spec, length) for (name, spec), length in zip(arch["input"].items(), lengths, strict=True)}
    return {**arch, "input": inputs, "padding": False}


def lengths_of(arch: dict[str, Any]) -> list[list[int]]:
    """The lengths of each input: the same where inputs are joined step by step."""
    together = set(arch["body"][0]) & {"add", "cell", "concat"}
    return [LENGTHS[0] if i == 0 or together else LENGTHS[1] for i in range(len(arch["input"]))]


def batch(arch: dict[str, Any]) -> list[Tensor]:
    """Random inputs, NaN or -1 beyond the end of each sequence."""
    generator = torch.Generator().manual_seed(1)
    xs = []
    for shape, lengths in zip(input_shapes(arch).values(), lengths_of(arch), strict=True):
        if isinstance(shape, Tokens):
            x = torch.randint(shape.vocab, (len(lengths), shape.length), generator=generator)
        else:
            x = torch.randn(len(lengths), *shape, generator=generator)
        for i, length in enumerate(lengths):
            if isinstance(shape, Tokens) or len(shape) == 2:
                x[i, length:] = torch.nan if x.is_floating_point() else -1
        xs.append(x)
    return xs


def scattered(network: nn.Module) -> nn.Module:
    """The network with weights and statistics that no constructor gives."""
    generator = torch.Generator().manual_seed(2)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(noise + 0.5 if "running_var" in name else value + 0.4 * (noise - 0.5))
    return network.eval()


def cut(value: Tensor, shape: torch.Size) -> Tensor:
    """The first entries along each axis: what is left of weights for each step, and of an output."""
    return value[tuple(slice(n) for n in shape)]


def alone(arch: dict[str, Any], network: nn.Module, xs: list[Tensor], i: int) -> tuple[nn.Module, Tensor] | None:
    """The network for the full sequence `i` with the same weights, and its output; None where it is too short for it."""
    lengths = tuple(lengths[i] for lengths in lengths_of(arch))
    short = shortened(arch, lengths)
    if not builds(short):
        return None
    single = build(short).eval()
    state = network.state_dict()
    if set(state) != set(single.state_dict()):  # a single step needs no projection
        return None
    single.load_state_dict({name: cut(state[name], value.shape) for name, value in single.state_dict().items()})
    full = (x[i : i + 1] if x.ndim == 2 and x.is_floating_point() else x[i : i + 1, :n] for x, n in zip(xs, lengths, strict=True))
    return single, single(*full)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_a_padded_batch_gives_what_the_single_sequences_give_and_their_gradients(block: str) -> None:
    for name, arch in cases(block):
        if not refused(block, arch):
            check_alike(name, arch)


@pytest.mark.slow
def test_blocks_that_read_sequences_are_compared() -> None:
    compared = {block for block in BLOCKS if any(not refused(block, arch) for _, arch in cases(block))}
    assert len(compared) >= 70 and {"conv", "lstm", "attention", "encoder_layer", "attention_pool", "pool", "embedding"} <= compared


def check_alike(name: str, given: dict[str, Any]) -> None:
    arch = {**given, "padding": True}
    network, xs = scattered(build(arch)), batch(arch)
    y = network(*xs)
    assert torch.isfinite(y).all()
    summed = {key: torch.zeros_like(p) for key, p in network.named_parameters()}
    counted = torch.zeros_like(y, dtype=torch.bool)
    compared = []
    for i in range(len(y)):
        found = alone(given, network, xs, i)
        if found is None:
            continue
        single, expected = found
        compared.append(i)
        torch.testing.assert_close(cut(y[i], expected[0].shape), expected[0], rtol=1e-5, atol=1e-5)
        cut(counted[i], expected[0].shape).fill_(True)
        if expected.requires_grad:
            expected.square().sum().backward()
            for key, p in single.named_parameters():
                cut(summed[key], p.shape).add_(0 if p.grad is None else p.grad)
    assert len(compared) >= 2, name
    assert not y[compared][~counted[compared]].any()  # zero beyond the end
    if y.requires_grad:
        y[compared].square().sum().backward()
        for key, p in network.named_parameters():
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(grad, summed[key], rtol=1e-4, atol=1e-4 * max(1.0, float(summed[key].abs().max())))


@pytest.mark.parametrize("block", BLOCKS)
def test_training_gives_finite_gradients_to_the_parameters_that_there_are_without_padding(block: str) -> None:
    arch = next((arch for _, arch in cases(block) if not refused(block, arch)), None)
    if arch is None:
        return
    plain, network = build(arch), build({**arch, "padding": True}).train()
    assert [(k, v.shape) for k, v in plain.state_dict().items()] == [(k, v.shape) for k, v in network.state_dict().items()]
    y = network(*batch({**arch, "padding": True}))
    assert torch.isfinite(y).all()
    if y.requires_grad:
        y.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


# ---------------------------------------------------------------- inputs


def test_lengths_are_read_from_what_is_missing_at_the_end() -> None:
    none = [torch.nan, torch.nan]
    found = with_lengths(torch.tensor([[[1.0, 2.0], [3.0, torch.nan], none], [none, [5.0, 6.0], [7.0, 8.0]], [none] * 3]))
    assert found.lengths.tolist() == [2, 3, 1]  # an empty sequence is one step of zeros
    assert found.values.isnan().sum() == 3  # what is missing before the end is seen
    assert not found.values[2].any() and not found.values[0, 2].any()
    words = with_lengths(torch.tensor([[3, 0, 1], [4, -1, -1], [-1, -1, -1]]))
    assert words.lengths.tolist() == [3, 1, 1] and words.values.tolist() == [[3, 0, 1], [4, 0, 0], [0, 0, 0]]


def test_padding_is_for_sequences() -> None:
    with pytest.raises(UserError, match="padding: is for inputs that are sequences"):
        build({"input": [3, 8, 8], "padding": True, "body": ["conv"]})
    with pytest.raises(UserError, match=r"padding: must be true .* or false, got 'yes'"):
        build({"input": [8, 3], "padding": "yes", "body": ["conv"]})


def test_an_image_beside_a_text_is_read_as_it_is() -> None:
    captions = {
        "input": {"image": [3, 8, 8], "text": {"tokens": 9, "length": 6}},
        "padding": True,
        "classes": 9,
        "stem": [{"patches": {"size": 2, "out": 8}}, {"swin_pair": {"heads": 2, "window": 2}}],
        "body": [
            {"encoder_layer": {"heads": 2}, "as": "seen"},
            {"embedding": {"out": 8}, "from": "text"},
            {"decoder_layer": {"heads": 2}, "from": ["last", "seen"], "as": "said"},
            {"decoder_layer": {"heads": 2}, "from": ["seen", "said"]},
        ],
        "heads": {"next": {"linear": {}, "from": "said"}, "kind": ["attention_pool", "linear"]},
    }
    network = build(captions).eval()
    image, text = torch.randn(3, 3, 8, 8), torch.tensor([[1, 2, 3, 4, 5, 6], [3, 4, -1, -1, -1, -1], [8, 7, 6, 5, -1, -1]])
    y = network(image, text)
    for i, length in enumerate((6, 2, 4)):
        single = build({**captions, "padding": False, "input": {"image": [3, 8, 8], "text": {"tokens": 9, "length": length}}}).eval()
        single.load_state_dict(network.state_dict())
        alone = single(image[i : i + 1], text[i : i + 1, :length])
        torch.testing.assert_close(y["next"][i, :length], alone["next"][0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(y["kind"][i], alone["kind"][0], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- statistics over a batch


NORMED: dict[str, Any] = {
    "norm": {},
    "conv": {"out": 6},
    "preact": {"conv": {"out": 6, "preact": True}},
    "deconv": {"out": 6},
    "time_distributed": {"block": "norm"},
}


def rows_of(network: nn.Module, x: Tensor) -> tuple[nn.BatchNorm1d, Tensor]:
    """The batch norm of a network and the rows (N, C) that it gets."""
    (norm,) = (m for m in network.modules() if isinstance(m, nn.BatchNorm1d))
    seen: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].movedim(1, -1).flatten(0, -2)))
    network(x)
    hook.remove()
    return norm, seen[0]


@pytest.mark.parametrize("name", NORMED)
def test_batch_norm_learns_from_the_steps_that_are_there(name: str) -> None:
    arch = {"input": {"x": [16, 4]}, "body": [NORMED[name] if name == "preact" else {name: NORMED[name]}]}
    network, (x,) = build({**arch, "padding": True}), batch({**arch, "padding": True})
    alone = []
    for one, length in zip(x, LENGTHS[0], strict=True):
        single = build(shortened(arch, (length,))).eval()
        single.load_state_dict(network.state_dict())
        alone.append(rows_of(single, one[None, :length])[1])
    expected = nn.BatchNorm1d(alone[0].shape[1])
    normed = expected(torch.cat(alone))
    norm, rows = rows_of(network.train(), x)
    torch.testing.assert_close(rows, torch.cat(alone), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_mean, expected.running_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var, expected.running_var, rtol=1e-5, atol=1e-6)
    if name == "norm":
        y = network(x)
        torch.testing.assert_close(torch.cat([one[:n] for one, n in zip(y, LENGTHS[0], strict=True)]), normed, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("block", [*GRIDS, "conv", "pool", "sep_conv"])
def test_what_cannot_know_where_a_sequence_ends_is_refused_with_the_reason(block: str) -> None:
    found = [arch for _, arch in cases(block) if refused(block, arch)]
    assert found
    for arch in found:
        why = "pad: tf at a stride" if shifts(arch) else "grid of full rows|makes features of steps"
        for what in (build, count):
            with pytest.raises(UserError, match=rf"^body\.0\.{block}.*({why}).*\(padding: true\)"):
                what({**arch, "padding": True})


def test_a_block_that_says_nothing_of_padding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BLOCKS["linear"].make, "stepwise", False)
    with pytest.raises(UserError, match=r"body\.0\.linear: does not know where a sequence ends \(padding: true\)"):
        build({"input": [11, 13], "padding": True, "body": [{"linear": {"out": 3}}]})


def test_sequences_that_may_end_early_are_not_joined_with_rows_of_an_image() -> None:
    body: list[Any] = [{"to_sequence": {"by": "row"}}, {"add": {}, "from": ["last", "signal"]}]
    arch = {"input": {"image": [2, 7, 4], "signal": [7, 8]}, "body": body}
    assert build(arch)
    with pytest.raises(UserError, match="add: joins sequences that may end early with one that does not"):
        build({**arch, "padding": True})


# ---------------------------------------------------------------- the rest of the package

TRANSLATION: dict[str, Any] = {
    "input": {"source": {"tokens": 11, "length": 7}, "target": {"tokens": 9, "length": 7}},
    "padding": True,
    "classes": 9,
    "stem": [{"embedding": {"out": 8}}, "positions"],
    "body": [
        {"stage": {"depth": 2, "block": {"encoder_layer": {"heads": 2, "window": 2}}}, "as": "memory"},
        {"embedding": {"out": 8}, "from": "target", "as": "cleared"},
        {"gru": {"hidden": 4, "bidirectional": True, "layers": 2}},
        {"decoder_layer": {"heads": 2}, "from": ["last", "memory"]},
        {"attend": {"score": "additive"}, "from": ["last", "memory"]},
        {"add": {}, "from": ["last", "cleared"]},
    ],
    "heads": {"words": ["linear"], "kind": ["attention_pool", "linear"]},
}
SIGNAL: dict[str, Any] = {
    "input": [12, 6],
    "padding": True,
    "classes": 3,
    "drop_path": 0.1,
    "stem": [{"conv": {"out": 8, "kernel": 5, "stride": 2}}, "class_token"],
    "body": [
        {"parallel": {"branches": ["conv", {"pool": {"kernel": 3, "stride": 1, "kind": "avg"}}], "join": "add"}},
        {"residual": {"body": [{"conv": {"norm": "group", "preact": True}}, {"se": {"ratio": 0.5}}]}},
        {"dense": {"layers": [{"lstm": {"hidden": 4, "bidirectional": True, "merge": "add"}}]}, "as": "middle"},
        {"cell": {"nodes": [[{"from": 0, "op": "act_conv"}, {"from": 0, "op": {"pool": {"kernel": 3, "stride": 1}}}]]}},
        {"recurrent_cell": {"hidden": 8, "nodes": NODES}},
        {"time_distributed": {"block": [{"linear": {"out": 8}}, "norm"]}},
        {"deconv": {"out": 6}},
        "upsample",
        "join_steps",
        {"norm": {"kind": "instance"}},
        "eca",
    ],
    "head": [{"parallel": {"branches": [{"take": {"index": "last"}}, "gap_head", ["attention_pool"], "flatten"]}}, "linear"],
    "aux": {"middle": ["gap_head"]},
}


@pytest.mark.slow
@pytest.mark.parametrize("arch", [TRANSLATION, SIGNAL], ids=["translation", "signal"])
@pytest.mark.parametrize("to", ["python", "torch", "onnx"])
def test_exports_take_padded_batches(arch: dict[str, Any], to: str, tmp_path: Path) -> None:
    network = scattered(build(arch))
    done = export(arch, network.state_dict(), to, tmp_path)
    assert done.largest_difference <= 1e-5
    if to == "python":
        text = done.path.read_text()
        assert "from where a sequence ends" in text and "nasforge." not in text.replace("those of nasforge without", "")


@pytest.mark.slow
def test_an_export_without_padding_says_nothing_of_lengths(tmp_path: Path) -> None:
    for arch in (TRANSLATION, SIGNAL):
        text = export({**arch, "padding": False}, None, "python", tmp_path).path.read_text()
        for word in ("Padded", ".lengths", "padded =", "stepwise", "each_step", "with_lengths", "cleared("):
            assert word not in text


@pytest.mark.parametrize("arch", [TRANSLATION, SIGNAL], ids=["translation", "signal"])
def test_padding_is_part_of_the_key_and_costs_are_those_of_full_length(arch: dict[str, Any]) -> None:
    plain = {name: value for name, value in arch.items() if name != "padding"}
    assert key(plain) == key({**plain, "padding": False}) != key(arch)
    full, cost = count(plain), count(arch)
    assert (cost.params, cost.macs, cost.peak_bytes) == (full.params, full.macs, full.peak_bytes)
    assert cost.activation_bytes == full.activation_bytes and layer_table(arch) == layer_table(plain)


def test_auxiliary_heads_read_lengths() -> None:
    network = build(SIGNAL).train()
    x = torch.randn(3, 12, 6).masked_fill(torch.arange(12)[:, None] >= torch.tensor([12, 5, 2])[:, None, None], torch.nan)
    main, (middle,) = network(x)
    assert main.shape == middle.shape == (3, 3)
    (main.square().sum() + middle.square().sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_zero_cost_scores_of_padded_batches_are_finite() -> None:
    body = [{"conv": {"out": 8}}, {"gru": {"hidden": 8, **BOTH}}]
    arch = {"input": [12, 6], "padding": True, "classes": 3, "body": body, "head": ["gap_head"]}
    x = torch.randn(8, 12, 6)
    x[torch.arange(12) >= torch.tensor([12, 3, 5, 1, 7, 9, 2, 11])[:, None]] = torch.nan
    some = Batch({"input": x}, {"label": torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])})
    found = score(build(arch), some, TASKS["classification"]("label", Target("label", 3)))
    assert found and all(NONE < value < float("inf") for value in found.values()), found


def test_padding_is_kept_by_scaling_and_is_of_the_data_to_locate() -> None:
    arch = {"input": [12, 6], "padding": True, "classes": 3, "body": [{"conv": {"out": 16}}], "head": ["gap_head"]}
    assert scale(arch, 1.0)["padding"] is True
    assert along(arch, "width", 2.0)["padding"] is True
    for padding in (False, True):
        space = Space({**arch, "padding": padding, "body": [{"conv": {"out": {"choose": [8, 16]}}}]})
        assert space.draw(random_chooser(random.Random(0)))[0]["padding"] is padding
        assert list(locate(arch, space, BLOCKS).values()) == [16]


def test_tied_weights_score_the_steps_that_are_there() -> None:
    stem = [{"tied_embedding": {"out": 6}, "as": ["table", "words"]}]
    head = [{"tied_linear": {}, "from": ["last", "table"]}]
    body = [{"lstm": {"hidden": 6, "output": "sequence"}}]
    arch = {"input": {"tokens": 11, "length": 7}, "classes": 11, "padding": True, "stem": stem, "body": body, "head": head}
    network, x = build(arch).eval(), torch.randint(0, 11, (2, 7))
    x[1, 3:] = -1
    whole, alone = network(x), build({**arch, "input": {"tokens": 11, "length": 3}}).eval()
    alone.load_state_dict(network.state_dict())
    torch.testing.assert_close(whole[1, :3], alone(x[1:, :3])[0])
    assert not whole[1, 3:].any()
