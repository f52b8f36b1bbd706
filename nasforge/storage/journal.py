"""Optuna's journal as a search uses it: opened fast, of a cost for each trial that does not grow with their number, and read with care.

The entries are Optuna's, so `optuna-dashboard` and `JournalStorage` read them too. What differs: entries are parsed in bulk, trials are
changed in place while nobody has seen them yet, and the trials of a study lie ready in their order.
"""

from __future__ import annotations

import copy
import errno
import fcntl
import json
import os
import threading
import uuid
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility, json_to_distribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.storages.journal._storage import JournalOperation, JournalStorageReplayResult
from optuna.trial import FrozenTrial, TrialState

from nasforge.errors import UserError
from nasforge.files import parsed, without_collector
from nasforge.storage.lock import no_locks

AT_ONCE = 2**22  # bytes that are parsed together


class Journal(JournalStorage):
    """The studies in a journal file. Raises UserError where a line of it is damaged."""

    def __init__(self, path: Path) -> None:
        self._worker_id_prefix = f"{uuid.uuid4()}-"
        self._backend = _File(str(path), _KernelLock(path))
        self._thread_lock = threading.Lock()
        self._replay_result = replayed = _Replay(self._worker_id_prefix)
        with without_collector(), self._thread_lock:
            self._sync_with_backend()
        replayed.seen = True

    def set_trial_user_attrs(self, trial_id: int, attrs: Mapping[str, Any]) -> None:
        """Write several attributes of a trial at once; each keeps an entry of its own, as other readers of the file want it."""
        with self._thread_lock:
            told = {"op_code": JournalOperation.SET_TRIAL_USER_ATTR, "worker_id": self._replay_result.worker_id, "trial_id": trial_id}
            self._backend.append_logs([{**told, "user_attr": {name: value}} for name, value in attrs.items()])
            self._sync_with_backend()


