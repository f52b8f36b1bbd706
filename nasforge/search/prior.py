"""What earlier runs on the same space learned, so that a strategy need not begin anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasforge.errors import UserError
from nasforge.objectives.objective import Objective
from nasforge.search.plan import read_manifest
from nasforge.search.study import ended, studies_of
from nasforge.spaces.arch import digest
from nasforge.strategies.base import Trial, TrialKind
from nasforge.strategies.optuna import trial_of


def seen_before(runs: Sequence[str], space: Mapping[str, Any], objectives: Sequence[Objective]) -> list[Trial]:
    """Return the finished and stopped trials of earlier runs, in order, judged by these objectives.

    Raises UserError for a run on another space, or one that did not measure what is wanted now.
    """
    out: list[Trial] = []
    for run in runs:
        manifest = read_manifest(Path(run))
        if manifest.get("space") != digest(space):
            raise UserError(f"--prior {run}: searched another space (or one fitted to other data); give a run on this one")
        study = studies_of(Path(run))("search")
        if study is None:
            raise UserError(f"--prior {run}: its storage holds no search; give the folder of one that has begun")
        for trial in ended(study):
            if trial.user_attrs.get("record", {}).get("kind") not in (TrialKind.FINISHED, TrialKind.PRUNED):
                continue
            missing = {name for o in objectives for name in o.reads} - trial.user_attrs["record"]["metrics"].keys()
            if missing:
                raise UserError(f"--prior {run}: did not measure {', '.join(sorted(missing))}; give a run that did, or another --objective")
            out.append(trial_of(trial, objectives))
    return out
