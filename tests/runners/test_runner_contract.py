"""Every runner keeps the same contract: one script, carried by each of them, comes out alike to the last bit. A new one joins by name."""

from __future__ import annotations

import gc
import importlib.util
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nasforge.data import Source
from nasforge.evaluation.base import Context, Decision, Job, Report, Result, Stop
from nasforge.networks.build import build
from nasforge.runners import RUNNERS
from nasforge.runners.inline import InlineRunner

LEFTOVERS = ("unclosed", "subprocess .* is still running")  # Ray leaves files and processes to the collector
pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(f"ignore:{text}:ResourceWarning") for text in LEFTOVERS)]
CONTEXT = Context(source=Source("digits", limit=200))
OPTIONS: dict[str, Any] = {"workers": 2, "threads": 1, "silence_s": 300.0, "address": "local", "gpus": 0.0, "scheduler": None,
                           "epochs": 4, "folder": None}  # fmt: skip
EPOCHS = 4


def arch(out: int) -> dict[str, Any]:
    return {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": out, "stride": 2}}], "head": ["gap_head"]}


PLAIN = Job(arch(4), recipe={"epochs": EPOCHS, "early_stopping": None})
BROKEN = replace(PLAIN, arch={**arch(4), "body": ["linear", {"conv": {"out": 4}}]})
JOBS = {
    "plain": PLAIN,
    "broken": BROKEN,
    "stopped": replace(PLAIN, arch=arch(5)),
    "tested": replace(PLAIN, arch=arch(6), full=True, test=True, recipe={"epochs": 2}),
    "wrong recipe": replace(PLAIN, recipe={"epoch": 1}),
    "paused": replace(PLAIN, arch=arch(7)),
    "never paused": replace(PLAIN, arch=arch(7)),
    "other seed": replace(PLAIN, seed=1),
}
NUMBERS = {name: number for number, name in enumerate(JOBS)}
DECISIONS = {("stopped", 3): Decision.STOP, ("paused", 2): Decision.PAUSE}  # by job and epoch


class Script:
    """A driver that decides by DECISIONS, takes up again what was paused, and writes down what it is told."""

    def __init__(self, folder: Path) -> None:
        files = {name: {"weights": f"weights/{n}.safetensors", "checkpoint": f"checkpoints/{n}.pt"} for name, n in NUMBERS.items()}
        paths = {name: {kind: str(folder / file) for kind, file in own.items()} for name, own in files.items()}
        self.jobs = [replace(job, **paths[name]) for name, job in JOBS.items()]
        self.todo = list(range(len(JOBS)))
        self.begun: dict[str, int] = defaultdict(int)
        self.epochs: dict[str, list[list[int]]] = defaultdict(list)  # reported, by part of a training
        self.rows: dict[str, list[dict[str, float]]] = defaultdict(list)
        self.results: dict[str, list[Result]] = defaultdict(list)

    def next_job(self) -> tuple[int, Job] | None:
        if not self.todo:
            return None
        number = self.todo.pop(0)
        self.begun[name_of(number)] += 1
        self.epochs[name_of(number)].append([])
        return number, self.jobs[number]

    def on_report(self, number: int, report: Report) -> Decision:
        name = name_of(number)
        self.epochs[name][-1].append(report.epoch)
        self.rows[name].append(dict(report.row))
        return Decision.CONTINUE if self.results[name] else DECISIONS.get((name, report.epoch), Decision.CONTINUE)

    def on_end(self, number: int, result: Result) -> None:
        self.results[name_of(number)].append(result)
        if result.stopped is Stop.PAUSED:
            self.todo.append(number)

    def last(self, name: str) -> Result:
        """Return how a job ended at last."""
        return self.results[name][-1]


def name_of(number: int) -> str:
    return list(JOBS)[number]


def timeless(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def processes() -> set[int]:
    """The living processes that come from this one, but the one in which Python counts shared memory."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z" and "resource_tracker" not in (path / "cmdline").read_text():
                parents[int(path.name)] = int(parent)
        except (OSError, ValueError):  # it has just ended
            continue
    found, new = set[int](), {int(Path("/proc/self").resolve().name)}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Script, Path]:
    """What comes of the script in this process."""
    folder = tmp_path_factory.mktemp("reference")
    script = Script(folder)
    InlineRunner(CONTEXT).run(script)
    return script, folder


@pytest.fixture(scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name == "ray")) for name in RUNNERS])
def carried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Script, Path, set[int]]]:
    """What comes of the script by each runner, which is started once, and the processes that were left when it was closed."""
    if request.param == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    folder, before = tmp_path_factory.mktemp(request.param), processes()
    script = Script(folder)
    make, takes = RUNNERS[request.param]
    with warnings.catch_warnings():  # a fixture of a module has no marks
        for text in LEFTOVERS:
            warnings.filterwarnings("ignore", text, ResourceWarning)
        runner = make(CONTEXT, **{name: OPTIONS[name] for name in takes})
        try:
            runner.run(script)
        finally:
            runner.close()
        until = time.monotonic() + 30
        while (left := processes() - before) and time.monotonic() < until:
            time.sleep(0.2)
        yield script, folder, left
        del runner
        gc.collect()


def test_every_job_is_evaluated_once(carried: tuple[Script, Path, set[int]]) -> None:
    script = carried[0]
    parts = {name: 2 if name == "paused" else 1 for name in JOBS}
    assert dict(script.begun) == parts and {name: len(found) for name, found in script.results.items() if found} == parts


def test_reports_come_in_order_from_the_first_epoch(carried: tuple[Script, Path, set[int]]) -> None:
    script = carried[0]
    whole, none = list(range(1, EPOCHS + 1)), list[int]()
    assert script.epochs == {
        "plain": [whole], "broken": [none], "stopped": [[1, 2, 3]], "tested": [[1, 2]], "wrong recipe": [none],
        "paused": [[1, 2], whole], "never paused": [whole], "other seed": [whole],
    }  # fmt: skip
    for name, parts in script.epochs.items():
        assert [row["epoch"] for row in script.rows[name]] == [epoch for part in parts for epoch in part]
    for name in ("plain", "stopped", "other seed"):
        assert script.rows[name] == script.last(name).curve


def test_decisions_are_kept(carried: tuple[Script, Path, set[int]]) -> None:
    script = carried[0]
    stops = {name: [r.stopped for r in script.results[name]] for name in JOBS}
    assert stops.pop("stopped") == [Stop.PRUNED] and stops.pop("paused") == [Stop.PAUSED, None]
    assert all(found == [None] for found in stops.values())
    assert all(isinstance(r.stopped, Stop) for name in ("stopped", "paused") for r in script.results[name][:1])


def test_a_paused_job_goes_on_from_its_checkpoint(carried: tuple[Script, Path, set[int]]) -> None:
    script = carried[0]
    first, second = script.results["paused"]
    assert second.curve[:2] == first.curve  # the seconds too: these epochs were not trained again
    assert second.seconds["training"] > first.seconds["training"] >= first.curve[-1]["seconds"]
    assert timeless(second.curve) == timeless(script.last("never paused").curve)
    assert second.metrics == script.last("never paused").metrics


def test_a_job_that_fails_says_why_and_others_go_on(carried: tuple[Script, Path, set[int]]) -> None:
    script = carried[0]
    assert "body." in (script.last("broken").error or "") and "epochs" in (script.last("wrong recipe").error or "")
    assert not script.last("broken").curve and not script.last("broken").metrics
    assert all(script.last(name).error is None for name in JOBS if name not in ("broken", "wrong recipe"))


def test_weights_and_checkpoints_are_written_where_they_were_asked_for(carried: tuple[Script, Path, set[int]]) -> None:
    script, folder, _ = carried
    good = {name: NUMBERS[name] for name in JOBS if name not in ("broken", "wrong recipe")}
    weights = {f"{number}.safetensors" for number in good.values()}
    assert {p.name for p in (folder / "weights").iterdir()} == {*weights, f"{good['tested']}.examples.json"}
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {f"{number}.pt" for number in good.values()}
    for name, number in good.items():
        build(script.jobs[number].arch).load_state_dict(load_file(folder / "weights" / f"{number}.safetensors"))
        assert bool(script.last(name).test) == (name == "tested")


def test_all_runners_find_the_same_to_the_last_bit(carried: tuple[Script, Path, set[int]], reference: tuple[Script, Path]) -> None:
    (script, folder, _), (other, there) = carried, reference
    for name, number in NUMBERS.items():
        for one, two in zip(script.results[name], other.results[name], strict=True):
            assert timeless(one.curve) == timeless(two.curve)
            assert (one.metrics, one.test, one.stopped, one.error) == (two.metrics, two.test, two.stopped, two.error)
            assert one.seconds.keys() == two.seconds.keys()
        file = f"weights/{number}.safetensors"
        if (there / file).exists():
            ours, theirs = load_file(folder / file), load_file(there / file)
            assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert script.last("plain").metrics != script.last("other seed").metrics


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no list of processes here")
def test_close_ends_all_workers(carried: tuple[Script, Path, set[int]]) -> None:
    assert not carried[2]
