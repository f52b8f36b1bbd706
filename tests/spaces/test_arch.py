"""The canonical form and the key; YAML in and out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from nasforge.blocks import BLOCKS
from nasforge.errors import UserError
from nasforge.networks.build import build, key
from nasforge.spaces import files
from nasforge.spaces.arch import canonical_blocks
from nasforge.spaces.files import dump, find_space, parse, read, write


def arch(body: str, more: str = "") -> dict:
    return parse(f"input: [3, 16, 16]\nclasses: 10\nbody: {body}\nhead: [gap_head]\n{more}")


SAME = [
    ("a chain in a chain", "[[conv: {out: 8}, [relu]], relu]", "[conv: {out: 8}, relu, relu]"),
    ("defaults spelled", "[conv: {out: 8, kernel: 3, stride: 1, groups: 1}]", "[conv: {out: 8}]"),
    ("whole numbers", "[conv: {out: 8.0}]", "[conv: {out: 8}]"),
    ("a stage and its repeats", "[stage: {block: {conv: {out: 8}}, depth: 2}]", "[conv: {out: 8}, conv: {out: 8}]"),
    ("a stage's stride", "[stage: {block: {conv: {out: 8}}, depth: 2, stride: 2}]", "[conv: {out: 8, stride: 2}, conv: {out: 8}]"),
    ("one branch", "[parallel: {branches: [[conv: {out: 8}]]}]", "[conv: {out: 8}]"),
    ("identity", "[conv: {out: 8}, identity, []]", "[conv: {out: 8}]"),
    ("dropout of nothing", "[conv: {out: 8}, dropout: {p: 0}]", "[conv: {out: 8}]"),
    (
        "branches that commute",
        "[parallel: {join: add, branches: [[conv: {out: 8}], [conv: {out: 8, kernel: 1}]]}]",
        "[parallel: {join: add, branches: [[conv: {out: 8, kernel: 1}], [conv: {out: 8}]]}]",
    ),
    ("a named block and its opened form", "[basic: {out: 8}]", None),
    (
        "isomorphic cells",
        "[cell: {nodes: [[{from: 0, op: conv}], [{from: 0, op: relu}], [{from: 1, op: relu}, {from: 2, op: conv}]]}]",
        "[cell: {nodes: [[{from: 0, op: relu}], [{from: 0, op: conv}], [{from: 1, op: conv}, {from: 2, op: relu}]]}]",
    ),
    (
        "a skip followed by nothing",
        "[cell: {nodes: [[{from: 0, op: conv}], [{from: 0, op: identity}], [{from: 1, op: conv}, {from: 2, op: zero}]]}]",
        "[conv, conv]",
    ),
    (
        "a node that nothing reads",
        "[cell: {nodes: [[{from: 0, op: conv}], [{from: 0, op: conv}], [{from: 2, op: relu}]]}]",
        "[conv, relu]",
    ),
    (
        "an operation on zeros",
        "[cell: {nodes: [[{from: 0, op: zero}], [{from: 0, op: conv}, {from: 1, op: conv}]]}]",
        "[conv]",
    ),
]
DIFFERENT = [
    (
        "a second output of a concatenation",
        "[cell: {output: concat, nodes: [[{from: 0, op: {conv: {out: 8}}}], [{from: 0, op: []}]]}]",
        "[conv: {out: 8}]",
    ),
    (
        "the order of joined channels",
        "[cell: {join: concat, nodes: [[{from: 0, op: conv}, {from: 0, op: relu}]]}]",
        "[cell: {join: concat, nodes: [[{from: 0, op: relu}, {from: 0, op: conv}]]}]",
    ),
    ("order", "[relu, conv: {out: 8}]", "[conv: {out: 8}, relu]"),
    ("a value", "[conv: {out: 8}]", "[conv: {out: 9}]"),
    (
        "branches that are concatenated",
        "[parallel: {branches: [[conv: {out: 8}], [conv: {out: 8, kernel: 1}]]}]",
        "[parallel: {branches: [[conv: {out: 8, kernel: 1}], [conv: {out: 8}]]}]",
    ),
    (
        "one node read twice is not two nodes",
        "[cell: {nodes: [[{from: 0, op: conv}], [{from: 1, op: identity}], [{from: 1, op: relu}, {from: 2, op: relu}]]}]",
        "[cell: {nodes: [[{from: 0, op: conv}], [{from: 0, op: conv}], [{from: 1, op: relu}, {from: 2, op: relu}]]}]",
    ),
]


@pytest.mark.parametrize(("what", "one", "other"), SAME, ids=[s[0] for s in SAME])
def test_same_function_same_key(what: str, one: str, other: str | None) -> None:
    first = arch(one)
    second = {**first, "body": canonical_blocks(first["body"], BLOCKS)} if other is None else arch(other)
    assert repr(first["body"]) != repr(second["body"])
    assert key(first) == key(second)
    counts = [sum(p.numel() for p in build(a).parameters()) for a in (first, second)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("what", "one", "other"), DIFFERENT, ids=[s[0] for s in DIFFERENT])
def test_another_function_another_key(what: str, one: str, other: str) -> None:
    assert key(arch(one)) != key(arch(other))


def test_names_sources_and_recipes_are_not_the_function() -> None:
    plain = arch("[conv: {out: 8}]")
    assert key({**plain, "name": "x", "source": "y", "recipe": {"epochs": 3}}) == key(plain)
    assert key({**plain, "classes": 11}) != key(plain)
    assert key({**plain, "input": [3, 8, 8]}) != key(plain)


def test_wires_are_named_by_what_they_join_not_by_their_names() -> None:
    text = "[{{conv: {{out: 8}}, as: {a}}}, conv, {{add: {{}}, from: [last, {a}]}}, {{conv: {{out: 9}}, as: unused}}]"
    assert key(arch(text.format(a="left"))) == key(arch(text.format(a="right")))


def test_cells_of_forty_nodes_have_a_key() -> None:
    nodes = [[{"from": max(i - 1, 0), "op": "conv"}, {"from": i, "op": "conv"}] for i in range(40)]
    assert key({**arch("[]"), "body": [{"cell": {"nodes": nodes}}]})


def test_lines_that_no_output_needs_are_neither_built_nor_counted() -> None:
    live, more = arch("[{conv: {out: 8}, from: input}]"), arch("[{conv: {out: 16}}, {conv: {out: 8}, from: input}]")
    assert key(live) == key(more)
    assert sum(p.numel() for p in build(live).parameters()) == sum(p.numel() for p in build(more).parameters())


def test_steps_that_no_output_needs_are_dead() -> None:
    live = arch("[{conv: {out: 8}, as: a}, {relu: {}, from: a}]")
    dead = arch("[{conv: {out: 8}, as: a}, conv: {out: 5}, {relu: {}, from: a}]")
    assert key(live) == key(dead)


@pytest.mark.thorough
@pytest.mark.slow
def test_nas_bench_201_has_6304_functions() -> None:
    """15,625 cells. The benchmark counts 6,466 classes by expression strings; ours also drop operations on zeros (fewer), and keep
    apart one operation read twice from two operations with weights of their own (more)."""
    from nasforge.spaces.choosers import enumerate_space
    from nasforge.spaces.space import Space

    keys = {key(a) for a, _ in enumerate_space(Space(read(find_space("cell"))))}
    assert len(keys) == 6304


# ---------------------------------------------------------------- files


def test_numbers_and_words_mean_what_a_researcher_means() -> None:
    data = parse("{a: 2.0e6, b: 1e-3, c: on, d: no, e: true, f: 1_0, g: 2026-01-01, h: .5, i: ~, j: -1e3, k: 007}")
    assert (data["a"], data["b"], data["c"], data["d"], data["e"]) == (2e6, 1e-3, "on", "no", True)
    assert (data["g"], data["h"], data["i"], data["j"]) == ("2026-01-01", 0.5, None, -1000.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "text:1: not valid YAML"),
        ("a: 1\nb: 2\na: 3", "text:3: the key 'a' stands twice"),
        ("a: !!python/object/apply:os.system [ls]", "got the tag !!python"),
        ("a: 1\nb: !!timestamp abc", "text:2: must be a word, .* got the tag !!timestamp"),
        ("a: !!int abc", "text:1: must be a whole number of at most 300 digits, got 'abc'"),
        (f"a: {'9' * 5000}", "of 5,000 characters"),
        (f"a: 0x{'f' * 20000}", "must be a whole number"),
        ("a: !!float abc", "must be a number"),
        ("a: !!bool abc", "must be true or false"),
        ("a: &x [1, *x]", "must not stand inside"),
        ("a: &a {k: 1}\n" + "\n".join(f"{c}: &{c} {{<<: [{', '.join([f'*{b}'] * 11)}]}}" for b, c in pairwise("abcdefghi")), "too many"),
        (f"a: {{choose: {list(range(30_000))}}}", "too many values"),
        (
            "a: &x [1]\nb: &y [*x, *x, *x, *x, *x, *x, *x, *x, *x, *x]\n"
            + "\n".join(f"c{i}: &z{i} [{', '.join([f'*z{i - 1}' if i else '*y'] * 10)}]" for i in range(8)),
            "at most",
        ),
        ("[" * 3000, "text"),
        ("? {a: 1}\n: 2", "a key must be"),
    ],
)
def test_bad_files_are_refused_with_their_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text)


def test_write_and_read_back(tmp_path: Path) -> None:
    data = arch("[stage: {block: {conv: {out: 8}}, depth: 2}]")
    assert read(write(data, tmp_path / "deep" / "x.yaml")) == data
    assert parse(dump(data)) == data
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.yaml"]


def test_missing_files_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'digits'"):
        find_space("digit")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "absent.yaml")


@pytest.mark.parametrize("text", [
    "a: 1e-3\nb: on\nc: 1:30\nd: 0o17\n", "x: &a [1, 2]\ny: *a\nz: {<<: {q: 1}, w: 2}", "a: \U0001F600",
    '"\\ud83d\\ude00": 1', "", "# c", "a: |\n  x\n",
    "a: {b: [c, null, ~, .inf, -.5, '1']}", "a: [1, 2", "a: &x [*x]", "{a: 1, a: 2}",
    "a: \x01", "\ta: 1", "a: 1\n---\nb: 2", "a: !!set {b}", "? [a]\n: b",
    "[" * 300, "[" * 30_000, "a: [" + "1, " * 30_000,
    "a: &a [1,1,1,1]\n" + "".join(f"b{i}: &b{i} [*a,*a,*a,*a]\n" for i in range(9_000)), "9" * 400,
])  # fmt: skip
def test_libyaml_and_python_read_the_same(text: str) -> None:
    def read_by(loader: Any) -> Any:
        try:
            return repr(parse(text, "text", loader))
        except UserError as error:
            return error.args

    assert read_by(files._Fast) == read_by(files._Slow)


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML is without libyaml here")
def test_packaged_files_are_read_by_libyaml() -> None:
    for path in [*(files.PACKAGE / "zoo").glob("*.yaml"), *files.SPACES[-1].glob("*.yaml")]:
        text = path.read_text(encoding="utf-8")
        reading = files._Fast(text, str(path))
        assert reading.get_single_data() == parse(text, str(path), files._Slow)