class _KernelLock(BaseJournalFileLock):
    """A lock that the kernel gives back when its holder dies, so that a killed search never blocks the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[int] = []

    def acquire(self) -> bool:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            os.close(handle)
            raise no_locks(self._path.parent, error) from None
        self._held.append(handle)
        return True

    def release(self) -> None:
        os.close(self._held.pop())  # closing gives the lock back


class _File(JournalFileBackend):
    """A journal that hands each entry to the operating system at once, but does not wait for the disk.

    What was written survives the death of the process (kill -9), not of the machine's power; a wait for the disk at each of the
    dozen entries of a trial costs more than the search itself.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        data = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._lock.acquire()
        try:
            with open(self._file_path, "ab", buffering=0) as file:
                end = file.tell()
                if file.write(data) != len(data):  # a full disk takes a part and says nothing
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, "No space left on device", self._file_path)
        finally:
            self._lock.release()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield the entries from a number on. A last line that is still being written is left for the next time."""
        offsets, start = self._log_number_offset, log_number_from if log_number_from in self._log_number_offset else 0
        with open(self._file_path, "rb") as file:
            file.seek(offsets[start])
            number, offset = start, offsets[start]
            while lines := file.readlines(AT_ONCE):
                if not lines[-1].endswith(b"\n"):
                    lines.pop()
                fresh = lines[max(0, log_number_from - number) :]
                entries = _entries(self._file_path, fresh, number + len(lines) - len(fresh) + 1)
                number, offset = number + len(lines), offset + sum(map(len, lines))
                offsets[number] = offset
                yield from entries


def _entries(path: str, lines: list[bytes], first: int) -> list[dict[str, Any]]:
    """Lines as entries; all at once, which is much faster, and one by one where that fails. first: the number of the first line."""
    try:
        found = parsed(b"[" + b",".join(lines) + b"]")
    except ValueError:
        found = []
    if len(found) == len(lines) and all(isinstance(entry, dict) and "op_code" in entry for entry in found):
        return found
    what = "restore it from a copy, or start anew with another --run"
    for number, line in enumerate(lines, first):
        try:
            entry = parsed(line)
            if not isinstance(entry, dict) or "op_code" not in entry:
                raise ValueError("no journal entry")
        except ValueError:
            raise UserError(f"{path}:{number}: the journal is damaged here; {what}") from None
    raise UserError(f"{path}: the journal is damaged; {what}")


class _Replay(JournalStorageReplayResult):
    """What the entries amount to. seen: whether others may hold trials, which must not change under them then."""

    def __init__(self, worker_id_prefix: str) -> None:
        super().__init__(worker_id_prefix)
        self.seen = False
        self._in_order: dict[int, list[FrozenTrial]] = {}
        self._open: dict[int, dict[int, None]] = {}  # numbers of the trials that have not ended
        self._distributions: dict[str, BaseDistribution] = {}
        self._first: dict[tuple[int, str], BaseDistribution] = {}  # with which a parameter of a study was drawn first

    def get_all_trials(self, study_id: int, states: Container[TrialState] | None) -> list[FrozenTrial]:
        if study_id not in self._studies:
            raise KeyError(f"no study {study_id}")
        trials = self._in_order.setdefault(study_id, [])
        if states is None:
            return trials.copy()
        if any(state in states for state in TrialState if state.is_finished()):
            return [trial for trial in trials if trial.state in states]
        return [trials[number] for number in sorted(self._open.get(study_id, ())) if trials[number].state in states]

    def _place(self, trial: FrozenTrial) -> None:
        """Put a trial where it is looked for."""
        study = self._trial_id_to_study_id[trial._trial_id]
        trials, still_open = self._in_order.setdefault(study, []), self._open.setdefault(study, {})
        self._trials[trial._trial_id] = trial
        trials[trial.number : trial.number + 1] = [trial]
        if trial.state.is_finished():
            still_open.pop(trial.number, None)
        else:
            still_open[trial.number] = None

    def _changing(self, log: dict[str, Any]) -> FrozenTrial | None:
        """The trial that an entry changes, a copy where it may have been seen; None where it may not be changed any more."""
        if not self._trial_exists_and_updatable(log["trial_id"], log):
            return None
        trial = self._trials[log["trial_id"]]
        if self.seen:
            trial = copy.copy(trial)
            trial.params, trial.distributions, trial.user_attrs = dict(trial.params), dict(trial.distributions), dict(trial.user_attrs)
        return trial

    def _apply_create_trial(self, log: dict[str, Any]) -> None:
        before = len(self._trials)
        super()._apply_create_trial(log)
        if len(self._trials) > before:
            trial = self._trials[before]
            self._place(trial)
            for name, distribution in trial.distributions.items():
                self._first.setdefault((log["study_id"], name), distribution)

    def _apply_set_trial_param(self, log: dict[str, Any]) -> None:
        trial = self._changing(log)
        if trial is None:
            return
        name, text = log["param_name"], log["distribution"]
        distribution = self._distributions.get(text) or self._distributions.setdefault(text, json_to_distribution(text))
        first = self._first.setdefault((self._trial_id_to_study_id[trial._trial_id], name), distribution)
        if first is not distribution:
            try:
                check_distribution_compatibility(first, distribution)
            except ValueError:
                if self._is_issued_by_this_worker(log):
                    raise
                return
        trial.params[name] = distribution.to_external_repr(log["param_value_internal"])
        trial.distributions[name] = distribution
        if self.seen:
            self._place(trial)

    def _apply_set_trial_user_attr(self, log: dict[str, Any]) -> None:
        if (trial := self._changing(log)) is not None:
            trial.user_attrs.update(log["user_attr"])
            if self.seen:
                self._place(trial)

    def _apply_set_trial_state_values(self, log: dict[str, Any]) -> None:
        super()._apply_set_trial_state_values(log)
        self._place_again(log)

    def _apply_set_trial_system_attr(self, log: dict[str, Any]) -> None:
        super()._apply_set_trial_system_attr(log)
        self._place_again(log)

    def _apply_set_trial_intermediate_value(self, log: dict[str, Any]) -> None:
        super()._apply_set_trial_intermediate_value(log)
        self._place_again(log)

    def _place_again(self, log: dict[str, Any]) -> None:
        if log["trial_id"] in self._trials:
            self._place(self._trials[log["trial_id"]])


def mend(path: Path) -> None:
    """Cut off a last line that a kill left half written."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 2**16)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            end = start + found + 1 if found >= 0 else start
            if found >= 0:
                break
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())
