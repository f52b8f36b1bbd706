"""--help: every option says what it does and stands in a group, every command shows examples, and names are completed."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from nasforge.cli import main, parser
from nasforge.cli_help import COMPLETED, EXAMPLES, GROUP_OF, SCHEDULERS, STRATEGIES
from nasforge.search.settings import DEFAULTS
from nasforge.strategies.registry import strategy_names
from nasforge.strategies.schedulers import scheduler_names

COMMANDS: dict[str, argparse.ArgumentParser] = next(
    action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)  # type: ignore[misc]
)
OPTIONS = [(name, action) for name, command in COMMANDS.items() for action in command._actions]


@pytest.mark.parametrize(("name", "action"), OPTIONS, ids=[f"{name} {action.dest}" for name, action in OPTIONS])
def test_every_option_says_what_it_does(name: str, action: argparse.Action) -> None:
    assert action.help and len(action.help) > 4


def test_a_default_that_a_space_may_change_is_told_so() -> None:
    helps = {action.dest: str(action.help) for name, action in OPTIONS if name == "search"}
    for name, value in DEFAULTS.items():
        if name in ("task", "target", "data_limit"):  # which say nothing of a default that is a value
            continue
        assert "default: the space's own" in helps[name], name
        if isinstance(value, int | str) and not isinstance(value, bool) and value:
            assert f"the space's own, else {value}" in helps[name], name


def test_groups_name_options_that_there_are() -> None:
    have = {option for _, action in OPTIONS for option in action.option_strings}
    assert {name.rpartition(" ")[2] for name in GROUP_OF} <= have, "an option of a group that no command has"
    for name in ("search", "train", "scale"):
        loose = [a.option_strings[0] for a in COMMANDS[name]._optionals._group_actions]
        assert len(loose) <= 4, f"{name}: {loose} stand in no group"


def test_groups_stand_in_one_order() -> None:
    said = COMMANDS["search"].format_help()
    titles = ("options", "data", "what is searched for", "trainings", "where it runs", "results", "parts of your own")
    places = [said.index(f"\n{title}:\n") for title in (*titles, "examples")]
    assert places == sorted(places)


def test_every_command_shows_examples_and_no_other_does() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_is_understood(line: str) -> None:
    program, *words = shlex.split(line)
    args = parser().parse_args(words)
    assert program == "nasforge" and line in COMMANDS[args.command].format_help()


# ---------------------------------------------------------------- completion


def completed(line: str, folder: Path) -> list[str]:
    """What the shell is offered, as argcomplete gives it."""
    pytest.importorskip("argcomplete")
    out = folder / "offered"
    asked = {
        "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(out), "COMP_LINE": line, "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "COMP_TYPE": "9",
    }  # fmt: skip
    code = "import sys; sys.argv[0] = 'nasforge'; from nasforge.cli import main; main()"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, cwd=folder, check=False, capture_output=True)
    return out.read_text(encoding="utf-8").split("\n") if out.exists() else []


def test_names_are_completed_in_the_shell(tmp_path: Path) -> None:
    (tmp_path / "resnet_mine.yaml").write_text("{}")
    assert {"resnet20", "resnet32", "resnet_mine.yaml"} <= set(completed("nasforge train resnet", tmp_path))
    assert set(completed("nasforge search mob", tmp_path)) == {"mobile", "mobilenet_v3"}
    assert completed("nasforge search digits --strategy pre", tmp_path) == ["predictor"]


def test_completions_need_no_torch() -> None:
    code = (
        "import sys; from nasforge.cli_help import COMPLETED; [found('res') for found in COMPLETED.values()]; "
        "sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_completed_names_are_those_of_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(STRATEGIES) == set(strategy_names()) and set(SCHEDULERS) == set(scheduler_names())
    (tmp_path / "resx").mkdir()
    monkeypatch.chdir(tmp_path)
    assert COMPLETED["arch"]("resx") == ["resx/"] and "resnet20" in COMPLETED["arch"]("resnet2")
    assert COMPLETED["metric"]("acc") == ["accuracy"] and COMPLETED["published"]("label") == ["label_smoothing"]
    assert COMPLETED["recipe"]("publ") == ["published"] and COMPLETED["objective"]("mac")[:1] == ["macro_f1"]


@pytest.mark.parametrize(("command", "group"), [("scale", "size"), ("train", "data")])
def test_target_stands_in_the_group_of_what_it_means(command: str, group: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    listed = capsys.readouterr().out.partition("\noptions:")[2]
    assert listed.rpartition("  --target ")[0].count(f"\n{group}:\n") == 1
    assert [line[:-1] for line in listed.rpartition("  --target ")[0].splitlines() if line.endswith(":") and line[0] != " "][-1] == group
