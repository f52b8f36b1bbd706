"""What can be refused at once is refused before torch is imported, and every command that imports it says first what it is going to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nasforge.cli import FIRST, LISTS, main, parser
from nasforge.commands import early
from nasforge.errors import UserError

REFUSED = {
    "search --data nowhere": "no file or folder 'nowhere'",
    "search mobil": "did you mean 'mobile'",
    "search mobile --strategy predicter": "did you mean 'predictor'",
    "search mobile --constraint parms<=2e5": "did you mean 'params'",
    "search mobile --constraint params<=1000 --constraint params>=2000": "no value keeps both params<=1000 and params>=2000",
    "search mobile --constraint macs<1M --constraint macs>=1M": "no value keeps both macs<1000000 and macs>=1000000",
    "search mobile --objective accurcy": "did you mean 'accuracy'",
    "search mobile --seed-arch resnet21": "did you mean",
    "search mobile --prior nowhere": "no such folder",
    "search mobile --profile nowhere.json": "is no latency profile",
    "search mobile --log tensorbord": "did you mean 'tensorboard'",
    "train resnet21": "did you mean",
    "train resnet20 --recipe publishd": "no published recipe",
    "train resnet20 --set lrr=.1": "did you mean 'lr'",
    "train resnet20 --task clasification": "did you mean 'classification'",
    "train broken.yaml": "not valid YAML",
    "train resnet20 --data nowhere.npz": "no file or folder",
    "train resnet20 --weights nowhere.pth": "no such file",
    "report nowhere": "no such folder",
    "export nowhere --to onnx": "no documented network",
    "predict nowhere row.npz": "no documented network",
    "score resnet20 --weights nowhere.pth": "no such file",
    "scale resnet20 --fit parms=1e6": "did you mean 'params'",
    "scale resnet20 --phi 1 --axis dept": "did you mean 'depth'",
    "scale resnet20": "either --phi P or --fit",
    "latency resnet20 --precision float3": "did you mean 'float32'",
    "calibrate mobil": "did you mean 'mobile'",
    "replay nowhere": "no such folder",
    "bench --strategies predicter": "did you mean 'predictor'",
    "locate resnet20 mobil": "did you mean 'mobile'",
    "zoo --weights resnet20 nowhere.pth": "no such file",
}
HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
ALL = """
import sys
from nasforge.cli import main
for line in sys.stdin.read().splitlines():
    status = main(line.split())
    print(status, "torch" in sys.modules, line)
"""


def test_mistakes_are_refused_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("body: [conv: {out: 8\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", ALL], cwd=tmp_path, env=HERE, input="\n".join(REFUSED), capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"2 False {line}" for line in REFUSED]
    for (line, said), told in zip(REFUSED.items(), done.stderr.splitlines(), strict=True):
        assert told.startswith(f"nasforge {line.split()[0]}: ") and said in told, told


@pytest.mark.parametrize(
    "line",
    [
        "search digits --constraint none",
        "search digits --constraint none --constraint params<=30000 --constraint params>=30000",
        "search digits --constraint params<=1000 --constraint params<=3000 --constraint params>=2000",  # the last from each side holds
        "search digits --strategy tune:hyperopt --scheduler tune:asha --runner tune",
    ],
)
def test_what_a_search_takes_is_not_refused_at_once(line: str) -> None:
    early.check(parser().parse_args(line.split()))


@pytest.mark.parametrize("line", [line for line in REFUSED if line != "scale resnet20"])  # which means phi 1 from Python
def test_what_is_refused_at_once_is_refused_later_too(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From Python, and with plugins, the same mistakes are found where the names are used."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("body: [conv: {out: 8\n", encoding="utf-8")
    monkeypatch.setattr(early, "check", lambda args: None)
    assert main(line.split()) == 2
    assert capsys.readouterr().err


def test_every_command_has_a_first_line_or_needs_none() -> None:
    commands = next(action for action in parser()._actions if action.dest == "command").choices
    assert commands is not None and {*FIRST, *LISTS} == set(commands)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["show resnet20", "scale lenet5 --phi 1"])
def test_the_first_line_comes_without_a_terminal_and_not_with_json(command: str) -> None:
    words = [sys.executable, "-m", "nasforge", *command.split()]
    said = subprocess.run(words, capture_output=True, text=True, env=HERE, check=True)
    assert "torch is imported first" in said.stderr and len(said.stderr.splitlines()) == 1
    assert not subprocess.run([*words, "--json"], capture_output=True, text=True, env=HERE, check=True).stderr


@pytest.mark.parametrize("limits", [["none"], ["none", "params<=2e4"]])
def test_the_word_that_lifts_limits_passes(limits: list[str]) -> None:
    words = ["search", "digits", *(word for limit in limits for word in ("--constraint", limit))]
    early.check(parser().parse_args(words))
    with pytest.raises(UserError, match="--until 'none'"):
        early.check(parser().parse_args(["search", "digits", "--until", "none"]))
