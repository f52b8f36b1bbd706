"""The end of a search: finalists, control and baselines retrained alike over several seeds, and scored once on test."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasforge.data.preprocess import write_preprocess
from nasforge.evaluation.base import Job
from nasforge.evaluation.train import examples_file
from nasforge.networks.cost import count
from nasforge.objectives.metrics import Known, Metric, metric
from nasforge.objectives.objective import Objective, losses, scaled
from nasforge.objectives.pareto import front as layer_of
from nasforge.objectives.pareto import hypervolume
from nasforge.search.answers import answers_of
from nasforge.search.context import RunContext
from nasforge.search.finals_driver import FinalsDriver, final_name
from nasforge.search.plan import SUMMARY
from nasforge.search.records import COUNTED, Ledger, TrialRecord
from nasforge.search.screening import arch_key, costs
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import replay
from nasforge.spaces.files import write
from nasforge.spaces.space import Space
from nasforge.strategies.base import TrialKind


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
    """The finals of a search. `summary()` runs what is missing and returns the object that `--json` prints."""

    def __init__(self, run: RunContext, ledger: Ledger, control: Ledger | None) -> None:
        self.run, self.plan, self.ledger, self.control = run, run.plan, ledger, control
        self.space = Space(run.plan.space)

    # ------------------------------------------------------------ who takes part

    def entrants(self) -> list[Entrant]:
        """As many finalists of the search as of the control, and all baselines; each network once a role."""
        out = [self._entrant(f"finalist{i + 1}", "finalist", r) for i, r in enumerate(self._chosen(self.ledger, self.plan.finalists))]
        if self.control is not None:
            out += [self._entrant(f"control{i + 1}", "control", r) for i, r in enumerate(self._chosen(self.control, self.plan.finalists))]
        for name, arch in self.plan.baselines.items():
            seen = next((r for r in self.ledger.records.values() if r.baseline == name and r.kind == TrialKind.FINISHED), None)
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

        A front with fewer members is filled up with the front of the others, and so on; where the time was over before so many trainings
        were, with those that were stopped early.
        """
        front, rest = ledger.front(), ledger.finished()
        if self.plan.minutes is not None and len(rest) < most:
            rest = [*rest, *ledger.cut_off()]
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
        self.run.runner.run(FinalsDriver(self.run, study, wanted, stored, settings, self.job))
        self._take(entrants, stored)

    def _take(self, entrants: list[Entrant], stored: Mapping[str, Any]) -> None:
        for entrant in entrants:
            for seed in range(self.plan.final_seeds):
                entrant.results[seed] = stored[final_name(entrant.key, seed)]

    def restore(self, summary: Mapping[str, Any]) -> None:
        """Write files of a finished search that were lost, from its study and `weights/`; what is there stays."""
        path = self.run.folder / SUMMARY
        if not path.is_file():
            path.write_text(json.dumps(summary, indent=1), encoding="utf-8")
        rows = {row["name"]: row for row in (*summary["finalists"], *summary["control_finalists"], *summary["baselines"])}
        folder, stored = self.run.folder / "finalists", self.ledger.study.user_attrs
        if all((folder / f"{name}.yaml").is_file() and self._has_weights(row) for name, row in rows.items()):
            return
        entrants = [entrant for entrant in self.entrants() if rows.get(entrant.name, {}).get("key") == entrant.key]
        for entrant in entrants:
            entrant.arch = stored[final_name(entrant.key, 0)]["arch"]
        self._take(entrants, stored)
        self._write_finalists(entrants, [rows[entrant.name] for entrant in entrants])

    def _has_weights(self, row: Mapping[str, Any]) -> bool:
        """Whether the weights of a network of the finals lie in their folder, or none are left of it."""
        kept = any(self._weights(row["key"], seed).is_file() for seed in range(self.plan.final_seeds))
        return not kept or (self.run.folder / "finalists" / f"{row['name']}.safetensors").is_file()

    def job(self, entrant: Entrant, seed: int, left: int) -> Job:
        """Return the final training of a network with a seed; so many are left to begin, this one among them."""
        plan, key = self.plan, entrant.key
        return Job(
            entrant.arch, seed, full=True, test=True, usual=self.run.usual.get("full", {}),
            recipe={**plan.final_recipe, **self.run.monitor, **self._time(key, seed, left)},
            latency=any("latency_ms" in o.reads for o in plan.objectives) or any(x.metric == "latency_ms" for x in plan.limits),
            runtime=plan.runtime,
            weights=str(self._weights(key, seed)), checkpoint=str(self.run.folder / "checkpoints" / f"{key}-{seed}.pt"),
            choices=entrant.choices,
        )  # fmt: skip

    def _time(self, key: str, seed: int, left: int) -> dict[str, float]:
        """How long a training may take, where there is a limit: the same again when an interrupted one goes on."""
        study, name = self.ledger.study, f"minutes/{self.plan.final_settings()}/{key}/{seed}"
        minutes = study.user_attrs.get(name) or self.run.clock.training_minutes(left, self.run.workers)
        if minutes is None:
            return {}
        study.set_user_attr(name, minutes)
        return {"minutes": minutes}

    def _weights(self, key: str, seed: int) -> Path:
        return self.run.folder / "weights" / f"{key}-{seed}.safetensors"

    # ------------------------------------------------------------ what came of it

    def summary(self) -> dict[str, Any]:
        """Return the whole search in one object."""
        entrants = self.entrants()
        self.train(entrants)
        rows = [self._row(e) for e in entrants]
        self._write_finalists(entrants, rows)
        finalists = [r for r in rows if r["role"] == "finalist"]
        control = [r for r in rows if r["role"] == "control"]
        trained = sum(self.ledger.count(kind) for kind in COUNTED)
        best = self._best(finalists)
        winner = next((e for e in entrants if best is not None and e.name == best["name"]), None)
        return {
            "run": str(self.run.folder),
            "asked": self.plan.trials if self.plan.minutes is None else trained,
            **{str(kind): self.ledger.count(kind) for kind in (*COUNTED, TrialKind.INFEASIBLE, TrialKind.INTERRUPTED)},
            "duplicates": self.ledger.count(TrialKind.DUPLICATE),
            "exhausted": self.plan.minutes is None and not self.plan.until and trained < self.plan.trials,
            "minutes": self.plan.minutes,
            "settings": self.plan.final_settings(),
            "objectives": [str(o) for o in self.plan.objectives],
            "constraints": [str(limit) for limit in self.plan.limits],
            "best": best,
            "answers": {} if winner is None else answers_of(winner.results.values(), self.run.data.spec.targets),
            "control": self._best(control) or {"test_mean": None, "test_std": None},
            "finalists": finalists,
            "control_finalists": control,
            "baselines": [r for r in rows if r["role"] == "baseline"],
            "constant": self.run.task.constant(self.run.data, "test") if self.run.data.size("test") else {},
            "hypervolume": self._hypervolumes(),
            "seconds": self.run.timing.totals(),
        }

    def _row(self, entrant: Entrant) -> dict[str, Any]:
        main, kept = self.run.metric.name, self._kept(entrant)
        results = [r for r in entrant.results.values() if not r["error"]]
        errors = sorted({r["error"] for r in entrant.results.values() if r["error"]})
        tests, vals = [r["test"][main] for r in results if r["test"]], [r["metrics"][main] for r in results]
        names = [m.name for m in self.run.task.metrics if all(m.name in r["test"] for r in results)]
        latency = [r["metrics"]["latency_ms"] for r in results if "latency_ms" in r["metrics"]]
        found = {**entrant.search, **entrant.costs, **_means([r["metrics"] for r in results])}
        if latency:
            found["latency_ms"] = statistics.median(latency)
        return {
            "name": entrant.name,
            "role": entrant.role,
            "key": entrant.key,
            "arch": str(self.run.folder / "finalists" / f"{entrant.name}.yaml"),
            "metric": main,
            "params": int(entrant.costs["params"]),
            "macs": int(entrant.costs["macs"]),
            "search_val": entrant.search.get(main),
            "val": statistics.fmean(vals) if vals else None,
            "val_of_weights": None if kept is None else entrant.results[kept]["metrics"][main],
            "test_mean": statistics.fmean(tests) if tests else None,
            "test_std": statistics.stdev(tests) if len(tests) > 1 else 0.0 if tests else None,
            "test_seeds": tests,
            "tests": {name: statistics.fmean(r["test"][name] for r in results) for name in names} if results else {},
            "latency_ms": statistics.median(latency) if latency else None,
            "objectives": {o.metric: o.value(found) for o in self.plan.objectives if results and o.reads <= found.keys()},
            "quantities": {name: found[name] for name in self._asked_for() if results and name in found},
            "refused": self._broken(found, max(latency, default=None)) if results else [],
            "errors": errors,
        }

    def _asked_for(self) -> list[str]:
        """The metrics that are wished for or limited."""
        return sorted({name for o in self.plan.objectives for name in o.reads} | {limit.metric for limit in self.plan.limits})

    def _broken(self, found: Mapping[str, float], slowest_ms: float | None) -> list[str]:
        """The limits that a network breaks in the finals, in words: latency in each of its trainings, trained metrics on average."""
        out = []
        for limit in self.plan.limits:
            if limit.metric == "latency_ms" and slowest_ms is not None and limit.excess(slowest_ms) > 0:
                out.append(f"{limit}: measured {slowest_ms:.3g} on this machine")
            elif metric(limit.metric).known is Known.TRAINED and limit.metric in found and limit.excess(found[limit.metric]) > 0:
                out.append(f"{limit}: {found[limit.metric]:.6g} on val after the final trainings")
        return out

    def _best(self, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The row that keeps all limits and is best by the objectives, the first one first; of equal ones the smallest.

        Trained metrics are equal to three decimals of a share, or three digits of a number, costs exactly. What a zero-cost score stood
        for is known now: the trained metric of the finals decides in its place.
        """
        main = Objective(self.run.metric.name, self.run.metric.maximize)
        wanted = [main if metric(o.base).known is Known.ZERO_COST else o for o in self.plan.objectives]

        def rank(row: dict[str, Any]) -> tuple[float, ...]:
            values = {main.metric: row["val"], **row["objectives"]}
            ordered = [(o, _rounded(o.described, values[o.metric])) for o in (*wanted, main) if o.metric in values]
            return (*(-value if o.maximize else value for o, value in ordered), row["params"])

        return min((r for r in rows if r["val"] is not None and not r["refused"]), key=rank, default=None)

    def _write_finalists(self, entrants: list[Entrant], rows: list[dict[str, Any]]) -> None:
        """One architecture file and one checkpoint (of the seed best on val) for each network."""
        folder = self.run.folder / "finalists"
        for old in (*folder.glob("*.yaml"), *folder.glob("*.safetensors"), *folder.glob("*.examples.json")):
            old.unlink()
        for entrant, row in zip(entrants, rows, strict=True):
            tested = f", test {row['test_mean']}" if self.run.data.size("test") else ""
            note = {
                "name": entrant.name,
                "note": f"{row['metric']} val {row['val']}{tested} over {self.plan.final_seeds} seeds",
            }
            write({**note, **{k: v for k, v in entrant.arch.items() if k not in note}}, folder / f"{entrant.name}.yaml")
            seed = self._kept(entrant)
            source = None if seed is None else self._weights(entrant.key, seed)
            if source is not None and source.exists():
                shutil.copyfile(source, folder / f"{entrant.name}.safetensors")
                if (examples := examples_file(source)).exists():
                    shutil.copyfile(examples, examples_file(folder / f"{entrant.name}.safetensors"))
        write_preprocess(self.run.data.spec.preprocess, folder)

    def _kept(self, entrant: Entrant) -> int | None:
        """The seed whose weights are kept: the best on val."""
        good = {seed: r["metrics"][self.run.metric.name] for seed, r in entrant.results.items() if not r["error"]}
        choose = max if self.run.metric.maximize else min
        return choose(good, key=lambda s: good[s]) if good else None

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


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number that all rows have."""
    return {name: statistics.fmean(r[name] for r in rows) for name in (rows[0] if rows else ()) if all(name in r for r in rows)}


def _rounded(described: Metric, value: float) -> float:
    """A value as it is compared: differences below that are chance."""
    if described.unit in ("count", "bytes"):
        return value
    return round(value, 3) if described.unit == "share" else float(f"{value:.3g}")
