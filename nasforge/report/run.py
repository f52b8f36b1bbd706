"""Everything that a run left in its folder and storage, also of one that goes on or was killed; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasforge.errors import UserError
from nasforge.files import without_collector
from nasforge.objectives.metrics import Known, names, trained
from nasforge.objectives.objective import Objective, parse_limit, parse_objectives
from nasforge.search.plan import MANIFEST, NEEDED, SPACE, moved, read_manifest
from nasforge.search.records import Ledger, TrialRecord
from nasforge.search.study import Study, running, studies_of
from nasforge.spaces.arch import Arch
from nasforge.spaces.check import fits
from nasforge.spaces.choosers import replay
from nasforge.spaces.files import read
from nasforge.spaces.space import Space

SUMMARIZED: dict[str, Any] = {  # what a summary has
    "asked": int, "finalists": list[dict], "control_finalists": list[dict], "baselines": list[dict], "best": dict | None,
    "control": dict | None, "seconds": dict,
}  # fmt: skip
ROW: dict[str, Any] = {  # and each of its networks
    "name": str, "role": str, "key": str, "metric": str, "params": int, "macs": int, "search_val": float | None, "val": float | None,
    "test_mean": float | None, "test_std": float | None, "test_seeds": list[float], "tests": dict | None, "latency_ms": float | None,
    "refused": list[str], "errors": list[str],
}  # fmt: skip
Row = dict[str, Any]  # one network of the finals, as `Finals.summary()` writes it


@dataclass(frozen=True)
class Run:
    """A search as it was found.

    running: trials that were being trained. summary: what the search wrote at its end, None before. finals: results of
    the final trainings by key of the network and seed. seconds: of wall and workers, as far as they were written down.
    """

    folder: Path
    manifest: dict[str, Any]
    space: Space
    search: Ledger
    control: Ledger | None
    running: int
    summary: dict[str, Any] | None
    finals: dict[str, dict[int, dict[str, Any]]]
    seconds: dict[str, float]

    @property
    def objectives(self) -> list[Objective]:
        """What was asked for, the main one first."""
        return self.search.objectives

    @property
    def first(self) -> Objective:
        """The main objective."""
        return self.search.objectives[0]

    @property
    def score(self) -> str:
        """The trained metric that networks are compared by: that of the finals, before the end the first one that was asked for."""
        seen = {name for ledger in self.ledgers.values() for r in ledger.records.values() for name in r.metrics}
        found = [*(r["metric"] for r in self.rows()), *trained(o.base for o in self.objectives)]
        return [*found, *(name for name in names(Known.TRAINED) if name in seen), "loss"][0]

    @property
    def ledgers(self) -> dict[str, Ledger]:
        """The search and, where there is one, its control."""
        return {"search": self.search, **({"control": self.control} if self.control else {})}

    @property
    def asked(self) -> int:
        """The trials asked for; of a search for a given time those that there were."""
        planned = 0 if self.manifest.get("minutes") else self.manifest.get("trials", 0)
        known = self.summary["asked"] if self.summary else planned
        return max(int(known), self.trained(self.search))

    def trained(self, ledger: Ledger) -> int:
        """Return the trials that count against the asked number."""
        return ledger.count("finished", "pruned", "failed")

    def rows(self, *roles: str) -> list[Row]:
        """Return the networks of the finals, of all roles where none is named; empty before the end."""
        if self.summary is None:
            return []
        rows = [*self.summary["finalists"], *self.summary["control_finalists"], *self.summary["baselines"]]
        return [r for r in rows if not roles or r["role"] in roles]

    def also_on_test(self) -> list[str]:
        """Return the metrics other than the main one that the finals know of test; none of a run of version 0.1."""
        return list(dict.fromkeys(name for r in self.rows() for name in r.get("tests") or {} if name != r["metric"]))

    def constant(self) -> dict[str, float]:
        """Return what an answer that ignores its input scores on test, where that is known."""
        found = (self.summary or {}).get("constant")
        return dict(found) if isinstance(found, dict) else {}

    def best(self) -> Row | None:
        """Return the winner among the finalists."""
        return self.summary["best"] if self.summary else None

    def best_control(self) -> Row | None:
        """Return the control's best network, where a control was run and gave one."""
        row = self.summary["control"] if self.summary else None
        return row if row and row.get("test_mean") is not None else None

    def leader(self) -> TrialRecord | None:
        """Return the trial that the winner comes from; before the end the best so far on the main objective."""
        best = self.best()
        if best is not None and best["key"] in self.search.by_key:
            return self.search.records[self.search.by_key[best["key"]]]
        front = self.search.front()
        pick = max if self.first.maximize else min
        return pick(front, key=lambda r: r.metrics[self.first.metric], default=None)

    def arch(self, record: TrialRecord) -> Arch:
        """Return the architecture of a trial."""
        return self.space.draw(replay(record.choices))[0]


