"""Recurrent cells written as gates: torch's own layers written so give torch's numbers, and only what a cell computes names it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from support import shared_data
from torch import Tensor, nn

from nasforge.blocks import BLOCKS
from nasforge.blocks.sequence.recurrent_cell import RecurrentCell
from nasforge.blocks.sequence.recurrent_graph import canonical_nodes
from nasforge.errors import UserError
from nasforge.evaluation.tables import read_table
from nasforge.export import export
from nasforge.networks.build import build, key, make, probe
from nasforge.networks.cost import count, layer_table
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import parse
from nasforge.spaces.space import Space

READS = ["x", "h_prev_0"]
LSTM = {
    **{gate: {"op": "linear", "from": READS} for gate in ("i", "f", "g", "o")},
    "in": {"op": "sigmoid", "from": ["i"]},
    "keep": {"op": "sigmoid", "from": ["f"]},
    "new": {"op": "tanh", "from": ["g"]},
    "show": {"op": "sigmoid", "from": ["o"]},
    "kept": {"op": "mul", "from": ["keep", "h_prev_1"]},
    "added": {"op": "mul", "from": ["in", "new"]},
    "h_new_1": {"op": "add", "from": ["kept", "added"]},
    "bent": {"op": "tanh", "from": ["h_new_1"]},
    "h_new_0": {"op": "mul", "from": ["show", "bent"]},
}
GRU = {
    **{gate: {"op": "linear", "from": READS} for gate in ("r", "z")},
    "reset": {"op": "sigmoid", "from": ["r"]},
    "stay": {"op": "sigmoid", "from": ["z"]},
    "old": {"op": "linear", "from": ["h_prev_0"]},
    "read": {"op": "linear", "from": ["x"]},
    "recalled": {"op": "mul", "from": ["reset", "old"]},
    "sum": {"op": "add", "from": ["read", "recalled"]},
    "n": {"op": "tanh", "from": ["sum"]},
    "h_new_0": {"op": "blend", "from": ["stay", "h_prev_0", "n"]},
}


def cell(nodes: dict[str, Any], features: int = 6) -> RecurrentCell:
    torch.manual_seed(0)
    return make({"recurrent_cell": {"nodes": nodes, "hidden": 5}}, ((7, features),), 0, "block").eval()  # type: ignore[return-value]


def put(module: RecurrentCell, name: str, *weights: Tensor) -> None:
    """Copy W (where it reads x), one U for each other input, and b into a linear node."""
    linear = [(n, sources) for n, (op, sources) in module.gates.items() if op == "linear"]
    place = [n for n, _ in linear].index(name)
    earlier, own = [s for _, sources in linear[:place] for s in sources], linear[place][1]
    first = len([s for s in earlier if s != "x"])
    with torch.no_grad():
        if "x" in own:
            module.read[earlier.count("x")] = weights[0]
        for i, u in enumerate(weights["x" in own : -1]):
            module.recur[first + i] = u
        module.bias[place] = weights[-1]


def named(nodes: dict[str, Any]) -> str:
    return key({"input": [4, 6], "body": [{"recurrent_cell": {"nodes": nodes, "hidden": 5}}]})


def disguised(nodes: dict[str, Any], rng: Random) -> dict[str, Any]:
    """The same cell: other names, another order, other states' numbers, inputs that commute in another order, and a dead node."""
    fresh = [n for n in nodes if not n.startswith("h_new_")]
    names = dict(zip(fresh, rng.sample([f"q{i}" for i in range(len(fresh))], len(fresh)), strict=True))
    states = [n.removeprefix("h_new_") for n in nodes if n.startswith("h_new_") and n != "h_new_0"]
    for old, new in zip(states, rng.sample([str(3 + i) for i in range(len(states))], len(states)), strict=True):
        names |= {f"h_new_{old}": f"h_new_{new}", f"h_prev_{old}": f"h_prev_{new}"}
    moved = {names.get(n, n): (node["op"], [names.get(s, s) for s in node["from"]]) for n, node in nodes.items()}
    out = {n: {"op": op, "from": s if op == "blend" else rng.sample(s, len(s))} for n, (op, s) in moved.items()}
    out["dead"] = {"op": "linear", "from": ["x", next(iter(out))]}
    return {n: out[n] for n in rng.sample(list(out), len(out))}


# ---------------------------------------------------------------- against torch


def test_an_lstm_as_gates_is_torchs() -> None:
    theirs, ours = nn.LSTM(6, 5, batch_first=True), cell(LSTM)
    read, recur, b, c = (p.data.chunk(4) for p in theirs.parameters())
    for i, name in enumerate("ifgo"):  # torch's order
        put(ours, name, read[i], recur[i], b[i] + c[i])
    x = torch.randn(3, 7, 6)
    torch.testing.assert_close(ours(x), theirs(x)[0])


