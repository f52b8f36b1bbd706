"""Optuna studies for those who only read them, such as the report."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nasforge.errors import UserError

__all__ = ["FrozenTrial", "Study", "complete", "importances", "load", "running"]


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
