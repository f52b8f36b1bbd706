"""Optuna studies as a search uses them: how they are loaded, read and told, and nothing else of Optuna."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from nasforge.errors import UserError
from nasforge.objectives.objective import Objective
from nasforge.search.plan import check_owner, read_manifest
from nasforge.spaces.domains import Domain, Scalar
from nasforge.storage.journal import Journal
from nasforge.storage.open import open_storage, without_password
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


def name_objectives(study: Study, objectives: Sequence[Objective]) -> None:
    """Write into a study what its values are called, for `optuna-dashboard` and data frames of Optuna."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        names = [o.metric for o in objectives]
        if study.metric_names != names:
            study.set_metric_names(names)


def set_attributes(trial: Trial, attributes: Mapping[str, Any]) -> None:
    """Write attributes of a trial, in this order; with a journal by one write."""
    if isinstance(trial.storage, Journal):
        trial.storage.set_trial_user_attrs(trial._trial_id, attributes)
    else:
        for name, value in attributes.items():
            trial.set_user_attr(name, value)


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


def studies_of(run: Path, storage: str | None = None) -> Callable[[str], Study | None]:
    """Return what loads a study of a run, `search` or `control`, from where its studies are: the folder, or the database of its manifest.

    storage: the URL of the database, where the one in the manifest lacks something, such as a password.

    Raises:
        UserError: there is no run, or its database is not known or cannot be read.
    """
    manifest = read_manifest(run)

    def named(opened: BaseStorage, shared: bool) -> Callable[[str], Study | None]:
        prefix = prefix_of(opened, manifest, run.resolve().name, shared)

        def study(name: str) -> Study | None:
            found = load(opened, f"{prefix}{name}")
            if found is not None:
                check_owner(found, manifest, run)
            return found

        return study

    kind, url = manifest.get("storage", "journal"), storage or manifest.get("storage_url")
    if kind == "journal" and storage is None:
        return named(open_storage(run, None, write=False), shared=False)
    if not isinstance(url, str):
        raise UserError(
            f"{run}: its studies are in a {kind} database, not in the folder, and its manifest does not say where; give its URL as "
            "storage, or the command of the search once more, which writes it down"
        )
    try:
        opened = open_storage(run, _from_there(url, manifest.get("given_in")), write=False)
    except UserError as error:
        password = "" if str(kind).startswith("sqlite") else "; its password is read from PGPASSWORD or PGPASSFILE"
        raise UserError(f"{run}: its studies are in a {kind} database, {without_password(url)}: {error}{password}") from None
    return named(opened, shared=True)


def _from_there(url: str, folder: Any) -> str:
    """A URL with the file of its database, where it is one, as seen from the folder in which it was given."""
    kind, separator, path = url.partition(":///")
    if not kind.startswith("sqlite") or not path or not isinstance(folder, str):
        return url
    return f"{kind}{separator}{Path(folder) / path}"


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
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # with scikit-learn and SciPy: seconds

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
