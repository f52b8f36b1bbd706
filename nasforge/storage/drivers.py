"""The drivers of one study: who asks, who is alive, whose trials are taken over.

With a journal there is one driver, that of the run folder. In a database there may be many, on several machines, each with a run folder of
its own: the one that made the study owns it (it asks the baselines and runs the finals), the others join it as more sources of trials.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nasforge.errors import UserError

if TYPE_CHECKING:
    from nasforge.storage.database import Database

DRIVER = "driver"  # user attribute of a trial: who works on it
ENOUGH = -1  # instead of a number: as many trials as were asked are claimed
BEAT_S = 10.0  # between two heartbeats
SILENT_S = 35.0  # without one, a driver is taken for dead
MOST_DEATHS = 3  # drivers that may die over one trial
SIGNED_S = 20.0  # that the maker of a study may take to sign it

AskAgain = Callable[[optuna.Study, FrozenTrial, Mapping[str, int]], None]
Reached = Callable[[FrozenTrial], int]


class Drivers:
    """This driver among those of a storage. me: the id of its run; owner: that of the run that made the study."""

    def __init__(self, storage: Any, me: str) -> None:
        self.me = self.owner = me
        self.storage: Database | None = storage if hasattr(storage, "claim") else None  # a `Database`; its import takes half a second
        self._checked: dict[int, float] = {}
        self._beating_since = time.monotonic()
        self._stop = threading.Event()
        if self.storage is not None:
            self.storage.driver = me
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def study(self, storage: Any, name: str, directions: Sequence[Any], plan: Mapping[str, Any]) -> optuna.Study:
        """Return the study of that name, made for its owner where there is none.

        Raises UserError where the study is of another plan: `plan` is what drivers of one study have in common.
        """
        try:
            study = optuna.create_study(storage=storage, study_name=name, directions=list(directions))
            study.set_user_attr("plan", dict(plan))
            study.set_user_attr("run", self.owner)
        except DuplicatedStudyError:
            study = optuna.load_study(storage=storage, study_name=name)
            self.owner = _owner(study, self.me)
            if not self.owns:
                _compare(study, name, plan)
        return study

    @property
    def owns(self) -> bool:
        """Whether the study is this driver's own."""
        return self.owner == self.me

    @property
    def shared(self) -> bool:
        """Whether others may work on the same study."""
        return self.storage is not None

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                assert self.storage is not None
                self.storage.beat()
            except Exception:  # the database is away: its clock stands still for all drivers alike
                self._beating_since = time.monotonic()

    def claim(self, trial: optuna.Trial, key: str, most: int) -> int | None:
        """As `Database.claim`; None with one driver, which knows of all trials."""
        return None if self.storage is None else self.storage.claim(trial._trial_id, key, most)

    def others(self, study: optuna.Study) -> int:
        """Return how many trials are open at other drivers."""
        if self.storage is None:
            return 0
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(t.user_attrs.get(DRIVER, self.me) != self.me for t in running)

    def take_over(self, study: optuna.Study, ask_again: AskAgain, reached: Reached, first: bool = False) -> int:
        """Return how many trials of drivers that died are asked again; they are ended.

        reached: how far the training of a trial has come, in epochs.
        first: this driver has just begun, so whatever is open under its name was left by its life before.
        """
        if not first and (not self.shared or time.monotonic() - self._checked.get(study._study_id, 0.0) < BEAT_S):
            return 0
        self._checked[study._study_id] = time.monotonic()
        dead, queued = self._dead(study, first), 0
        for trial in sorted(dead, key=lambda t: "curve" not in t.user_attrs):  # paused ones first: a running one is judged among them
            with contextlib.suppress(UpdateFinishedTrialError):  # another driver was first, or it ended after all
                marks = None if trial.user_attrs.get("record") is not None else _again(study, trial, reached(trial))
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                if marks is not None:  # else it had ended, but for the last line, or it ends now
                    ask_again(study, trial, marks)
                    queued += 1
        return queued

    def _dead(self, study: optuna.Study, first: bool) -> Sequence[FrozenTrial]:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if self.storage is None:
            return running
        if first:
            return [t for t in running if t.user_attrs.get(DRIVER) == self.me]
        if time.monotonic() - self._beating_since < SILENT_S:  # after a pause of the database all are silent, and alive
            return []
        return self.storage.silent(study._study_id, SILENT_S)

    def close(self) -> None:
        self._stop.set()
        if self.storage is not None:
            self.storage.engine.dispose()


def _owner(study: optuna.Study, me: str) -> str:
    until = time.monotonic() + SIGNED_S
    while True:
        owner = study.user_attrs.get("run")
        if owner is not None:
            return str(owner)
        if time.monotonic() > until:  # its maker died before it signed
            study.set_user_attr("run", me)
        time.sleep(0.2)


def _compare(study: optuna.Study, name: str, plan: Mapping[str, Any]) -> None:
    theirs = study.user_attrs.get("plan", {})
    changed = [k for k in plan if theirs.get(k) != plan[k]]
    if changed:
        what = "; ".join(f"{k} there is {theirs.get(k)!r}, here {plan[k]!r}" for k in changed)
        raise UserError(
            f"--storage: holds a study {name!r} of another run folder ({what}); to join it give the same command, "
            "else rename this folder, or choose another storage"
        )


def _again(study: optuna.Study, trial: FrozenTrial, reached: int) -> dict[str, int] | None:
    """What to note of a trial that is asked again as its driver died: how often that happened while its training came no further.

    None where that was too often; it is then written down as failed.
    """
    curve = trial.user_attrs.get("curve")
    if curve is not None and trial.user_attrs.get("promoted") != len(curve):  # it was paused, and not trained
        return {}
    moved = reached > trial.user_attrs.get("reached", 0)
    deaths = 1 if moved else 1 + trial.user_attrs.get("deaths", 0)
    if deaths < MOST_DEATHS:
        return {"deaths": deaths, "reached": reached}
    record = {"kind": "failed", "message": f"the driver died {deaths} times while this was trained"}
    study._storage.set_trial_user_attr(trial._trial_id, "record", record)
    return None
