"""Files from strangers: whatever stands in them, the answer is a UserError or a result; nothing hangs, and no code runs.

`NASFORGE_FUZZ=20000 python -m pytest tests/spaces/test_fuzz.py` draws so many cases, others each time; the default run draws a few.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import math
import os
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support import Inline, quick, small_plan

from nasforge import zoo
from nasforge.blocks import BLOCKS
from nasforge.commands.replay import plan_of
from nasforge.data import load
from nasforge.data.readers.images import PACKED
from nasforge.errors import UserError
from nasforge.latency import profile
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.objectives.objective import parse_objectives
from nasforge.report import collect
from nasforge.report.page import page
from nasforge.search.plan import read_manifest
from nasforge.search.records import Ledger
from nasforge.search.replay import entries
from nasforge.search.session import search
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import dump, find_space, read, space_names
from nasforge.spaces.space import Space
from nasforge.storage.open import open_storage
from nasforge.train.checkpoint import read_checkpoint, write_checkpoint
from nasforge.zoo.state_files import read_state
from nasforge.zoo.weights import map_weights

CASES = int(os.environ.get("NASFORGE_FUZZ", "200"))
LIMIT_S = 60  # for one case
JUNK: list[Any] = [
    None, 0, -1, 1, 2.5, True, "", "conv", "none", "classes", "$x", "$width*2", [], {}, [1], {"choose": [1]}, {"int": [1, 2]}, {"a": 1},
    [[]], "é", 10**9, 10**30, float("nan"), float("inf"), ["conv"], {"conv": None}, {"conv": []}, {"stage": {}}, {"choose": []},
    {"float": [0, 1]},
    {"from": "last"}, {"choose": "ab"}, {"int": "ab"}, {"choose": [{"a": 1}, {"b": 2}]}, {"stage": {"block": "conv", "depth": 10**8}},
    {"int": [1, 10**18]}, {"float": ["nan", 1]}, "../../etc/passwd", "os:system", "__class__", {"__class__": 1}, "x" * 5000,
]  # fmt: skip
EVIL = [
    "!!python/object/apply:os.system ['touch MARK']", "!!python/name:os.system ''", "!!python/object/new:os.system ['touch MARK']",
    "__import__('os').system('touch MARK')", "{{ ''.__class__ }}", "*a", "&a [*a, *a]", "\x00", "\t", "%", "? ", "- - - ", "{", "]", "'",
    '"', "|", "<<: *x",
]  # fmt: skip
fuzz = settings(deadline=None, derandomize="NASFORGE_FUZZ" not in os.environ, suppress_health_check=list(HealthCheck), database=None)
draws = st.randoms(use_true_random=False)


def share(part: float) -> settings:
    """So much of all cases."""
    return settings(fuzz, max_examples=max(5, round(CASES * part)))


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Fails what takes too long, and lets UserErrors pass: they are the right answer."""

    def late(signum: int, frame: Any) -> None:
        raise AssertionError(f"took more than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    try:
        with contextlib.suppress(UserError):
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@cache
def originals() -> list[Any]:
    """Spaces and architectures to spoil: those of every kind that are built in a moment."""
    small = [name for name in ("lenet5", "resnet20", "nin") if name in zoo.names()]
    found = [read(find_space(name)) for name in space_names()]
    return [data for data in found if len(dump(data)) < 1500] + [zoo.load(name) for name in small]


def paths(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value below the top."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, value in items:
        yield (*path, name)
        yield from paths(value, (*path, name))


def spoiled(data: Any, rng: Random, junk: list[Any] = JUNK) -> Any:
    """A copy with one to three values replaced, removed, renamed or doubled."""
    data = copy.deepcopy(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        ways = list(paths(data))
        if not ways:
            return data
        *way, last = rng.choice(ways)
        parent = data
        for name in way:
            parent = parent[name]
        kind = rng.randrange(5)
        if kind < 2:
            parent[last] = copy.deepcopy(rng.choice(junk))
        elif kind == 2:
            del parent[last]
        elif isinstance(parent, dict):
            parent[rng.choice(["foo", "out", "kernel", "choose", 7, None, "as", "from"])] = parent.pop(last) if kind == 3 else parent[last]
        else:
            parent.insert(last, copy.deepcopy(rng.choice([*junk, parent[last]])))
    return data


def scrambled(text: bytes, rng: Random, mark: Path) -> bytes:
    """Text with some bytes changed, removed, doubled, or something evil put in."""
    out = bytearray(text)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, length, kind = rng.randrange(len(out) + 1), rng.choice([1, 1, 3, 40]), rng.randrange(5)
        if kind == 0:
            out[at : at + length] = bytes(rng.randrange(256) for _ in range(length))
        elif kind == 1:
            del out[at : at + length]
        elif kind == 2:
            out[at:at] = out[at : at + length]
        elif kind == 3:
            out[at:at] = rng.choice(EVIL).replace("MARK", str(mark)).encode()
        else:
            del out[at:]
    return bytes(out)


# ---------------------------------------------------------------- spaces and architectures


@share(0.1)
@given(rng=draws)
def test_spaces_and_architectures_with_wrong_values(rng: Random) -> None:
    data = spoiled(rng.choice(originals()), rng)
    with in_time():
        check_arch(data, BLOCKS)
        space = Space(data)
        space.size()
        list(space.domains())
        arch, _ = space.draw(random_chooser(Random(rng.randrange(10**6))))
        key(arch)
        count(arch)


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file that only code from a stranger would make."""
    path = tmp_path_factory.mktemp("mark") / "here"
    yield path
    assert not path.exists(), "code in a file was run"


def test_yaml_of_any_kind_is_read_or_refused(mark: Path, tmp_path: Path) -> None:
    texts = [dump(data).encode() for data in originals()[:4]]

    @share(0.5)
    @given(rng=draws)
    def check(rng: Random) -> None:
        (tmp_path / "space.yaml").write_bytes(scrambled(rng.choice(texts), rng, mark))
        with in_time():
            space = Space(read(tmp_path / "space.yaml"))
            check_arch(space.data, BLOCKS)
            key(space.draw(random_chooser(Random(0)))[0])

    check()


# ---------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run."""
    folder = tmp_path_factory.mktemp("run")
    search(small_plan(trials=5, scheduler="asha", control=True), folder, lambda: Inline(quick), lambda status: None)
    return folder


def read_run(folder: Path) -> None:
    """What report, replay and a search that goes on read of a run."""
    manifest = read_manifest(folder)
    plan_of(folder, manifest)
    storage = open_storage(folder, None, write=True)
    entries(folder)
    for name in ("search", "control"):
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            continue
        ledger = Ledger(study, parse_objectives("accuracy,-params"), [])
        ledger.front()
        ledger.curves()
    page(collect(folder))


def test_journals_of_any_kind_are_read_or_refused(run: Path, mark: Path, tmp_path: Path) -> None:
    journal = (run / "study.journal").read_bytes()
    lines = journal.splitlines(keepends=True)
    for name in ("manifest.json", "space.yaml"):
        (tmp_path / name).write_bytes((run / name).read_bytes())

    @share(0.2)
    @given(rng=draws)
    def check(rng: Random) -> None:
        number = rng.randrange(len(lines))
        changed = list(lines)
        kind = rng.randrange(4)
        if kind == 0:
            changed[number] = json.dumps(spoiled(json.loads(lines[number]), rng)).encode() + b"\n"
        elif kind == 1:
            del changed[number]
        elif kind == 2:
            changed.insert(number, changed[rng.randrange(len(changed))])
        (tmp_path / "study.journal").write_bytes(scrambled(journal, rng, mark) if kind == 3 else b"".join(changed))
        with in_time():
            read_run(tmp_path)

    check()


def test_manifests_of_any_kind_are_read_or_refused(run: Path, mark: Path, tmp_path: Path) -> None:
    manifest = (run / "manifest.json").read_bytes()
    for name in ("study.journal", "space.yaml", "summary.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())

    @share(0.1)
    @given(rng=draws)
    def check(rng: Random) -> None:
        whole = rng.random() < 0.5
        data = scrambled(manifest, rng, mark) if whole else json.dumps(spoiled(json.loads(manifest), rng)).encode()
        (tmp_path / "manifest.json").write_bytes(data)
        with in_time():
            read_run(tmp_path)

    check()


# ---------------------------------------------------------------- checkpoints and profiles


class _Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def test_checkpoints_of_any_kind_are_read_or_refused(mark: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.pt"
    write_checkpoint(good, {"identity": {"seed": 0}, "model": {"w": torch.zeros(3)}, "curve": [{"epoch": 1}], "stopped": None})
    evil = tmp_path / "evil.pt"
    torch.save({"identity": _Evil(mark)}, evil)
    sources = [good.read_bytes(), evil.read_bytes(), pickle.dumps({"identity": _Evil(mark)})]

    @share(0.1)
    @given(rng=draws)
    def check(rng: Random) -> None:
        source = rng.choice(sources)
        (tmp_path / "x.pt").write_bytes(source if rng.random() < 0.1 else scrambled(source, rng, mark))
        with in_time():
            read_checkpoint(tmp_path / "x.pt", {"seed": 0}, torch.device("cpu"))

    check()


# ---------------------------------------------------------------- data and weights


def array(rng: Random) -> np.ndarray:
    """An array of any shape and type, of few numbers."""
    shape = tuple(rng.choice([0, 1, 2, 3, 12, 20, 20, 20]) for _ in range(rng.randrange(5)))
    kind = rng.choice(["f4", "f8", "f2", "i8", "i4", "u1", "u8", "?1", "U3", "c8", "M8[s]", "S2", "f4", "i8"])
    values = np.array([rng.choice([0, 1, 1, 2, 7, -1, 250]) for _ in range(math.prod(shape))]).reshape(shape)
    with np.errstate(all="ignore"):
        made = np.abs(values).astype(np.bool_) if kind == "?1" else values.astype(kind)
    if made.dtype in (np.float32, np.float64) and made.ndim and made.size and rng.random() < 0.3:
        made.flat[rng.randrange(made.size)] = rng.choice([math.nan, math.inf, -math.inf, 1e38])
    return made


def test_arrays_of_any_kind_are_read_or_refused(mark: Path, tmp_path: Path) -> None:
    names = ["x", "y", "x_train", "y_train", "x_test", "y_test", "kind", "lengths", "x:a", "y:b", *sorted(PACKED)]

    @share(0.2)
    @given(rng=draws)
    def check(rng: Random) -> None:
        chosen = rng.choice([["x", "y"], ["x", "y"], names[2:6], sorted(PACKED), [rng.choice(names) for _ in range(rng.randrange(5))]])
        out = io.BytesIO()
        rng.choice([np.savez, np.savez_compressed])(out, **{name: array(rng) for name in chosen})
        data = out.getvalue() if rng.random() < 0.6 else scrambled(out.getvalue(), rng, mark)
        (tmp_path / "a.npz").write_bytes(data)
        kind = rng.choice([None, None, "value", "labels"])
        with in_time():
            load(str(tmp_path / "a.npz"), kind)

    check()


def test_pictures_of_any_kind_are_read_or_refused(mark: Path, tmp_path: Path) -> None:
    encoded = []
    modes = {"PNG": "LA", "JPEG": "RGB", "GIF": "P", "BMP": "L", "TIFF": "I;16", "PPM": "RGB", "WEBP": "RGBA"}
    for kind, mode in modes.items():
        out = io.BytesIO()
        Image.new(mode, (9, 7)).save(out, kind)
        encoded.append(out.getvalue())
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.new("L", (8, 8), 20 * i).save(tmp_path / name / f"{i}.png")

    @share(0.1)
    @given(rng=draws)
    def check(rng: Random) -> None:
        (tmp_path / "a" / "x.png").write_bytes(scrambled(rng.choice(encoded), rng, mark))
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on what it mends
            load(str(tmp_path))

    check()


def test_state_dicts_of_any_kind_are_read_or_refused(mark: Path, tmp_path: Path) -> None:
    tensors = [
        torch.zeros(3, 3), torch.zeros(1).expand(10**9), torch.zeros(2, dtype=torch.int8), torch.zeros(3, 3).to_sparse(), torch.zeros(0),
        torch.zeros(3, device="meta"), torch.zeros(2, dtype=torch.complex64), torch.full((6, 1, 5, 5), math.nan),
    ]  # fmt: skip
    names = ["conv1.weight", "bn.running_mean", "", "a", ".", "module.x", "state_dict", "model", "fc.bias", "\ud800", "a..b", 7, None]

    def value(rng: Random, depth: int) -> Any:
        if depth > 3 or rng.random() < 0.6:
            return rng.choice([*tensors, None, 1, "x", [1], math.nan])
        found: dict[Any, Any] = {rng.choice(names): value(rng, depth + 1) for _ in range(rng.randrange(4))}
        if rng.random() < 0.2:
            found["state_dict"] = found
        return found

    arch = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 6}}], "head": ["gap_head"]}

    @share(0.1)
    @given(rng=draws)
    def check(rng: Random) -> None:
        path = tmp_path / "w.pth"
        torch.save({rng.choice(names): value(rng, 0) for _ in range(3)} if rng.random() < 0.9 else value(rng, 0), path)
        if rng.random() < 0.4:
            path.write_bytes(scrambled(path.read_bytes(), rng, mark))
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, on old files
            state, ordered = read_state(path)
            map_weights(arch, state, ordered=ordered)

    check()


PROFILE = {
    "runtime": "eager", "device": "cpu", "threads": 1, "batch": 1, "precision": "float32", "processor": "x", "versions": {"torch": "2"},
    "date": "2026-11-01T00:00:00+00:00", "space": "digits", "blocks": {"a": [1.0, 2.0], "b": [2.0, 1.0]},
    "networks": [{"0": 1, "1": 2}, {"0": 2}, {"1": 1}, {"0": 1}], "times_ms": [1.0, 2.0, 1.5, 1.2], "error": {"median": 0.1},
}  # fmt: skip


def test_profiles_of_any_kind_are_read_or_refused(mark: Path, tmp_path: Path) -> None:
    arch = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 4}}], "head": ["gap_head"]}

    @share(0.1)
    @given(rng=draws)
    def check(rng: Random) -> None:
        text = json.dumps(spoiled(PROFILE, rng)).encode() if rng.random() < 0.7 else scrambled(json.dumps(PROFILE).encode(), rng, mark)
        (tmp_path / "profile.json").write_bytes(text)
        with in_time():
            profile.read_profile(tmp_path / "profile.json").predictor(arch)

    check()
