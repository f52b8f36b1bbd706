"""The list of documented networks against the catalogue of the lecture notes: what is built, what is missing, other names, recipes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from nasforge import zoo
from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.spaces import files
from nasforge.train.recipe import Recipe

CATALOGUE = Path(__file__).resolve().parents[3] / "shared" / "catalogue" / "networks.yaml"
FAMILIES = (
    "serial", "parallel", "dense", "residual", "width", "multi_path", "feature_map", "channel_boosting", "attention_cnn", "mobile",
    "nas_found",
)  # fmt: skip
SEVERAL = {"randwire": "randwire_ws_regular"}  # a name of the catalogue that stands for several networks, and one of them


@lru_cache(maxsize=1)
def catalogue() -> list[dict[str, Any]]:
    """The entries of the families of convolutional networks; skips the test where the catalogue is absent."""
    if not CATALOGUE.exists():
        pytest.skip("the catalogue is not on this machine")
    return [row for row in yaml.safe_load(CATALOGUE.read_text(encoding="utf-8")) if row["family"] in FAMILIES]


# ---------------------------------------------------------------- built and missing


def test_every_network_of_the_catalogue_is_built_or_missing_with_a_reason() -> None:
    built, lacking = set(zoo.names()), {row["name"]: row["missing"] for row in zoo.missing()}
    for row in catalogue():
        name = SEVERAL.get(row["name"], row["name"])
        assert name in built or (row["tier"] > 2 and len(lacking.get(name, "")) > 10), f"{name} (tier {row['tier']})"


def test_the_families_are_those_of_the_catalogue() -> None:
    ours = {row["name"]: row["family"] for row in [*zoo.entries(), *zoo.missing()]}
    assert {row["name"]: row["family"] for row in catalogue() if row["name"] in ours and ours[row["name"]] != row["family"]} == {}


def test_what_is_built_is_not_listed_as_missing() -> None:
    listed = files.read(Path(zoo.__file__).parent / "missing.yaml")["missing"]
    assert not set(listed) & set(zoo.names())
    assert all(row["family"] in FAMILIES and row["missing"] and row["source"] for row in listed.values())


def test_rows_of_both_kinds_have_the_same_keys() -> None:
    keys = {"name", "family", "task", "input", "classes", "params", "macs", "published", "source", "note", "status"}
    assert all(set(row) == keys for row in zoo.entries())
    assert all(set(row) == keys | {"missing"} and row["status"] == "missing" for row in zoo.missing())


def test_loading_a_missing_network_says_what_is_missing() -> None:
    row = zoo.missing()[0]
    with pytest.raises(UserError) as error:
        zoo.load(row["name"])
    assert row["missing"] in str(error.value) and "not built" in str(error.value)


def test_the_command_answers_at_once_without_torch() -> None:
    code = "import sys; from nasforge.cli import main; main(['zoo', '--json']); sys.exit('torch' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3  # seconds; the machine may be busy
    rows = json.loads(found.stdout)["networks"]
    assert [row["name"] for row in rows] == zoo.names() + [row["name"] for row in zoo.missing()]


def test_the_table_names_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    lacking = zoo.missing()[0]
    assert main(["zoo", lacking["name"]]) == 0
    told = capsys.readouterr().out
    assert "not built (1)" in told and lacking["missing"] in told
    assert main(["zoo", "resnet1*"]) == 0
    assert "resnet18 " in (table := capsys.readouterr().out) and "11,689,512" in table and "not built" not in table
    assert main(["zoo", "no_such_network"]) == 2


# ---------------------------------------------------------------- other names


def test_other_spellings_lead_to_networks() -> None:
    known = {*zoo.names(), *(row["name"] for row in zoo.missing())}
    assert set(zoo.aka().values()) <= known and not set(zoo.aka()) & known
    assert zoo.load("vgg_d") == zoo.load("vgg16") and zoo.load("small_vgg_d")["name"] == "small_vgg16"


def test_the_spellings_of_the_catalogue_are_understood() -> None:
    """All but one: what timm calls skresnext50_32x4d has other gates than the published network."""
    built = set(zoo.names())
    spelled = {other: row["name"] for row in catalogue() if row["name"] in built for other in row.get("aka") or []}
    assert {other for other, name in spelled.items() if zoo.aka().get(other) != name and other not in built} == {"skresnext50_32x4d"}


# ---------------------------------------------------------------- recipes

RECIPES = files.read(Path(zoo.__file__).parent / "recipes.yaml")["recipes"]


@pytest.mark.parametrize("row", RECIPES, ids=lambda row: row["networks"][0])
def test_every_recipe_is_valid_and_has_a_source_and_networks(row: dict[str, Any]) -> None:
    assert set(row) <= {"networks", "data", "recipe", "source", "note"} and row["source"] and row["data"]
    made = Recipe.from_dict({**zoo.NOT_PUBLISHED, **row["recipe"]})
    assert {"epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "schedule"} <= set(row["recipe"])
    assert made.early_stopping is None  # no published training ends early
    for pattern in row["networks"]:
        assert any(fnmatch(name, pattern) for name in zoo.names()), pattern


def test_a_recipe_by_hand() -> None:
    """64,000 iterations of 128 on 45,000 images. Source: He et al. 2016, section 4.2."""
    found = zoo.recipe("resnet20")
    assert found is not None and found["data"] == "CIFAR-10"
    assert found["recipe"]["epochs"] == round(64_000 * 128 / 45_000)
    assert found["target"]["cifar10_error"] == 8.75  # He et al. 2016, table 6
    assert zoo.recipe("wrn_28_10")["recipe"]["optimizer"] == "nesterov"  # type: ignore[index]
    assert zoo.recipe("no_such_network") is None and zoo.recipe("vgg_mine") is None


def test_data_and_target_belong_together() -> None:
    """A network with an error on CIFAR-10 has a recipe for CIFAR-10, one with an error on ImageNet one for ImageNet."""
    for name in zoo.names():
        if (found := zoo.recipe(name)) is not None and found["target"]:
            figures = set(found["target"])
            assert not (found["data"] == "ImageNet" and "cifar10_error" in figures), name
            assert not (found["data"] == "CIFAR-10" and "top1_error" in figures), name


def test_show_prints_note_figures_and_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "resnet20"]) == 0
    told = capsys.readouterr().out
    assert "trained on CIFAR-10: epochs 182, batch_size 128" in told and "cifar10_error 8.75" in told
    assert main(["show", "small_resnet18"]) == 0
    told = capsys.readouterr().out
    assert "without the reduction of stem.0 (conv), stem.1 (pool)" in told and "trained on" not in told
    assert main(["show", "resnet20", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"]["recipe"]["lr"] == 0.1


def test_names_are_found_without_parsing_the_files() -> None:
    """By the look of their lines: two spaces in, below `members:`."""
    parsed = {name: path for path in zoo.HERE.glob("*.yaml") for name in files.read(path).get("members", {})}
    assert zoo._own() == parsed and zoo.names() == sorted(parsed)


def test_a_recipe_is_listed_with_every_network_that_has_it() -> None:
    of = {name: first for first, names in zoo.recipes().items() for name in names}
    for name in zoo.names():
        found = zoo.recipe(name)
        assert (found is None) == (name not in of)
        assert found is None or found["recipe"] == zoo.recipe(of[name])["recipe"]  # type: ignore[index]
