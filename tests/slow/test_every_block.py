"""Every block of README and of the pages is run from top to bottom, or stands in a table with the reason why it is not.

Commands are made short by `SHORT`, words by `INSTEAD`; files that a page speaks of lie in the folder in which it is run.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from zoo import references

from nasforge.blocks import BLOCKS
from nasforge.cli import main
from nasforge.networks.build import build
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import parse, write
from nasforge.spaces.space import Space
from nasforge.zoo import load

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {  # pages that other tests run, and which ones
    "docs/api.md": "tests/api/test_pages.py",
    "docs/raspberry_pi.md": "tests/slow/test_users.py",
    "docs/plugins.md": "tests/plugins/test_plugin_search.py",
    "docs/ray_tune.md": "tests/slow/test_ray_tune.py",
    "docs/reference/blocks.md": "tests/commands/test_lists.py",
}
NOT_RUN = {  # what begins so: why not
    "pip install": "needs an environment of its own, as CI sets one up",
    "make search": "CI runs it",
    "make test": "CI runs it",
    'eval "$(register-python-argcomplete': "is for an interactive shell; tests/commands/test_help.py asks for completions",
    "nasforge search digits --storage postgresql": "needs a server; tests/slow/test_postgres.py starts one",
    "python benchmarks/scaling.py": "takes minutes",
    "nasforge bench --latency table.npz": "needs a table of real devices; tests/commands/test_bench.py makes a small one",
    "{\"error\"": "what a command prints",
    "nasforge predict runs/scenes": "needs a search of segmentation; tests/export/test_label_maps.py has one",
    "tensorboard --logdir": "serves a page until it is stopped; tests/search/test_trackers.py reads what it shows",
    "tried on": "what a command prints",
    "input: [3, 32, 32]          # [channels": "a form with dots to fill in",
}
SHORT = {  # command: options that are left out, words that are added
    "search": (
        "--minutes --trials --workers --data-limit",
        "--runner inline --trials 2 --epochs 1 --final-epochs 1 --finalists 1 --final-seeds 1 --data-limit 120 --strategy random",
    ),
    "train": ("--minutes --epochs", "--epochs 1 --data-limit 60"),
    "scale": ("", ""),
    "bench": ("--seeds --evals --strategies", "--seeds 1 --evals 10 --strategies random"),
    "calibrate": ("--networks", "--networks 5 --repeats 3"),
    "latency": ("", "--repeats 3"),
}
INSTEAD = {  # words of a page: shorter ones
    "--grid --budget macs --divisor 1": "--grid --budget macs --divisor 1 --epochs 1 --data-limit 60 --step 0.5 --tolerance 0.5",
    "scale efficientnet_b0 --phi 3": "scale efficientnet_b0 --phi 1",
    "trials=20": "trials=2, epochs=1, final_epochs=1, finalists=1, final_seeds=1, strategy='random'",
    "--runner tune --scheduler tune:asha": "",  # tests/slow/test_ray_tune.py runs it
    "runs/a runs/b": "runs/digits runs/photos",
    "'latency_ms@phone<=5'": "'latency_ms@phone<=500'",
    "--constraint 'params<=200000'": "",
}
BEFORE = {  # Python that a block of a page goes on from
    "README.md": "import numpy as np\nx = np.random.default_rng(0).normal(size=(80, 5)).astype('float32')\ny = np.arange(80) % 2\n",
    "docs/latency.md": "from nasforge.zoo import load\narch = load('lenet5')\nfinalists = [arch, load('lenet1')]\n",
}
IMAGE, WORDS = {"input": [3, 32, 32], "classes": 10}, {"input": {"tokens": 50, "length": 12}, "classes": 50}
COMPLETED: dict[str, dict[str, Any]] = {  # how a part of a file becomes a whole one, by a word in it
    "recurrent_cell": {"input": [12, 8], "classes": 10},
    "tied_embedding": WORDS,
    "$normal": {"let": {"normal": [[{"from": 0, "op": "conv"}, {"from": 1, "op": "conv"}]] * 2,
                        "reduction": [[{"from": 0, "op": "conv"}, {"from": 1, "op": "conv"}]] * 2}},
}  # fmt: skip
LONG = ("README.md", "docs/compound.md", "docs/exports.md", "docs/latency.md")  # pages that take more than 20 s


def blocks(page: str) -> list[tuple[str, str]]:
    """The kind and the text of each block of a page."""
    return re.findall(r"^```([^\n]*)\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.S | re.M)


PAGES = [str(path.relative_to(ROOT)) for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))]
RUN_HERE = [page for page in PAGES if blocks(page) and page not in ELSEWHERE]


# ---------------------------------------------------------------- what the pages speak of


def pictures(folder: Path, each: int = 12) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(each):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")


def photos(home: Path) -> None:
    for name in ("cat", "dog"):
        pictures(home / "photos" / name)


def images(path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.random((200, 3, 32, 32), np.float32), y=np.arange(200) % 10)


def idx(home: Path) -> None:
    (home / "mnist").mkdir()
    np.savez(home / "mnist" / "mnist.npz", x=np.random.default_rng(0).random((200, 1, 28, 28), np.float32), y=np.arange(200) % 10)


def housing(path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["rooms,age,price,median_house_value", *(",".join(f"{x:.3f}" for x in rng.random(4)) for _ in range(150))]
    path.write_text("\n".join(rows), encoding="utf-8")


def sentences(home: Path) -> None:
    (home / "multi30k").mkdir()
    for language, words in (("en", ["a", "dog", "runs", "home"]), ("de", ["ein", "hund", "rennt", "heim"])):
        lines = [" ".join(Random(i).choices(words, k=5)) for i in range(120)]
        for part in ("train", "val", "test"):
            (home / "multi30k" / f"{part}.{language}").write_text("\n".join(lines), encoding="utf-8")


def weights(file: Path, depths: list[int], bottleneck: bool, classes: int) -> None:
    """Those of a residual network as torchvision keeps them."""
    torch.manual_seed(0)
    torch.save(references.lively(references.ResNet(depths, bottleneck, classes=classes)).state_dict(), file)


def measured(home: Path) -> None:
    """What the script of `calibrate --script` brings back from a device."""
    carried_out(shortened("nasforge calibrate mobile --script device"))
    subprocess.run([sys.executable, "measure.py"], cwd=home / "device", capture_output=True, check=True)
    (home / "device" / "measured.json").rename(home / "measured.json")


def carried_out(command: str) -> None:
    """Run a command of nasforge here. Fails where it does."""
    with redirect_stdout(io.StringIO()) as said:
        status = main(shlex.split(command, comments=True)[1:])
    assert status == 0, f"{command}\n{said.getvalue()}"


NEEDED: dict[str, Callable[[Path], Any]] = {  # what is made where a page names it
    "photos": photos, "new_pictures": lambda home: pictures(home / "new_pictures", 3), "more/": lambda home: pictures(home / "more", 3),
    "photographs": lambda home: (photos(home), (home / "photos").rename(home / "photographs")),
    "cifar10.npz": lambda home: images(home / "cifar10.npz"), "mnist": idx, "housing.csv": lambda home: housing(home / "housing.csv"),
    "multi30k": sentences, "resnet18.pth": lambda home: weights(home / "resnet18.pth", [2, 2, 2, 2], False, 2),
    "resnet50.pth": lambda home: weights(home / "resnet50.pth", [3, 4, 6, 3], True, 1000),
    "mine.yaml": lambda home: write({**load("resnet50"), "input": [3, 32, 32]}, home / "mine.yaml"),
    "my.yaml": lambda home: write(load("lenet5"), home / "my.yaml"),
    "my_net.yaml": lambda home: write(load("lenet5"), home / "my_net.yaml"),
    "my_space.yaml": lambda home: (home / "my_space.yaml").write_text((ROOT / "search_spaces" / "residual.yaml").read_text("utf-8")),
    "picture.jpg": lambda home: (pictures(home / "one", 1), (home / "one" / "0.jpg").rename(home / "picture.jpg")),
    "phone.json": lambda home: carried_out(shortened("nasforge calibrate mobile --out phone.json")),
    "measured.json": measured,
    "runs/digits": lambda home: carried_out(shortened("nasforge search digits --run runs/digits")),
    "runs/train-resnet20": lambda home: carried_out(shortened("nasforge train resnet20 --data cifar10.npz")),
}  # fmt: skip


# ---------------------------------------------------------------- running


def shortened(command: str) -> str:
    for words, instead in INSTEAD.items():
        command = command.replace(words, instead)
    words = shlex.split(command, comments=True)
    left, added = SHORT.get(words[1], ("", "")) if words[0] == "nasforge" else ("", "")
    for option in left.split():
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    return shlex.join([*words, *shlex.split(added)])


def run_shell(block: str, home: Path) -> None:
    for line in block.replace("\\\n", " ").splitlines():
        for command in map(str.strip, re.split(r";\s", re.sub(r"(^|\s{2,})#.*", "", line))):
            if not command or command.startswith(tuple(NOT_RUN)):
                continue
            if command.startswith("nasforge "):
                carried_out(shortened(command))
            elif command.startswith("python "):
                words = [sys.executable, *shlex.split(command)[1:]]
                done = subprocess.run(words, cwd=home, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{command}\n{done.stderr}"
            else:
                pytest.fail(f"{command}: is neither run nor listed with a reason")


def run_python(block: str, before: str) -> None:
    for words, instead in INSTEAD.items():
        block = block.replace(words, instead)
    with redirect_stdout(io.StringIO()):
        exec(compile(before + block, "page", "exec"), {"__name__": "__main__"})


def run_yaml(block: str) -> None:
    """Build a network of what a file, or a part of one, describes."""
    found = parse(block)
    raw = {**IMAGE, **({"body": found} if isinstance(found, list) else found)}
    for word, rest in COMPLETED.items():
        if word in block:
            raw = {**raw, **rest}
    check_arch(raw, BLOCKS)
    build(Space(raw).draw(random_chooser(Random(0)))[0], "meta")


def marks(page: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.thorough if page in LONG else pytest.mark.slow]


@pytest.mark.parametrize("page", [pytest.param(page, marks=marks(page)) for page in RUN_HERE])
@pytest.mark.filterwarnings("ignore")
def test_every_block_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = blocks(page)
    text = "".join(block for _, block in found)
    for name, make in NEEDED.items():
        if name in text and not (tmp_path / name).exists():
            make(tmp_path)
    for kind, block in found:
        if block.startswith(tuple(NOT_RUN)) and kind not in ("bash", "sh"):
            continue
        if kind.startswith(("bash", "sh")):
            run_shell(block, tmp_path)
        elif kind == "python":
            run_python(block, BEFORE.get(page, ""))
        elif kind == "yaml":
            run_yaml(block)
        else:
            pytest.fail(f"{page}: a block of kind {kind!r} is neither run nor listed with a reason: {block[:60]}")


def test_each_reason_is_still_needed() -> None:
    lines = [line for page in PAGES for _, block in blocks(page) for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split(";")]
    assert [why for why in NOT_RUN if not any(part.startswith(why) for part in parts)] == []
    assert all((ROOT / test).is_file() and os.path.exists(ROOT / page) for page, test in ELSEWHERE.items())
