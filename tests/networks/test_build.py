"""The builder: shapes derived, costs remembered, mistakes named by their path."""

from __future__ import annotations

import pytest
import torch

from nasforge.blocks import BLOCKS
from nasforge.blocks.compose.combine import Residual
from nasforge.errors import UserError
from nasforge.networks.build import build, key, probe, steps
from nasforge.spaces.check import check_arch
from nasforge.spaces.files import parse


def arch(body: str, more: str = "") -> dict:
    return parse(f"input: [3, 16, 16]\nclasses: 10\nbody: {body}\n{more}")


def test_channels_and_sizes_are_derived() -> None:
    network = build(arch("[conv: {out: 8, stride: 2}, parallel: {branches: [[conv: {out: 4}], [conv: {out: 6}]]}, gap_head]"))
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert [s.probe.shapes[0] for s in steps(arch("[conv: {out: 8, stride: 2}, pool: {kernel: 2}]"))] == [(8, 8, 8), (8, 4, 4)]


def test_cost_of_parts_is_the_cost_of_the_whole() -> None:
    data = arch("[stage: {block: {residual: {body: [conv: {out: 8}, conv: {act: none}]}}, depth: 3}, gap_head]")
    network = build(data)
    assert sum(s.probe.params for s in steps(data)) == sum(p.numel() for p in network.parameters())


def test_macs_by_hand() -> None:
    one = probe({"conv": {"out": 8, "kernel": 5, "stride": 2}}, ((3, 16, 16),), 10)
    assert one.macs == 5 * 5 * 3 * 8 * 8 * 8 and one.params == 5 * 5 * 3 * 8 + 2 * 8
    assert probe({"linear": {}}, ((32,),), 10).macs == 320
    assert probe({"pool": {"kind": "avg"}}, ((3, 16, 16),), 10).macs == 0


def test_named_wires_several_heads_and_auxiliary_heads() -> None:
    data = parse("""
input: [3, 16, 16]
classes: 4
body:
  - {conv: {out: 8}, as: early}
  - conv: {out: 16, stride: 2}
heads:
  kind: [gap_head]
  mask: [conv: {out: classes, kernel: 1, norm: none, act: none}]
aux:
  early: [gap_head]
""")
    network = build(data)
    main, aux = network(torch.zeros(2, 3, 16, 16))
    assert main["kind"].shape == (2, 4) and main["mask"].shape == (2, 4, 8, 8) and aux[0].shape == (2, 4)
    assert set(network.eval()(torch.zeros(1, 3, 16, 16))) == {"kind", "mask"}


def test_heads_read_what_their_first_line_names() -> None:
    text = """
input: [3, 16, 16]
classes: 4
body: [{conv: {out: 8}, as: fine}, {conv: {out: 8, stride: 2}, as: coarse}, conv: {out: 99}]
heads:
  fine: [{conv: {out: classes, kernel: 1}, from: fine}]
  coarse: [{conv: {out: classes, kernel: 1}, from: coarse}]
"""
    data = parse(text)
    out = build(data)(torch.zeros(2, 3, 16, 16))
    assert out["fine"].shape == (2, 4, 16, 16) and out["coarse"].shape == (2, 4, 8, 8)
    assert key(data) == key({**data, "body": data["body"][:2]})  # nothing reads the last convolution
    assert key(data) != key({**data, "heads": {**data["heads"], "coarse": data["heads"]["fine"]}})
    with pytest.raises(UserError, match=r"heads\.a\.b: the name of a head is a word without dots"):
        build({**data, "heads": {"a.b": ["gap_head"]}})


def test_a_branch_of_a_network_is_read_by_name() -> None:
    data = parse("input: [3, 16, 16]\nclasses: 4\nbody: [{conv: {out: 8}, as: a}, {conv: {out: 5}}, {conv: {out: 6}, from: a}]")
    assert [(s.where, s.shapes[0]) for s in steps(data)] == [("body.0", (3, 16, 16)), ("body.2", (8, 16, 16))]  # nothing reads body.1
    with pytest.raises(UserError, match=r"body\.0\.from: no output above is called 'b'; there are input, last"):
        build(parse("input: [3, 16, 16]\nbody: [{relu: {}, from: b}]"))


def test_lines_of_an_option_keep_their_wires_and_inner_wires_are_refused() -> None:
    data = parse("input: [3, 16, 16]\nclasses: 4\nbody: [[{conv: {out: 8}, as: a}, {conv: {out: 5}}], {concat: {}, from: [last, a]}]")
    assert build(data)(torch.zeros(1, 3, 16, 16)).shape == (1, 13, 16, 16)
    with pytest.raises(UserError, match=r"body\.0\.residual\.body\.0: `as` and `from` stand on the lines"):
        build(parse("input: [3, 16, 16]\nbody: [residual: {body: [{conv: {out: 8}, as: a}]}]"))


