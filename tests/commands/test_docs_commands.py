"""Every command that README and docs print is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nasforge.cli import parser
from nasforge.spaces.files import space_names
from nasforge.zoo import names

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """The lines of shell blocks that call nasforge, and calls of it in the text, without comments and `...`."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|sh|console)[^\n]*\n(.*?)```", text, re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [part.strip() for line in lines for part in re.split(r"\s#\s|;\s|\s&&\s|\s\|\s", line.removeprefix("$ "))]
    return [part for part in found if re.match(r"nasforge\s", part) and "..." not in part and "<" not in re.sub(r"'[^']*'", "", part)]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_of_pages_are_taken(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(page):
        try:
            args = parser().parse_args(shlex.split(command, comments=True)[1:])
        except SystemExit as end:
            assert end.code == 0, f"{command}: {capsys.readouterr().err}"
            continue
        if args.command == "search" and args.space and re.fullmatch(r"[a-z_0-9]+", args.space):
            assert args.space in space_names(), command
        if args.command in ("train", "latency", "scale") and re.fullmatch(r"[a-z]+_?[a-z]*\d[a-z_0-9]*", args.arch):
            assert args.arch in names(), command