def test_a_gru_as_gates_is_torchs() -> None:
    theirs, ours = nn.GRU(6, 5, batch_first=True), cell(GRU)
    read, recur, b, c = (p.data.chunk(3) for p in theirs.parameters())
    for i, name in enumerate("rz"):  # torch's order, then the candidate
        put(ours, name, read[i], recur[i], b[i] + c[i])
    put(ours, "read", read[2], b[2])
    put(ours, "old", recur[2], c[2])
    x = torch.randn(3, 7, 6)
    torch.testing.assert_close(ours(x), theirs(x)[0])


def test_a_cell_without_weights_sums_its_input_up() -> None:
    x = torch.randn(3, 7, 5)
    torch.testing.assert_close(cell({"h_new_0": {"op": "add", "from": READS}}, features=5)(x), x.cumsum(1))


def test_gates_cost_what_the_same_layer_costs() -> None:
    """4*(K*N + N*N + N) parameters, and the products of each step."""
    ours, fused = ({"recurrent_cell": {"hidden": 5, "nodes": LSTM}}, {"lstm": {"hidden": 5}})
    found, wanted = (probe(node, ((7, 6),), 0) for node in (ours, fused))
    assert (found.params, found.macs, found.shapes) == (wanted.params, wanted.macs, wanted.shapes) == (240, 7 * 220, ((7, 5),))


# ---------------------------------------------------------------- one name for one function


MANY = {  # nine gates that read the same
    **{f"g{i}": {"op": "linear", "from": READS} for i in range(9)},
    **{f"a{i}": {"op": ("tanh", "sigmoid", "leaky_relu")[i % 3], "from": [f"g{i}"]} for i in range(9)},
    **{f"m{i}": {"op": ("add", "mul")[i % 2], "from": [f"a{i}", f"a{i + 5}"]} for i in range(4)},
    "h_new_1": {"op": "blend", "from": ["m0", "m1", "h_prev_1"]},
    "h_new_0": {"op": "blend", "from": ["a4", "h_new_1", "m2"]},
    "h_new_2": {"op": "add", "from": ["m3", "h_prev_2"]},
}
MANY["m2"] = {"op": "mul", "from": ["a2", "a7", "h_prev_2"]}


@pytest.mark.parametrize("nodes", [LSTM, GRU, MANY], ids=["lstm", "gru", "many"])
def test_names_and_order_do_not_count(nodes: dict[str, Any]) -> None:
    rng = Random(0)
    assert {named(disguised(nodes, rng)) for _ in range(20)} == {named(nodes)}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"copy": {"op": "tanh", "from": ["g"]}, "added": {"op": "mul", "from": ["in", "copy"]}}, True),  # tanh has no weights
        ({"copy": {"op": "linear", "from": READS}, "new": {"op": "tanh", "from": ["copy"]}}, True),  # g is dead, copy stands for it
        ({"show": {"op": "sigmoid", "from": ["i"]}}, False),  # a gate less
        ({"show": {"op": "tanh", "from": ["o"]}}, False),
        ({"kept": {"op": "mul", "from": ["keep", "h_prev_0"]}}, False),  # c is no state any more
        ({"h_new_0": {"op": "blend", "from": ["show", "bent", "new"]}}, False),
    ],
)
def test_only_what_changes_the_function_changes_the_key(change: dict[str, Any], same: bool) -> None:
    assert (named({**LSTM, **change}) == named(LSTM)) is same


def test_what_a_blend_reads_has_an_order() -> None:
    orders = [["stay", "h_prev_0", "n"], ["stay", "n", "h_prev_0"], ["n", "h_prev_0", "stay"]]
    assert len({named({**GRU, "h_new_0": {"op": "blend", "from": order}}) for order in orders}) == 3


def test_two_states_that_are_always_equal_are_one() -> None:
    plain = {"f": {"op": "linear", "from": READS}, "h_new_0": {"op": "tanh", "from": ["f"]}}
    twice = {**plain, "f": {"op": "linear", "from": ["x", "h_prev_1"]}, "h_new_1": {"op": "tanh", "from": ["f"]}}
    assert named(twice) == named(plain)


def test_the_canonical_form_computes_the_same() -> None:
    """With one number for all weights, it does not matter which weight is which."""
    cells = [LSTM, GRU, *cells_of_the_table()[::9]]
    for nodes in cells:
        outs = []
        for form in (nodes, canonical_nodes(nodes)):
            module = cell(form)
            with torch.no_grad():
                [p.fill_(0.3) for p in module.parameters()]
            outs.append(module(torch.linspace(-1, 1, 42).view(1, 7, 6)))
        torch.testing.assert_close(*outs)


# ---------------------------------------------------------------- NAS-Bench-NLP


def cells_of_the_table() -> list[dict[str, Any]]:
    return list(read_table(shared_data("nas/wikitext2_runs.jsonl.gz")).space.data["let"]["cell"]["choose"].values())


