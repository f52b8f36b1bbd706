"""Optuna studies as a search uses them: how they are loaded, read and told, and nothing else of Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from nasforge.errors import UserError
from nasforge.objectives.objective import Objective
from nasforge.spaces.domains import Domain, Scalar
from nasforge.strategies.base import TrialKind
from nasforge.strategies.optuna import distribution

__all__ = ["FrozenTrial", "Study", "Trial"]

STATES = {TrialKind.FAILED: TrialState.FAIL, TrialKind.INTERRUPTED: TrialState.FAIL}  # of those without values; others are PRUNED


def quiet() -> None:
    """Let Optuna write warnings only."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def directions(objectives: Sequence[Objective]) -> list[StudyDirection]:
    """Return the directions of a study with these objectives."""
    return [StudyDirection.MAXIMIZE if o.maximize else StudyDirection.MINIMIZE for o in objectives]


def in_memory(sampler: Any, objective: Objective) -> Study:
    """Return a study of one objective that is kept nowhere."""
    return optuna.create_study(directions=directions([objective]), sampler=sampler)


def load(storage: BaseStorage | str, name: str) -> Study | None:
    """Return the study of that name, None where the storage holds none.

    Raises:
        UserError: the storage cannot be read.
    """
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return None
    except ValueError as error:
        raise UserError(f"{name}: the storage cannot be read ({error}); is the search writing right now? try again") from None


def owner_of(study: Study) -> str | None:
    """Return the id of the run that made a study; None in the moment before it signs."""
    return study.user_attrs.get("run")


def prefix_of(storage: BaseStorage, manifest: Mapping[str, Any], folder: str, shared: bool) -> str:
    """Return what the names of a run's studies begin with.

    Its manifest has noted it, whatever the folder is called by now. For one that has not, of an older version, it is the name of the folder
    in a storage that many runs share, unless a study there is signed by the run.
    """
    noted = manifest.get("study")
    if isinstance(noted, Mapping) and isinstance(noted.get("prefix"), str):
        return noted["prefix"]
    if not shared:
        return ""
    study = load(storage, f"{folder}-search")
    if study is None or owner_of(study) != manifest.get("id"):
        for one in storage.get_all_studies():
            if one.study_name.endswith("-search") and one.user_attrs.get("run") == manifest.get("id"):
                return one.study_name.removesuffix("search")
    return f"{folder}-"


def complete(study: Study) -> list[FrozenTrial]:
    """Return the trials that have values."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def running(study: Study) -> int:
    """Return how many trials have begun and not ended."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def importances(study: Study, trials: Collection[FrozenTrial], loss: Callable[[FrozenTrial], float], quantile: float) -> dict[str, float]:
    """Return for each domain how differently the trials of lowest loss draw it; only their ratios mean something.

    Source: Watanabe et al. 2023 (PED-ANOVA), with its extension to conditional parameters, as in Optuna.

    Args:
        trials: those that count, of the complete ones of the study.
        quantile: the share of them that is best.
    """
    counted = {trial.number for trial in trials}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the sign of the target, which is right here, and domains drawn in one trial only
        return get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile),
            target=lambda trial: loss(trial) if trial.number in counted else math.nan,  # optuna leaves out what is not finite
            normalize=False,
        )


def ended(study: Study) -> list[FrozenTrial]:
    """Return the trials that have ended, in whatever way."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def waiting(study: Study) -> list[FrozenTrial]:
    """Return the trials that are queued."""
    return study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


def end(study: Study, trial: Trial | int, kind: TrialKind, values: Sequence[float] | None = None) -> bool:
    """Write into a study how a trial ended; return False where another driver had ended it before."""
    try:
        if values is not None:
            study.tell(trial, list(values))
        else:
            study.tell(trial, state=STATES.get(kind, TrialState.PRUNED))
    except UpdateFinishedTrialError:
        return False
    return True


def finished(choices: Mapping[str, Scalar], domains: Mapping[str, Domain], value: float) -> FrozenTrial:
    """Return a finished trial of these choices, to be added to a study."""
    return create_trial(params=dict(choices), distributions={name: distribution(domains[name]) for name in choices}, value=value)
