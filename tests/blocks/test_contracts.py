"""What every block keeps, run over the whole block table: an example of each is in examples_conv.py or examples_sequence.py."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from examples_conv import EXAMPLES as CONV
from examples_sequence import EXAMPLES as SEQUENCE
from onnxruntime import InferenceSession
from torch import Tensor, nn
from torch.export import Dim, ShapesCollection, export

from nasforge.blocks import BLOCKS, entries
from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.core.shapes import Tokens, example, run
from nasforge.errors import UserError
from nasforge.export import export as export_network
from nasforge.networks.build import build, key, make, opened, probe
from nasforge.networks.cost import count
from nasforge.networks.probe import Meter
from nasforge.spaces.arch import canonical_blocks
from nasforge.spaces.check import check_node
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Space

CLASSES = 5
EXAMPLES = {**SEQUENCE, **CONV}
CASES = [(name, i) for name, cases in EXAMPLES.items() for i in range(len(cases))]
FORM_ONLY = ("cell", "cell_stack", "randwire")  # their canonical form is a name of the function, not data for the builder
NEED_TWO = ("pooled_map", "aspp", "pyramid_pooling")  # batch norm of 1x1 maps has no variance in a training batch of one sample
EXPORTS = [pytest.param(name, i, marks=[pytest.mark.thorough] if i else [], id=f"{name}-{i}") for name, i in CASES]  # seconds each
every_case = pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{name}-{i}" for name, i in CASES])


def case(name: str, number: int) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """The block of an example and its input shapes."""
    given, args = EXAMPLES[name][number]
    shapes = given if isinstance(given[0], tuple) else (given,)
    return {name: copy.deepcopy(args)}, shapes


def inputs(shapes: tuple[Any, ...], batch: int) -> list[Tensor]:
    """Random inputs: the first around 0, further ones from 0 to 1 (positions of a pool among them), words below the vocabulary."""
    generator = torch.Generator().manual_seed(batch)

    def one(i: int, shape: Any) -> Tensor:
        if isinstance(shape, Tokens):
            return torch.randint(0, shape.vocab, (batch, shape.length), generator=generator)
        return torch.rand(batch, *shape, generator=generator) if i else torch.randn(batch, *shape, generator=generator)

    return [one(i, shape) for i, shape in enumerate(shapes)]


def built(name: str, number: int) -> tuple[Layer, tuple[Any, ...]]:
    node, shapes = case(name, number)
    torch.manual_seed(0)
    return make(node, shapes, CLASSES, "block"), shapes


def outputs(module: nn.Module, xs: list[Tensor]) -> tuple[Tensor, ...]:
    out = run(module, xs[0], tuple(xs[1:]))
    return tuple(out) if isinstance(out, tuple | list) else (out,)


def test_every_block_has_an_example_and_every_example_a_block() -> None:
    assert sorted(EXAMPLES) == sorted(BLOCKS)
    assert not set(SEQUENCE) & set(CONV)


def test_every_block_is_a_layer_a_combinator_or_a_function_to_data() -> None:
    for block in BLOCKS.values():
        if block.kind == "motif":
            assert inspect.isfunction(block.make)
        else:
            assert issubclass(block.make, Layer) and issubclass(block.make, Combinator) == (block.kind == "combinator")


@every_case
def test_forward_gives_the_probed_shape_and_eval_repeats_itself(name: str, number: int) -> None:
    module, shapes = built(name, number)
    found = probe(case(name, number)[0], shapes, CLASSES)
    assert sum(p.numel() for p in module.parameters()) == found.params
    for mode in (True, False):
        module.train(mode)
        for batch in (3,) if mode and name in NEED_TWO else (1, 3):
            outs = outputs(module, inputs(shapes, batch))
            assert tuple(tuple(o.shape) for o in outs) == tuple((batch, *s) for s in found.shapes)
            assert all(torch.isfinite(o).all() for o in outs)
    xs = inputs(shapes, 3)
    assert all(torch.equal(a, b) for a, b in zip(outputs(module, xs), outputs(module, xs), strict=True))


@every_case
def test_samples_of_a_batch_do_not_mix_in_eval(name: str, number: int) -> None:
    module, shapes = built(name, number)
    module.eval()
    xs = inputs(shapes, 3)
    whole, alone = outputs(module, xs), outputs(module, [x[1:2] for x in xs])
    for a, b in zip(whole, alone, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


@every_case
def test_every_parameter_gets_a_finite_gradient(name: str, number: int) -> None:
    module, shapes = built(name, number)
    outs = [o for o in outputs(module.train(), inputs(shapes, 4)) if o.is_floating_point() and o.requires_grad]
    if not list(module.parameters()):
        return
    loss = torch.stack([(o * torch.randn_like(o)).sum() for o in outs]).sum()
    loss.backward()
    for path, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{path} takes no part in the output"
        assert torch.isfinite(parameter.grad).all(), path


@every_case
def test_builds_and_runs_on_meta(name: str, number: int) -> None:
    node, shapes = case(name, number)
    with torch.device("meta"):
        module = make(node, shapes, CLASSES, "block")
        outs = outputs(module.eval(), [example(shape, 2, "meta") for shape in shapes])
    assert all(t.is_meta for t in (*outs, *module.parameters(), *module.buffers()))


@every_case
def test_arguments_survive_json_and_are_not_changed(name: str, number: int) -> None:
    node, shapes = case(name, number)
    before = copy.deepcopy(node)
    again = json.loads(json.dumps(node))
    assert again == node
    check_node(again, BLOCKS, "block", deep=True)
    make(node, shapes, CLASSES, "block")
    assert node == before
    assert probe(again, shapes, CLASSES) == probe(node, shapes, CLASSES) and opened(again) == opened(node)


@every_case
def test_macs_are_counted_or_the_block_says_that_it_is_free(name: str, number: int) -> None:
    module, shapes = built(name, number)
    leaves = [m for m in module.modules() if isinstance(m, Layer) and m.made_with] or [module]
    free = all(m.free for m in leaves)
    assert probe(case(name, number)[0], shapes, CLASSES).macs > 0 or free


@pytest.mark.parametrize(("name", "number"), [(n, i) for n, i in CASES if BLOCKS[n].kind == "combinator"])
def test_what_is_known_of_the_parts_gives_what_the_whole_combinator_does(name: str, number: int) -> None:
    node, shapes = case(name, number)
    with torch.device("meta"):
        module = make(node, shapes, CLASSES, "block").eval()
        xs = [example(shape, 1, "meta") for shape in shapes]
    meter = Meter()
    with meter:
        out = run(module, xs[0], tuple(xs[1:]))
    whole, summed = meter.read(module, xs, out), probe(node, shapes, CLASSES)
    assert replace(summed, peak_bytes=whole.peak_bytes, inner_bytes=whole.inner_bytes, layers=whole.layers) == whole
    assert summed.layers >= whole.layers == 1  # the parts of what is built whole are not told apart
    few = 0.05 if name == "time_distributed" else 0  # its block runs for a batch of steps, of which a norm's numbers are counted each time
    assert (summed.peak_bytes, summed.inner_bytes) == pytest.approx((whole.peak_bytes, whole.inner_bytes), rel=few, abs=0)


@pytest.mark.parametrize("name", [n for n, block in sorted(BLOCKS.items()) if block.kind == "layer" and block.make.free])
def test_a_layer_that_says_it_is_free_is_free_in_some_form(name: str) -> None:
    assert any(probe(*case(name, i), CLASSES).macs == 0 for i in range(len(EXAMPLES[name])))


@every_case
def test_canonical_form_is_stable_and_builds_the_same(name: str, number: int) -> None:
    node, shapes = case(name, number)
    form = canonical_blocks(node, BLOCKS)
    assert json.loads(json.dumps(form)) == form
    if name in FORM_ONLY:
        return
    assert canonical_blocks(form, BLOCKS) == form
    first, second = probe(node, shapes, CLASSES), probe(form, shapes, CLASSES)
    assert (first.params, first.macs, first.shapes[-1]) == (second.params, second.macs, second.shapes[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), EXPORTS)
def test_exports_with_a_dynamic_batch(name: str, number: int) -> None:
    module, shapes = built(name, number)
    module.eval()
    xs = inputs(shapes, 3)[: None if module.reads == "all" else 1]
    dynamic = ShapesCollection()
    for x in xs:
        dynamic[x] = {0: Dim.DYNAMIC}
    program = export(module, tuple(xs), dynamic_shapes=dynamic).module()  # type: ignore[arg-type]
    for batch in (2, 5):
        ys = inputs(shapes, batch)[: len(xs)]
        for a, b in zip(outputs(module, ys), _tuple(program(*ys)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")  # the exporter's own
@every_case
def test_onnx_gives_the_same(name: str, number: int) -> None:
    module, shapes = built(name, number)
    module.eval()
    xs = inputs(shapes, 3)[: None if module.reads == "all" else 1]
    dynamic = ShapesCollection()
    for x in xs:
        dynamic[x] = {0: Dim.DYNAMIC}
    program = torch.onnx.export(export(module, tuple(xs), dynamic_shapes=dynamic), dynamo=True, opset_version=18, verbose=False)  # type: ignore[arg-type]
    assert program is not None
    session = InferenceSession(program.model_proto.SerializeToString())
    ys = inputs(shapes, 2)[: len(xs)]
    found = session.run(None, {given.name: y.numpy() for given, y in zip(session.get_inputs(), ys, strict=True)})
    for a, b in zip(outputs(module, ys), found, strict=True):
        torch.testing.assert_close(a, torch.from_numpy(b), rtol=1e-3, atol=1e-4)


def _tuple(out: Any) -> tuple[Tensor, ...]:
    return tuple(out) if isinstance(out, tuple | list) else (out,)


STAGES: dict[str, dict[str, Any]] = {  # what a block needs besides out and stride to be built with 12, then 24 channels
    **{name: {} for name in ("asymmetric", "basic", "bottleneck", "conv", "csc", "depthwise_separable", "inverted_residual", "mbconv",
                             "mlpconv", "preact_basic", "preact_bottleneck", "separable", "shuffle_unit_v1", "shuffle_unit_v2",
                             "wide_basic", "xception_block")},
    "resnext": {"groups": 2, "base_width": 32},
    "sk": {"groups": 4},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_gives_a_block_its_width_and_its_first_repeat_the_stride(name: str) -> None:
    stage = {"stage": {"block": {name: STAGES[name]}, "out": 24, "depth": 2, "stride": 2}}
    check_node(stage, BLOCKS, "body", deep=True)
    assert probe(stage, ((12, 8, 8),), CLASSES).shapes == ((24, 4, 4),)
    assert make(stage, ((12, 8, 8),), CLASSES, "body")(torch.randn(2, 12, 8, 8)).shape == (2, 24, 4, 4)


# ---------------------------------------------------------------- a new block

NEW = '''
from __future__ import annotations

import torch
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, need_rank


class Gain(Layer):
    """Each map times a learned number, `count` numbers in turn."""

    free = True

    def __init__(self, shape: Shape, count: int = 1) -> None:
        super().__init__()
        need_rank(shape, (3,), "gain")
        self.gain = nn.Parameter(torch.full((count, 1, 1), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain.repeat(x.shape[1] // len(self.gain), 1, 1)


BLOCKS = {"gain": Gain}
'''


def test_a_new_block_is_one_class_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gain.py"
    path.write_text(NEW)
    spec = importlib.util.spec_from_file_location("nasforge.blocks.vision.gain", path)
    assert spec and spec.loader
    family = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, family)
    spec.loader.exec_module(family)
    for block in entries(family.BLOCKS):
        monkeypatch.setitem(BLOCKS, block.name, block)

    body = [{"conv": {"out": 6}}, {"residual": {"body": [{"gain": {"count": {"choose": [2, 3]}}}]}}]
    space = Space({"input": [3, 8, 8], "classes": 4, "body": body, "head": ["gap_head"]})
    assert space.size() == 2
    arch, _ = space.draw(random_chooser(random.Random(0)))
    drawn = arch["body"][1]["residual"]["body"][0]["gain"]["count"]
    assert (count(arch).params, count(arch).macs) == (6 * 27 + 12 + drawn + 6 * 4 + 4, 6 * 27 * 64 + 6 * 4)
    assert key(arch) != key({**arch, "body": body[:1]})
    network = build(arch)
    assert network(torch.rand(2, 3, 8, 8)).shape == (2, 4)
    done = export_network(arch, network.state_dict(), "python", tmp_path)
    assert done.largest_difference == 0
    assert "class Gain(nn.Module):" in done.path.read_text() and "free" not in done.path.read_text()


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_wrong_argument_name_is_named_with_its_path_and_the_nearest(name: str) -> None:
    node, shapes = case(name, 0)
    args = node[name]
    known = next(iter(BLOCKS[name].params), "kernel")
    wrong = known + "_"
    with pytest.raises(UserError) as error:
        make({name: {**args, wrong: 1}}, shapes, CLASSES, "body.3")
    assert f"body.3.{name}.{wrong}" in str(error.value)
    if BLOCKS[name].params:
        assert f"did you mean {known!r}?" in str(error.value) or known in str(error.value)


PARAMS = [(name, key, param.hint) for name, block in sorted(BLOCKS.items()) for key, param in block.params.items()]
TYPED = [(name, key) for name, key, hint in PARAMS if hint is not Any and "Annotated" not in str(hint)]  # Annotated: nested blocks


@pytest.mark.parametrize(("name", "key"), TYPED, ids=[f"{n}.{k}" for n, k in TYPED])
def test_a_wrong_type_is_named_with_its_path_and_what_must_hold(name: str, key: str) -> None:
    node, shapes = case(name, 0)
    with pytest.raises(UserError, match="must be") as error:
        make({name: {**node[name], key: [["x"]]}}, shapes, CLASSES, "body.3")
    assert f"body.3.{name}.{key}" in str(error.value)


@pytest.mark.parametrize("name", [n for n, block in sorted(BLOCKS.items()) if any(p.default is ... for p in block.params.values())])
def test_a_missing_argument_is_named(name: str) -> None:
    missing = next(k for k, p in BLOCKS[name].params.items() if p.default is ...)
    with pytest.raises(UserError, match=f"body.3.{name}.*needs the argument '{missing}'"):
        make({name: {}}, case(name, 0)[1], CLASSES, "body.3")


def test_a_wrong_block_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"body\.0: there is no block 'bottelneck'; did you mean 'bottleneck' or 'preact_bottleneck'\?"):
        make([{"bottelneck": {"out": 8}}], ((8, 6, 6),), CLASSES, "body")