def test_cells_of_nas_bench_nlp_have_a_key_whatever_their_form() -> None:
    rng, cells = Random(1), cells_of_the_table()
    forms = [canonical_nodes(nodes) for nodes in cells]
    assert forms == [canonical_nodes(disguised(nodes, rng)) for nodes in cells]
    assert len(cells) == 345 and len({str(form) for form in forms}) == 260


# ---------------------------------------------------------------- in use


def test_openings_stand_inside_a_cell() -> None:
    data = parse("""
input: [6, 3]
classes: 4
body:
  - recurrent_cell:
      hidden: 5
      output: last
      nodes:
        f: {op: linear, from: [x, {choose: [h_prev_0, g]}]}
        g: {op: {choose: [tanh, leaky_relu]}, from: [h_prev_0]}
        h_new_0: {op: tanh, from: [f]}
head: [linear]
""")
    check_arch(data, BLOCKS)
    space = Space(data)
    archs = [space.draw(random_chooser(Random(i)))[0] for i in range(20)]
    assert space.size() == 4 and len({key(arch) for arch in archs}) == 3  # g is dead in two of four
    assert build(archs[0])(torch.randn(2, 6, 3)).shape == (2, 4)


def test_the_layer_table_holds_all_of_a_cell() -> None:
    arch = {"input": [7, 6], "body": [{"recurrent_cell": {"nodes": GRU, "hidden": 5}}]}
    (row,) = layer_table(arch)
    assert (row.type, row.params, row.macs) == ("recurrent_cell", count(arch).params, count(arch).macs) and row.params > 0


@pytest.mark.slow
def test_a_cell_leaves_as_python(tmp_path: Path) -> None:
    arch = {"input": {"tokens": 9, "length": 4}, "classes": 9, "body": [{"embedding": {"out": 6}}], "head": [{"linear": {}}]}
    arch["body"] += [{"recurrent_cell": {"nodes": nodes, "hidden": 5}} for nodes in (LSTM, GRU)]
    done = export(arch, None, "python", tmp_path)
    assert done.largest_difference <= 1e-5
    assert "def gates_of" not in done.path.read_text()


NODE = {"f": {"op": "linear", "from": READS}, "h_new_0": {"op": "tanh", "from": ["f"]}}


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"f": NODE["f"]}, "needs a node h_new_0, its output and first state; it has f"),
        ({**NODE, "f": {"op": "conv", "from": ["x"]}}, "node f: there is no operation 'conv'; valid: linear, add"),
        ({**NODE, "f": {"op": "linear", "from": ["x", "h_prev_1"]}}, "node f: there is no 'h_prev_1'; it may read x, f, h_new_0"),
        ({**NODE, "f": {"op": "linear", "from": ["x", "x"]}}, "node f: linear reads x once"),
        ({**NODE, "f": {"op": "linear"}}, r"node f: a node is \{op: OPERATION, from: "),
        ({**NODE, "f": {"op": "linear", "from": 3}}, r"node f: a node is \{op: OPERATION, from: "),
        ({**NODE, "f": {"op": "linear", "from": [["x"]]}}, "node f: there is no "),
        ({**NODE, "f": {"op": "blend", "from": ["x", "h_prev_0"]}}, r"node f: blend reads 3, got \['x', 'h_prev_0'\]"),
        ({**NODE, "f": {"op": "add", "from": ["x"]}}, "node f: add reads 2 or more"),
        ({**NODE, "f": {"op": "linear", "from": ["h_prev_0"]}}, "no node that h_new_0 depends on reads x"),
        ({**NODE, "f": {"op": "linear", "from": ["x", "h_new_0"]}}, "in one step: h_new_0 > f > h_new_0; read h_prev_i instead"),
        (
            {
                **{f"h_new_{i}": {"op": "tanh", "from": [f"h_prev_{i + 1}"]} for i in range(5)},
                "h_new_5": {"op": "linear", "from": ["x"]},
            },
            "up to 5 states, got h_new_0, h_new_1,",
        ),
        ({**NODE, "h_prev_0": NODE["f"]}, "node h_prev_0: .* call it otherwise"),
    ],
)
def test_mistakes_name_the_node(nodes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        cell(nodes)
    assert str(error.value).startswith("block.recurrent_cell: ")
    with pytest.raises(UserError, match=message):
        named(nodes)


def test_only_linear_reads_x_of_another_width() -> None:
    with pytest.raises(UserError, match="node f: add reads x, whose 6 features must be hidden, 5; let linear read x"):
        cell({**NODE, "f": {"op": "add", "from": READS}})
    assert cell({**NODE, "f": {"op": "add", "from": READS}}, features=5)(torch.zeros(2, 7, 5)).shape == (2, 7, 5)