@without_collector()
def collect(run: Path, storage: str | None = None) -> Run:
    """Return the run in a folder; `storage` is the URL of its studies where the manifest does not tell it, or needs a password.

    Raises:
        UserError: the folder holds no search, or its storage cannot be read.
    """
    run = Path(run)
    manifest = read_manifest(run)
    study_named = studies_of(run, storage)
    study, control = study_named("search"), study_named("control")
    if study is None:
        raise UserError(f"{run}: its storage holds no study of this run; has the search started?")
    lacks = next((name for name in NEEDED if name not in manifest), None if "spec" in manifest.get("data", {}) else "data.spec")
    if lacks:
        raise UserError(f"{run / MANIFEST}: must have {lacks}, got none; restore the file from a copy")
    objectives = parse_objectives(",".join(manifest["objectives"]))
    limits = [parse_limit(text) for text in manifest["constraints"]]
    attrs = study.user_attrs
    finals: dict[str, dict[int, dict[str, Any]]] = {}
    for name, result in attrs.items():
        if name.startswith("final/"):
            _, key, seed = name.split("/")
            finals.setdefault(key, {})[int(seed)] = result
    _check_summary(run, attrs.get("summary"))
    return Run(
        run,
        manifest,
        Space(read(run / SPACE)),
        Ledger(study, objectives, limits),
        Ledger(control, objectives, limits) if control else None,
        sum(running(s) for s in (study, control) if s),
        moved(attrs.get("summary"), run),
        finals,
        _seconds(attrs, [s for s in (study, control) if s]),
    )


def _check_summary(run: Path, summary: Any) -> None:
    """Raise UserError for a summary that lacks what pages read of it."""
    fault = None
    if summary is not None and not (isinstance(summary, dict) and all(fits(summary.get(name), kind) for name, kind in SUMMARIZED.items())):
        fault = next((name for name, kind in SUMMARIZED.items() if not isinstance(summary, dict) or not fits(summary.get(name), kind)), "")
    elif summary is not None:
        rows = [row for group in ("finalists", "control_finalists", "baselines") for row in summary[group]]
        winners = [row for row in (summary["best"], summary["control"]) if row is not None and row.get("test_mean") is not None]
        fault = next((name for row in (*rows, *winners) for name, kind in ROW.items() if not fits(row.get(name), kind)), None)
    if fault is not None:
        raise UserError(f"{run}: the summary in its storage is damaged ({fault}); restore the storage from a copy")


def _seconds(attrs: dict[str, Any], studies: list[Study]) -> dict[str, float]:
    """The totals of the clock; a killed run has none, there what its trials wrote is added up."""
    written = (attrs.get("summary") or {}).get("seconds") or attrs.get("seconds")
    if written:
        return dict(written)
    records = [t.user_attrs.get("record", {}) for s in studies for t in s.get_trials(deepcopy=False)]
    finals = [v for k, v in attrs.items() if k.startswith("final/")]
    parts = [r.get("seconds", {}) for r in (*records, *finals)]
    return {name: sum(p.get(name, 0.0) for p in parts) for name in ("training", "measuring")}