def test_outputs_of_a_neck_are_told_apart() -> None:
    text = """
input: [3, 16, 16]
body:
  - {{conv: {{out: 8}}, as: a}}
  - {{conv: {{out: 8, stride: 2}}, as: b}}
  - {{fpn: {{out: 8}}, from: [a, b], as: [p, q]}}
  - {{relu: {{}}, from: {which}}}
"""
    assert key(parse(text.format(which="p"))) != key(parse(text.format(which="q")))


def test_several_inputs() -> None:
    data = parse("input: {left: [4], right: [6]}\nclasses: 3\nbody: [{linear: {out: 8}, from: right}]")
    network = build(data)
    assert network(torch.zeros(2, 4), torch.zeros(2, 6)).shape == (2, 8)


def test_drop_path_grows_with_depth() -> None:
    data = arch("[stage: {block: {residual: {body: [conv]}}, depth: 4}]", "drop_path: 0.4")
    rates = [m.drop_path for m in build(data).modules() if isinstance(m, Residual)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])


MISTAKES = [
    ("[conv: {out: 8, kernal: 3}]", r"body\.0\.conv\.kernal: conv has no argument 'kernal'; did you mean 'kernel'"),
    ("[convv: {out: 8}]", r"body\.0: there is no block 'convv'; did you mean 'conv'"),
    ("[conv: {out: eight}]", r"body\.0\.conv\.out: must be a whole number .* got 'eight'"),
    ("[conv: {out: true}]", r"body\.0\.conv\.out: must be"),
    ("[conv: {norm: bach}]", r"body\.0\.conv\.norm: must be none \| batch"),
    ("[conv: 8]", r"body\.0\.conv: arguments must be a mapping"),
    ("[{conv: {out: 8}, kernel: 3}]", r"body\.0: a block has exactly one name"),
    ("[residual: {}]", r"body\.0\.residual: residual needs the argument 'body'"),
    ("[residual: {body: [conv: {out: 8, kernal: 3}]}]", r"body\.0\.residual\.body\.0\.conv\.kernal"),
    ("[conv: {out: {choose: [8, x]}}]", r"body\.0\.conv\.out\.1: must be a whole number"),
    ("[{choose: [conv, {pol: {}}]}]", r"body\.0\.1: there is no block 'pol'"),
    ("[cell: {nodes: [[{from: 0, op: conv, x: 1}]]}]", r"body\.0\.cell\.nodes\.0\.0: an edge has the keys from and op"),
    ("[stage: {block: conv, drow: each}]", r"body\.0\.stage\.drow"),
]
IMPOSSIBLE = [
    ("[conv: {out: 8, groups: 3}]", r"body\.0\.conv: conv needs in and out channels divisible by groups.*\[3, 16, 16\]"),
    ("[pool: {kernel: 2}, pool: {kernel: 99, pad: valid}]", r"body\.1\.pool"),
    ("[linear]", r"body\.0\.linear: linear needs a vector"),
    ("[gap_head, conv]", r"body\.1\.conv: conv needs a sequence"),
    ("[parallel: {join: add, branches: [[conv: {out: 4}], [conv: {out: 5}]]}]", r"body\.0\.parallel: the branches must end in one size"),
    ("[residual: {body: [conv: {out: 8}], shortcut: identity}]", r"body\.0\.residual: shortcut: identity needs"),
    ("[stage: {block: {conv: {stride: 2}}, depth: 2, stride: 2}]", r"stride stands both in the stage"),
    ("[cell: {nodes: [[{from: 3, op: conv}]]}]", r"body\.0\.cell: an edge into node 1"),
]


@pytest.mark.parametrize(("body", "message"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes_name_path_rule_and_remedy(body: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_arch(arch(body), BLOCKS)


@pytest.mark.parametrize(("body", "message"), IMPOSSIBLE, ids=[m[0] for m in IMPOSSIBLE])
def test_impossible_shapes_name_the_path(body: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(arch(body))


@pytest.mark.parametrize(
    "top", ["inptu: [3, 8, 8]", "input: [3, -8, 8]", "input: 3", "input: [3, 8, 8]\nclasses: 0", "input: [3, 8, 8]\ndrop_path: 2"]
)
def test_mistakes_at_the_top(top: str) -> None:
    with pytest.raises(UserError):
        build(parse(top + "\nbody: [conv]"))
