"""The end of a search: finalists, control and baselines retrained alike over several seeds, and scored once on test."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nasforge.evaluation.base import Job, Result
from nasforge.networks.cost import count
from nasforge.objectives.objective import losses, scaled
from nasforge.objectives.pareto import front as layer_of
from nasforge.objectives.pareto import hypervolume
from nasforge.search.plan import Plan
from nasforge.search.progress import Status
from nasforge.search.records import COUNTED, Ledger, TrialRecord
from nasforge.search.screening import arch_key, costs
from nasforge.search.timing import Clock
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import replay
from nasforge.spaces.files import write
from nasforge.spaces.space import Space


@dataclass
class Entrant:
    """One network of the finals; results by seed."""

    name: str
    role: str  # finalist | control | baseline
    arch: Arch
    key: str
    costs: dict[str, float]
    choices: dict[str, Any] = field(default_factory=dict)  # that gave it in the search
    search: dict[str, float] = field(default_factory=dict)  # its metrics in the search, where it was there
    results: dict[int, dict[str, Any]] = field(default_factory=dict)


class Finals:
    """The finals of a search. `summary()` runs what is missing and gives the object that `--json` prints."""

    def __init__(
        self, plan: Plan, run: Path, ledger: Ledger, control: Ledger | None, runner: Any, clock: Clock, show: Callable[[Status], None]
    ) -> None:
        self.plan, self.run, self.ledger, self.control = plan, run, ledger, control
        self.runner, self.clock, self.show = runner, clock, show
        self.space = Space(plan.space)

    # ------------------------------------------------------------ who takes part

    def entrants(self) -> list[Entrant]:
        """As many finalists of the search as of the control, and all baselines; each network once a role."""
        out = [self._entrant(f"finalist{i + 1}", "finalist", r) for i, r in enumerate(self._chosen(self.ledger, self.plan.finalists))]
        if self.control is not None:
            out += [self._entrant(f"control{i + 1}", "control", r) for i, r in enumerate(self._chosen(self.control, self.plan.finalists))]
        for name, arch in self.plan.baselines.items():
            seen = next((r for r in self.ledger.records.values() if r.baseline == name and r.kind == "finished"), None)
            out.append(
                Entrant(
                    name, "baseline", arch, arch_key(arch), costs(count(arch)), seen.choices if seen else {}, seen.metrics if seen else {}
                )
            )
        return out

    def _entrant(self, name: str, role: str, record: TrialRecord) -> Entrant:
        arch, _ = self.space.draw(replay(record.choices))
        return Entrant(name, role, arch, arch_key(arch), costs(count(arch)), record.choices, record.metrics)

    def _chosen(self, ledger: Ledger, most: int) -> list[TrialRecord]:
        """The front's members that together cover most volume, the best on the first objective among them.

        A front with fewer members is filled up with the front of the others, and so on.
        """
        front, rest = ledger.front(), ledger.finished()
        while len(front) < most:
            rest = [r for r in rest if r not in front]
            layer = [rest[i] for i in layer_of([losses(r.metrics, self.plan.objectives) for r in rest])]
            if not layer:
                return front
            front = [*front, *layer[: most - len(front)]]
        if len(front) == most:
            return sorted(front, key=lambda r: scaled(r.metrics, self.plan.objectives))
        points = {r.number: scaled(r.metrics, self.plan.objectives) for r in front}
        worst = [max(p[i] for p in points.values()) + 1e-3 for i in range(len(self.plan.objectives))]
        chosen = [min(front, key=lambda r: points[r.number])]
        while len(chosen) < most:
            rest = [r for r in front if r not in chosen]
            chosen.append(max(rest, key=lambda r: hypervolume([points[c.number] for c in [*chosen, r]], worst)))
        return sorted(chosen, key=lambda r: points[r.number])

    # ------------------------------------------------------------ training them

    def train(self, entrants: list[Entrant]) -> None:
        """Fill in the results: one training a network and seed, none twice, also over a restart."""
        study = self.ledger.study
        settings = self.plan.final_settings()
        before = {k: v for k, v in study.user_attrs.items() if k.startswith("final/")}
        stored: dict[str, Any] = {k: v for k, v in before.items() if v["settings"] == settings and not v["error"]}
        forms = {e.key: e.arch for e in reversed(entrants)}  # one form of a network is trained, so that its weights fit it
        forms |= {key.split("/")[1]: v["arch"] for key, v in stored.items()}
        for entrant in entrants:
            entrant.arch = forms[entrant.key]
        wanted = {(e.key, seed): e for e in entrants for seed in range(self.plan.final_seeds)}
        todo = [pair for pair in wanted if _name(*pair) not in stored]
        jobs: Iterator[tuple[int, tuple[str, int]]] = iter(enumerate(todo))
        done = len(wanted) - len(todo)

        def next_job() -> tuple[int, Job] | None:
            number, pair = next(jobs, (-1, ("", 0)))
            if number < 0:
                return None
            self.clock.started(("final", number))
            return number, self._job(wanted[pair], pair[1])

        def on_end(number: int, result: Result) -> None:
            nonlocal done
            done += 1
            self.clock.ended(("final", number), result.seconds)
            name = _name(*todo[number])
            stored[name] = {**asdict(result), "settings": settings, "arch": wanted[todo[number]].arch}
            study.set_user_attr(name, stored[name])
            study.set_user_attr("seconds", self.clock.totals())
            self.show(Status("finals", done, len(wanted), last=done == len(wanted)))

        self.runner.run(next_job, lambda number, row: False, on_end)
        for entrant in entrants:
            for seed in range(self.plan.final_seeds):
                entrant.results[seed] = stored[_name(entrant.key, seed)]

    def _job(self, entrant: Entrant, seed: int) -> Job:
        plan, key = self.plan, entrant.key
        return Job(
            entrant.arch, plan.data, seed, full=True, test=True, recipe=plan.final_recipe, device=plan.device,
            latency=any("latency_ms" in o.reads for o in plan.objectives) or any(x.metric == "latency_ms" for x in plan.limits),
            weights=str(self._weights(key, seed)), checkpoint=str(self.run / "checkpoints" / f"{key}-{seed}.pt"),
            choices=entrant.choices, table=plan.table,
        )  # fmt: skip

    def _weights(self, key: str, seed: int) -> Path:
        return self.run / "weights" / f"{key}-{seed}.safetensors"

    # ------------------------------------------------------------ what came of it

    def summary(self) -> dict[str, Any]:
        """The whole search in one object."""
        entrants = self.entrants()
        self.train(entrants)
        rows = [self._row(e) for e in entrants]
        self._write_finalists(entrants, rows)
        finalists = [r for r in rows if r["role"] == "finalist"]
        control = [r for r in rows if r["role"] == "control"]
        return {
            "run": str(self.run),
            "asked": self.plan.trials,
            **{kind: self.ledger.count(kind) for kind in ("finished", "pruned", "failed", "infeasible", "interrupted")},
            "duplicates": self.ledger.count("duplicate"),
            "exhausted": sum(self.ledger.count(kind) for kind in COUNTED) < self.plan.trials,
            "settings": self.plan.final_settings(),
            "objectives": [str(o) for o in self.plan.objectives],
            "constraints": [str(limit) for limit in self.plan.limits],
            "best": self._best(finalists),
            "control": self._best(control) or {"test_mean": None, "test_std": None},
            "finalists": finalists,
            "control_finalists": control,
            "baselines": [r for r in rows if r["role"] == "baseline"],
            "hypervolume": self._hypervolumes(),
            "seconds": self.clock.totals(),
        }

    def _row(self, entrant: Entrant) -> dict[str, Any]:
        main = "miou" if any("miou" in o.reads for o in self.plan.objectives) else "accuracy"
        results = [r for r in entrant.results.values() if not r["error"]]
        errors = sorted({r["error"] for r in entrant.results.values() if r["error"]})
        tests, vals = [r["test"][main] for r in results], [r["metrics"][main] for r in results]
        latency = [r["metrics"]["latency_ms"] for r in results if "latency_ms" in r["metrics"]]
        broken = [
            f"{x}: measured {max(latency):.3g}"  # at each of its trainings: none may break it
            for x in self.plan.limits
            if x.metric == "latency_ms" and latency and x.excess(max(latency)) > 0
        ]
        return {
            "name": entrant.name,
            "role": entrant.role,
            "key": entrant.key,
            "arch": str(self.run / "finalists" / f"{entrant.name}.yaml"),
            "metric": main,
            "params": int(entrant.costs["params"]),
            "macs": int(entrant.costs["macs"]),
            "search_val": entrant.search.get(main),
            "val": statistics.fmean(vals) if vals else None,
            "test_mean": statistics.fmean(tests) if tests else None,
            "test_std": statistics.stdev(tests) if len(tests) > 1 else 0.0 if tests else None,
            "test_seeds": tests,
            "latency_ms": statistics.median(latency) if latency else None,
            "refused": broken,
            "errors": errors,
        }

    def _best(self, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The row with the best val; of those alike to half a standard error the smallest."""
        good = [r for r in rows if r["val"] is not None and not r["refused"]]
        return max(good, key=lambda r: (round(r["val"], 3), -r["params"]), default=None)

    def _write_finalists(self, entrants: list[Entrant], rows: list[dict[str, Any]]) -> None:
        """One architecture file and one checkpoint (of the seed best on val) for each network."""
        for old in (*(self.run / "finalists").glob("*.yaml"), *(self.run / "finalists").glob("*.safetensors")):
            old.unlink()
        for entrant, row in zip(entrants, rows, strict=True):
            note = {
                "name": entrant.name,
                "note": f"{row['metric']} val {row['val']}, test {row['test_mean']} over {self.plan.final_seeds} seeds",
            }
            write({**note, **{k: v for k, v in entrant.arch.items() if k not in note}}, self.run / "finalists" / f"{entrant.name}.yaml")
            good = {seed: r["metrics"][row["metric"]] for seed, r in entrant.results.items() if not r["error"]}
            source = self._weights(entrant.key, max(good, key=lambda s: good[s])) if good else None
            if source is not None and source.exists():
                shutil.copyfile(source, self.run / "finalists" / f"{entrant.name}.safetensors")

    def _hypervolumes(self) -> dict[str, Any]:
        """Share of the box between the best and the worst seen that each front dominates (val, costs and errors as powers of ten)."""
        both = {"search": self.ledger, **({"control": self.control} if self.control else {})}
        points = {name: [scaled(r.metrics, self.plan.objectives) for r in ledger.finished()] for name, ledger in both.items()}
        everything = [p for some in points.values() for p in some]
        if not everything:
            return dict.fromkeys(both)
        worst = [max(axis) for axis in zip(*everything, strict=True)]
        best = [min(axis) for axis in zip(*everything, strict=True)]
        box = math.prod(w - b for w, b in zip(worst, best, strict=True))
        return {name: round(hypervolume(some, worst) / box, 4) if box > 0 else None for name, some in points.items()}


def _name(key: str, seed: int) -> str:
    return f"final/{key}/{seed}"
