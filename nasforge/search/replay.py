"""A run decided again from its journal: every ask recomputed from what the study held at that moment, and compared with what was asked.

The journal is read entry by entry into a study in memory. Where a trial begins, the strategy is asked for its choices before the recorded
ones are let in. So a run of many workers, whose results came in an order that no seed decides, can be checked afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial, TrialState

from nasforge.errors import UserError
from nasforge.files import parsed
from nasforge.search.screening import arch_key
from nasforge.spaces.choosers import replay
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Choices, Space
from nasforge.storage.open import JOURNAL, open_storage
from nasforge.strategies.optuna import distribution


@dataclass(frozen=True)
class Parting:
    """Where a decision came out otherwise."""

    number: int
    what: str  # a domain, or `key`
    recorded: Any
    decided: Any


@dataclass
class Replay:
    """What a replay found. given: choices that were queued (baselines, trials asked again, random draws), not decided by the strategy."""

    study: str
    trials: int = 0
    choices: int = 0
    given: int = 0
    partings: list[Parting] = field(default_factory=list)


class _Tape(BaseJournalBackend):
    """A journal in memory."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs += json.loads(json.dumps(logs))


def entries(run: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's journal. Raises UserError where there is none or it is damaged."""
    open_storage(run, None, write=False)  # says what is wrong with it
    lines = (run / JOURNAL).read_bytes().splitlines()
    try:
        return [parsed(line) for line in lines if line.strip()]
    except ValueError:
        raise UserError(f"{run / JOURNAL}: its last line is half written; go on with the search, which mends it, then replay") from None


def replay_study(logs: Sequence[dict[str, Any]], name: str, space: Space, sampler: Any) -> Replay:
    """Return the comparison of the asks of one study with what its strategy decides again."""
    tape, found = _Tape(), Replay(name)
    storage = JournalStorage(tape)
    created = [log.get("study_name") for log in logs if log["op_code"] == JournalOperation.CREATE_STUDY]
    study_ids = list(dict.fromkeys(created))  # a run that goes on asks again for a study that is there, and gets that one
    if name not in study_ids:
        raise UserError(f"the journal holds no study {name!r}")
    wanted, begun = study_ids.index(name), 0
    study: optuna.Study | None = None
    for log in logs:
        tape.append_logs([log])
        if log["op_code"] == JournalOperation.CREATE_STUDY and log.get("study_name") == name:
            study = optuna.load_study(storage=storage, study_name=name, sampler=sampler)
        elif study is not None and (trial := _begun(log, storage, wanted)) is not None:
            begun += 1
            decided = _decide(study, trial, space)
            _compare(found, trial, _recorded(logs, trial), decided)
    found.trials = begun
    if study is None or begun != (asked := sum(t.state != TrialState.WAITING for t in study.get_trials(deepcopy=False))):
        raise UserError(f"{name}: {begun} of {'no' if study is None else asked} trials could be decided again; is the journal whole?")
    _check_keys(found, study, space)
    return found


def _begun(log: dict[str, Any], storage: JournalStorage, study_id: int) -> FrozenTrial | None:
    """The trial that begins with this entry."""
    op, running = log["op_code"], TrialState.RUNNING.value
    if op == JournalOperation.CREATE_TRIAL and log["study_id"] == study_id and log.get("state", running) == running:
        return storage.get_all_trials(study_id, deepcopy=False)[-1]
    if op == JournalOperation.SET_TRIAL_STATE_VALUES and log["state"] == running:
        trial = storage.get_trial(log["trial_id"])
        mine = storage.get_all_trials(study_id, deepcopy=False)
        return trial if any(t._trial_id == trial._trial_id for t in mine) else None
    return None


def _recorded(logs: Sequence[dict[str, Any]], trial: FrozenTrial) -> dict[str, Any]:
    """The choices of a trial as the journal has them."""
    out: dict[str, Any] = {}
    for log in logs:
        if log["op_code"] == JournalOperation.SET_TRIAL_PARAM and log["trial_id"] == trial._trial_id:
            distribution = optuna.distributions.json_to_distribution(log["distribution"])
            out[log["param_name"]] = distribution.to_external_repr(log["param_value_internal"])
    return out


def _decide(study: optuna.Study, trial: FrozenTrial, space: Space) -> dict[str, Any]:
    """The choices that the strategy makes for a trial now; queued ones are left out of what is returned."""
    study._thread_local.cached_all_trials = None
    study.sampler.before_trial(study, trial)
    together = study.sampler.infer_relative_search_space(study, trial)
    values = study.sampler.sample_relative(study, trial, together)
    fixed: Choices = trial.system_attrs.get("fixed_params", {})
    decided: dict[str, Any] = {}

    def ask(domain: Domain) -> Scalar:
        if domain.name in fixed:
            return fixed[domain.name]
        if domain.name in values:
            decided[domain.name] = values[domain.name]
        else:
            decided[domain.name] = study.sampler.sample_independent(study, trial, domain.name, distribution(domain))
        return decided[domain.name]

    space.draw(ask)
    return decided


def _compare(found: Replay, trial: FrozenTrial, recorded: dict[str, Any], decided: dict[str, Any]) -> None:
    if not recorded:  # its driver died before it had asked
        return
    for name in {**recorded, **decided}:
        if name in recorded and name not in decided and name in trial.system_attrs.get("fixed_params", {}):
            found.given += 1
            continue
        found.choices += 1
        if name not in decided or name not in recorded or decided[name] != recorded[name]:
            found.partings.append(Parting(trial.number, name, recorded.get(name, "not asked"), decided.get(name, "not asked")))


def _check_keys(found: Replay, study: optuna.Study, space: Space) -> None:
    """Whether the choices still give the functions that were trained."""
    for trial in study.get_trials(deepcopy=False):
        key = trial.user_attrs.get("record", {}).get("key")
        if key:
            now = arch_key(space.draw(replay(trial.params))[0])
            if now != key:
                found.partings.append(Parting(trial.number, "key", key, now))
