"""nasforge blocks, spaces, recipes, metrics: every name is told, and every example that is told works."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from support import ROOT, ranks_example

from nasforge import zoo
from nasforge.api import parts
from nasforge.api.recipes import recipe_named
from nasforge.blocks import BLOCKS
from nasforge.cli import main, parser
from nasforge.networks.build import build
from nasforge.networks.cost import count
from nasforge.objectives.metrics import METRICS
from nasforge.objectives.objective import parse_limit, parse_objectives
from nasforge.spaces.arch import canonical_blocks
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import parse, read, space_names
from nasforge.spaces.space import Space
from nasforge.train import Recipe

KINDS = ("blocks", "spaces", "recipes", "metrics")


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "benchmarks" / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stored_reference_is_what_the_code_says() -> None:
    made = maker()
    remedy = "run: python benchmarks/make_reference.py"
    assert made.whole(made.reference()) == parts.STORED.read_text(encoding="utf-8"), remedy
    pages = {name: (made.DOCS / name).read_text(encoding="utf-8") for name in made.pages()}
    assert pages == made.pages(), remedy


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_the_example_of_a_block_is_a_network_of_it(name: str) -> None:
    row = parts.blocks()[name]
    arch = parse(parts.as_file(row["example"]))
    check_arch(arch, BLOCKS)
    build(arch, "meta")
    (block,) = arch["body"]
    assert name in ([block] if isinstance(block, str) else block), "the block itself stands in its example"
    given = {} if isinstance(block, str) else block[name] or {}
    assert set(given) <= {one["name"] for one in row["args"]} and row["about"]
    assert {one["name"] for one in row["args"] if one["required"]} <= set(given)
    canonical_blocks(arch["body"], BLOCKS)


@pytest.mark.parametrize("name", space_names())
def test_a_space_is_told_with_a_network_that_can_be_drawn(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = listed(capsys, "spaces", name)
    space = Space(read(row["file"]))
    assert set(row["domains"]) == {domain.name for domain in space.domains()} and row["about"] and len(row["about"]) > 20
    assert row["size"] == (None if space.size() == float("inf") else int(space.size()))
    assert parser().parse_args(shlex.split(row["example"])[1:]).space == name
    count(space.draw(random_chooser(Random(3)))[0])


def test_sources_of_spaces_are_told() -> None:
    assert parts.space_row("macro", whole=True)["source"].startswith("Su et al. 2021")
    assert parts.space_row("nasnet")["about"].startswith("Cell space of NASNet (Zoph et al. 2018"), "no end at `et al.`"


@pytest.mark.parametrize("word", sorted(Recipe().to_dict()))
def test_the_example_of_a_word_of_a_recipe_is_valid(word: str) -> None:
    row = parts.recipe_row(word)
    option, value = shlex.split(row["example"])
    assert option == "--set" and row["about"] and row["default"] == Recipe().to_dict()[word]
    assert word in Recipe.from_dict(recipe_named(None, "lenet5", [value])).to_dict()


def test_published_recipes_are_valid_and_of_the_networks_that_they_name(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, "recipes")["published"]
    assert len(rows) >= 20
    for row in rows:
        Recipe.from_dict(row["recipe"])
        assert row["source"] and row["data"]
        for name in row["networks"]:
            known = zoo.recipe(name)
            assert known is not None and known["recipe"] == row["recipe"]
    of_resnet = listed(capsys, "recipes", "resnet20")
    assert of_resnet["recipe"] == zoo.recipe("resnet20")["recipe"] and of_resnet["recipe"]["lr"] == 0.1  # type: ignore[index]
    assert of_resnet["example"] == "nasforge train resnet20 --recipe published --data DATA"


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_example_of_a_metric_is_an_objective_or_a_limit_of_it(name: str) -> None:
    row = parts.metrics()[name]
    option, value, *_ = shlex.split(row["example"])
    if option == "--objective":
        assert [one.metric for one in parse_objectives(value)] == [name]
    else:
        assert option == "--constraint" and parse_limit(value).metric == name
    assert row["better"] == ("higher" if METRICS[name].maximize else "lower")


def test_metrics_name_the_tasks_that_score_them() -> None:
    rows = parts.metrics()
    assert "classification" in rows["accuracy"]["tasks"] and rows["r2"]["tasks"] == ["regression"] and rows["params"]["tasks"] == []


@pytest.mark.parametrize("kind", ["blocks", "spaces", "metrics", "zoo"])
def test_a_list_is_an_object_of_its_rows(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = zoo.names() + [row["name"] for row in zoo.missing()] if kind == "zoo" else list(getattr(parts, kind)())
    found = listed(capsys, kind)
    (rows,) = found.values()
    assert list(found) == ["networks" if kind == "zoo" else kind] and [row["name"] for row in rows] == names


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_has_one_line_a_name(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = getattr(parts, kind)()
    assert len([line for line in lines if line.split("  ")[0].split(",")[0].split(" and ")[0] in names]) == len(names)


ONES = [("blocks", "conv"), ("spaces", "cell"), ("recipes", "lr"), ("recipes", "wrn_28_10"), ("metrics", "miou")]


@pytest.mark.parametrize("words", ONES)
def test_one_is_told_in_words(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(list(words)) == 0
    said = capsys.readouterr().out
    assert words[1] in said and "example" in said


def test_show_tells_of_a_block_as_blocks_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, "show", "mbconv") == listed(capsys, "blocks", "mbconv") == parts.blocks()["mbconv"]
    assert "domains" in listed(capsys, "show", "cell"), "a space of that name comes first"


def test_lists_name_the_parts_of_plugins(tmp_path: Path, capsys: pytest.CaptureFixture[str], unplug: Any) -> None:
    file = ranks_example(tmp_path)
    own = ("--plugin", str(file), "--allow-code")
    rows = {row["name"]: row for row in listed(capsys, "blocks", *own)["blocks"]}
    assert rows["wave"]["kind"] == "layer" and set(BLOCKS) == set(rows)
    one = listed(capsys, "blocks", "wave", *own)
    assert one["plugin"] == file.name and [arg["name"] for arg in one["args"]] == ["pace"] and one["args"][0]["default"] == 1.0
    assert listed(capsys, "metrics", "rank_error", *own)["tasks"] == ["ranking"]
    assert "ranking" in listed(capsys, "metrics", "accuracy", *own)["tasks"]
    assert main(["show", "wave", *own]) == 0 and "pace" in capsys.readouterr().out


SMALL = [*KINDS, "blocks conv", "spaces mobile", "recipes resnet20", "metrics auc", "zoo res*", "show conv", "show nosuch"]


@pytest.mark.parametrize("words", SMALL)
def test_small_commands_need_no_torch(words: str) -> None:
    code = f"import sys; from nasforge.cli import main; main({words.split()}); sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
