"""Mistakes: the three nearest names and how to list all; with --json an object of where, error and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasforge.cli import main
from nasforge.errors import FEW, nearest, parts_of

SPLIT = [  # message: where, error, remedy
    ("body.0.conv: the kernel [7, 7] is too large, got 3; make it smaller", "body.0.conv", "the kernel [7, 7] is too large, got 3",
     "make it smaller"),
    ("data: no file or folder 'a: b; c'; valid: digits, FILE.npz", "data", "no file or folder 'a: b; c'", "valid: digits, FILE.npz"),
    ("--set lr: must be WORD=VALUE, for example lr=.1", "--set lr", "must be WORD=VALUE, for example lr=.1", None),
    ("runs/a:12: the search has the trials 0 to 3", "runs/a:12", "the search has the trials 0 to 3", None),
    ("the network's output is none", None, "the network's output is none", None),
    ("x.yaml:3: must be {a: 1; b: 2}, got (c: d; e); mend it; or leave it out", "x.yaml:3", "must be {a: 1; b: 2}, got (c: d; e)",
     "mend it; or leave it out"),
    ("it isn't there; give another's", None, "it isn't there", "give another's"),
]  # fmt: skip


@pytest.mark.parametrize(("message", "where", "error", "remedy"), SPLIT)
def test_a_message_has_parts(message: str, where: str | None, error: str, remedy: str | None) -> None:
    assert parts_of(message) == {"error": error, "where": where, "remedy": remedy}


MISTAKEN = [  # words, exit status, where, part of the error, part of the remedy
    ("show nosuch", 2, "nosuch", "no network, space or block", "`nasforge zoo`, `nasforge spaces`, `nasforge blocks` list all"),
    ("search digit", 2, "digit", "no packaged space", "did you mean 'digits'"),
    ("zoo nosuch*", 2, "nosuch*", "no documented network", "`nasforge zoo` lists all"),
    ("train nowhere/net.yaml", 2, "nowhere/net.yaml", "no such file", None),
    ("train resnet20 --data nowhere.npz", 2, "data", "no file or folder 'nowhere.npz'", "valid: digits"),
    ("train lenet5 --set lrr=1", 2, "recipe.lrr", "no such value", "did you mean 'lr'"),
    ("score resnet20", 2, "resnet20", "has no weights", "--weights FILE"),
    ("scale resnet20", 2, "scale", "give either --phi P or --fit", None),
    ("latency resnet20 --runtime nosuch", 2, "--runtime nosuch", "no such runtime", "valid: compile, eager"),
    ("calibrate nosuch", 2, "nosuch", "no packaged space", "`nasforge spaces` lists all"),
    ("locate lenet5 nosuch", 2, "nosuch", "no packaged space", "`nasforge spaces` lists all"),
    ("export nosuch --to onnx", 2, "nosuch", "no documented network", "`nasforge zoo` lists all"),
    ("report nowhere", 2, "nowhere", "there is no such folder", "give that of a search"),
    ("replay nowhere", 2, "nowhere", "there is no such folder", "give that of a search"),
    ("export runs/nowhere --to onnx", 2, "runs/nowhere", "no such file, for there is no folder runs", None),
    ("score nowhere/", 2, "nowhere/", "no such file or folder", None),
    ("bench --strategies nosuch", 2, "--strategies nosuch", "no such strategy", "the nearest are"),
    ("blocks konv", 2, "konv", "there is no block", "did you mean 'conv'"),
    ("spaces nosuch", 2, "nosuch", "no packaged space", "`nasforge spaces` lists all"),
    ("recipes resnet", 2, "resnet", "no such word of a recipe", "`nasforge recipes` lists all"),
    ("metrics acuracy", 2, "acuracy", "there is no metric", "did you mean 'accuracy'"),
    ("search digits --objective acuracy", 2, "--objective acuracy", "'acuracy' is no metric", "`nasforge metrics` lists all"),
    ("search digits --plugin x.py", 2, "--plugin x.py", "would run code", "add --allow-code"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "status", "where", "error", "remedy"), MISTAKEN, ids=[m[0] for m in MISTAKEN])
def test_a_mistake_is_an_object_with_json(
    words: str, status: int, where: str, error: str, remedy: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "--json"]) == status
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert set(found) == {"error", "where", "remedy"} and found["where"] == where and error in found["error"]
    assert remedy is None or remedy in found["remedy"]
    assert captured.err.count("\n") == 1 and len(captured.err) < 700, "one line, and never all names"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "where", "error"), [
    ("export lenet5 --to pythn --json", "--to", "invalid choice"), ("train --json", None, "required: ARCH"),
    ("train lenet5 --epoks 3 --json", None, "unrecognized arguments"),
    ("train lenet5 --quiet --verbose --json", "--verbose", "not allowed"),
])  # fmt: skip
def test_a_wrong_option_is_an_object_too(words: str, where: str | None, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert stopped.value.code == 2 and found["where"] == where and error in found["error"] and "--help" in found["remedy"]
    assert captured.err.startswith("usage: nasforge")
    with pytest.raises(SystemExit):
        main(words.split()[:-1])
    assert capsys.readouterr().out == ""


def test_of_few_names_all_are_told_and_of_many_three() -> None:
    few, many = [f"name{i}" for i in range(FEW)], [f"name{i:03}" for i in range(200)]
    assert nearest("name0", few) == "did you mean 'name0'? valid: " + ", ".join(sorted(few))
    near = nearest("name007", many, "nasforge names")
    assert near.startswith("did you mean 'name007', 'name") and near.count("'name") == 3
    assert near.endswith("? `nasforge names` lists all 200")
    far = nearest("zzz", many)
    assert far.startswith("the nearest are ") and far.count("'name") == 3 and far.endswith("there are 200")
    assert nearest("", many, "a", "b") == "`a`, `b` list all 200" and nearest("a", []) == "valid: "
