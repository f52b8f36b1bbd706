"""What early stopping saves in a search with two objectives: epochs trained until it is as good as a search without.

    python benchmarks/early_stopping.py --table wikitext2_runs.jsonl.gz [--orders 20]
    python benchmarks/early_stopping.py [--networks 120] [--epochs 16] [--orders 20] [--workers 2] [--curves FILE]

The trainings are those of NAS-Bench-NLP (loss against parameters, 50 epochs), or networks drawn at random from the space `digits` are
trained to their end once (accuracy against parameters); `--curves` keeps these for the next time. Then whole searches over them are run
with each rule, in several orders, by the code of a real search; only the training is looked up. Without early stopping a search sees a
third of the networks; with it, it goes on to the others. Printed: the epochs that a rule needs to reach the hypervolume at which the
search without ends, how many times fewer that is than the search without needs to get there first, and in how many orders it gets there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
import tempfile
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import optuna

from nasforge.api.named import space_named
from nasforge.commands.common import table
from nasforge.data import Source
from nasforge.evaluation.base import Context, Decision, Job, OnReport, Report, Result
from nasforge.evaluation.tables.nasbench_nlp import recurrent_curves, recurrent_rows
from nasforge.evaluation.train import STOPS, fit_to_data
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.objectives.objective import Objective, parse_objectives, scaled
from nasforge.objectives.pareto import hypervolume
from nasforge.runners import Driver
from nasforge.runners.local import LocalRunner
from nasforge.search.plan import Plan
from nasforge.search.records import Ledger, TrialRecord
from nasforge.search.session import search
from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.space import Space
from nasforge.storage.open import open_storage
from nasforge.strategies.schedulers import SCHEDULERS
from nasforge.tasks import load_data

SHARE = 3  # the search without early stopping sees one network in so many


@dataclass(frozen=True)
class Trainings:
    """Networks with what each training told after its epochs. networks: of each `arch`, `params` and `rows`."""

    title: str
    objectives: tuple[Objective, ...]
    networks: list[dict[str, Any]]

    @property
    def epochs(self) -> int:
        return len(self.networks[0]["rows"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, help="the runs of NAS-Bench-NLP")
    parser.add_argument("--networks", type=int, default=120)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--curves", type=Path)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    of = _looked_up(args.table) if args.table else _trained(args)
    points = [scaled({**_metrics(t["rows"][-1]), "params": t["params"]}, of.objectives) for t in of.networks]
    worst, best = ([pick(axis) for axis in zip(*points, strict=True)] for pick in (max, min))
    found: dict[str, list[tuple[float, float] | None]] = {rule: [] for rule in SCHEDULERS if rule != "none"}
    for order in range(args.orders):
        without = _course(of, _search(of, "none", len(of.networks) // SHARE, order), best, worst)
        target = without[-1][0] - 1e-12
        needed = next(epochs for volume, epochs in without if volume >= target)
        for rule, runs in found.items():
            course = _course(of, _search(of, rule, len(of.networks), order), best, worst)
            reached = next((epochs for volume, epochs in course if volume >= target), None)
            runs.append(None if reached is None else (reached, needed / reached))
    rows = []
    for rule, runs in found.items():
        there = [r for r in runs if r is not None]
        epochs = f"{statistics.fmean(e for e, _ in there):.0f}" if there else "-"
        ratio = f"{statistics.fmean(x for _, x in there):.2f} ± {statistics.pstdev(x for _, x in there):.2f}" if there else "-"
        rows.append((rule, epochs, ratio, f"{len(there)} of {len(runs)}"))
    print(f"{len(of.networks)} networks of {of.title}, {of.epochs} epochs each, {args.orders} orders")
    print(table(("rule", "epochs", "times fewer", "got there"), rows))


def _looked_up(path: Path) -> Trainings:
    """The trainings of NAS-Bench-NLP, of each cell the first that did not break off; the lowest loss so far counts, as in the table."""
    text = gzip.decompress(path.read_bytes()).decode()
    data, choices, _ = recurrent_rows(text, path)
    space, networks = Space(data), dict[str, dict[str, Any]]()
    for chosen, curve in zip(choices, recurrent_curves(text), strict=True):
        arch = space.draw(replay(chosen))[0]
        rows = [{"epoch": i, "val_loss": low, "accuracy": 0.0} for i, low in enumerate(accumulate(curve, min), 1)]
        if rows:
            networks.setdefault(key(arch), {"arch": arch, "params": count(arch).params, "rows": rows})
    return Trainings("NAS-Bench-NLP", tuple(parse_objectives("-loss,-params")), list(networks.values()))


def _trained(args: argparse.Namespace) -> Trainings:
    """Networks with their curves, trained here or read from the file."""
    objectives = tuple(parse_objectives("accuracy,-params"))
    if args.curves and args.curves.exists():
        return Trainings("`digits`", objectives, json.loads(args.curves.read_text()))
    source = Source("digits")
    space = Space(fit_to_data(space_named("digits"), load_data(source)))
    drawn: dict[str, Any] = {}
    rng = Random(0)
    while len(drawn) < args.networks:
        arch, _ = space.draw(random_chooser(rng))
        drawn.setdefault(key(arch), arch)
    archs = list(drawn.values())
    driver = _Listed([Job(arch, recipe={"epochs": args.epochs, "early_stopping": None}) for arch in archs])
    runner = LocalRunner(Context(source=source), args.workers, 1)
    try:
        runner.run(driver)
    finally:
        runner.close()
    done = driver.results
    out = [{"arch": a, "params": count(a).params, "rows": done[i].curve} for i, a in enumerate(archs) if done[i].error is None]
    if args.curves:
        args.curves.write_text(json.dumps(out))
    return Trainings("`digits`", objectives, out)


class _Listed:
    """A driver with a list of jobs, which stops none."""

    def __init__(self, jobs: list[Job]) -> None:
        self.left, self.results = list(enumerate(jobs)), dict[int, Result]()

    def next_job(self) -> tuple[int, Job] | None:
        return self.left.pop(0) if self.left else None

    def on_report(self, number: int, report: Report) -> Decision:
        return Decision.CONTINUE

    def on_end(self, number: int, result: Result) -> None:
        self.results[number] = result


def _search(of: Trainings, rule: str, trials: int, order: int) -> Ledger:
    """The ledger of a search over the trained networks, in an order of its own."""
    first = of.networks[0]["arch"]
    bodies = {str(i): [*t["arch"].get("stem", []), *t["arch"]["body"], *t["arch"]["head"]] for i, t in enumerate(of.networks)}
    names = list(bodies)
    Random(order).shuffle(names)
    space = {"input": first["input"], "classes": first["classes"], "body": {"choose": {n: bodies[n] for n in names}}}
    rows = {key({**space, "body": bodies[str(i)]}): t["rows"] for i, t in enumerate(of.networks)}
    plan = Plan(
        space, Source("digits"), of.objectives, strategy="grid", scheduler=rule, trials=trials, seed=order, control=False, finalists=1,
        final_seeds=1, recipe={"epochs": of.epochs, "early_stopping": None},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        search(plan, Path(folder), lambda: _Replay(rows), lambda status: None)
        study = optuna.load_study(study_name="search", storage=open_storage(Path(folder), None, write=False))
        return Ledger(study, of.objectives, ())


class _Replay:
    """A runner that looks the rows of a training up."""

    def __init__(self, rows: dict[str, list[dict[str, float]]]) -> None:
        self.rows = rows
        self.reached: dict[str, int] = {}

    def run(self, driver: Driver) -> None:
        while (asked := driver.next_job()) is not None:
            number, job = asked
            driver.on_end(number, self._result(job, lambda report, n=number: driver.on_report(n, report)))

    def _result(self, job: Job, on_report: OnReport) -> Result:
        name = key(job.arch)
        if job.test:
            return Result({"accuracy": 0.0, "loss": 0.0}, test={"accuracy": 0.0})
        before = self.reached.get(name, 0)
        for row in self.rows[name]:
            epoch = int(row["epoch"])
            stopped = STOPS[on_report(Report(epoch, row))]
            self.reached[name] = max(epoch, before)
            if stopped is not None and epoch > before:
                return Result(_metrics(row), curve=self.rows[name][:epoch], stopped=stopped)
        return Result(_metrics(self.rows[name][-1]), curve=self.rows[name])

    def close(self) -> None:
        pass


def _metrics(row: dict[str, float]) -> dict[str, float]:
    return {"accuracy": row["accuracy"], "loss": row["val_loss"]}


def _course(of: Trainings, ledger: Ledger, best: list[float], worst: list[float]) -> list[tuple[float, float]]:
    """(hypervolume, epochs spent) after each finished network; trainings that pause count where they ended."""
    box = math.prod(w - b for w, b in zip(worst, best, strict=True))
    ended: list[TrialRecord] = [r for _, r in sorted(ledger.records.items()) if r.kind in ("finished", "pruned")]
    out, points, epochs = [], [], 0
    for record in ended:
        epochs += len(record.curve)
        if record.kind == "finished":
            points.append(scaled(record.metrics, of.objectives))
            out.append((hypervolume(points, worst) / box, float(epochs)))
    return out


if __name__ == "__main__":
    main()
