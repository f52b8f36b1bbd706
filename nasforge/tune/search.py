"""A strategy of ours as the searcher of a Tuner: the study is the truth, Tune carries its trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasforge.api.search import planned
from nasforge.errors import UserError
from nasforge.evaluation.base import Job, Report, Result, Stop, numbers
from nasforge.networks.build import key
from nasforge.objectives.objective import told
from nasforge.runners.ray_cluster import import_ray
from nasforge.search.session import taken_up
from nasforge.search.study import quiet, waiting
from nasforge.tune.answers import keep_answer
from nasforge.tune.spaces import SpaceLike

ray = import_ray("tune")
from ray.tune.search import Searcher  # noqa: E402  after its switches are set

HOW = ("seed", "latency", "runtime", "latency_limit_ms")  # of a job, besides its network and recipe


@dataclass
class _Open:
    number: int
    job: Job
    rows: list[dict[str, float]] = field(default_factory=list)


class NasforgeSearch(Searcher):  # type: ignore[misc]
    """A strategy of nasforge as the `search_alg` of a Tuner.

    Args:
        space, data, options: as for `nasforge.search`: `objective`, `constraint`, `strategy`, `trials`, `seed`, `epochs`, ...
        run: folder with the study, which all workers see; one that exists is gone on with.

    What computes the same as an earlier network, or breaks a limit on paper, never becomes a trial of Tune. Set `max_concurrent_trials`:
    without it Tune runs one trial of a custom searcher at a time.

    Raises:
        UserError: the search cannot be carried out.
    """

    def __init__(self, space: SpaceLike | None = None, data: Any = None, *, run: str | Path = "runs/tune", **options: Any) -> None:
        super().__init__()
        self.arguments, self.folder = (space, data, options), Path(run).resolve()
        quiet()
        self.plan, _, _ = planned(space, data, {"scheduler": "none", **options}, lambda note: None)
        self._clear()

    def _clear(self) -> None:
        self._driver: Any = None
        self._close: Any = None
        self.open: dict[str, _Open] = {}
        self.ready: list[tuple[int, Job]] = []  # jobs that were taken up again, for whoever asks

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self.arguments, "folder": self.folder, "_metric": self._metric, "_mode": self._mode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        space, data, options = state["arguments"]
        self.__init__(space, data, run=state["folder"], **options)  # type: ignore[misc]
        self._metric, self._mode = state["_metric"], state["_mode"]

    @property
    def driver(self) -> Any:
        """The trials of the study, opened when they are needed first."""
        if self._driver is None:
            self._driver, self._close = taken_up(self.plan, self.folder)
        return self._driver

    def close(self) -> None:
        """Let others write to the run."""
        if self._close is not None:
            self._close()
            self._clear()

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        self._metric, self._mode = metric or self._metric, mode or self._mode
        if any(hasattr(value, "sample") for value in config.values()):
            raise UserError(f"param_space: the space of {type(self).__name__} is searched, got others: {', '.join(config)}; leave them out")
        return True

    def suggest(self, trial_id: str) -> Any:
        found = self.ready.pop(0) if self.ready else self.driver.next_job()
        if found is None:
            if not self.open:
                self.close()
            return None if self.open else Searcher.FINISHED
        number, job = found
        self.open[trial_id] = _Open(number, job)
        how = {name: getattr(job, name) for name in HOW if getattr(job, name) != getattr(Job({}), name)}
        known = {"trial": number, "key": key(job.arch), "run": str(self.folder)}
        return {**known, "choices": dict(job.choices), "recipe": dict(job.recipe), "how": how}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        one = self.open.get(trial_id)
        if one is not None and (row := _row(result)) and int(result["epoch"]) > len(one.rows):
            one.rows.append(row)
            self.driver.on_report(one.number, Report(int(result["epoch"]), row))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result:
            self.on_trial_result(trial_id, result)  # a scheduler that stops a trial leaves out its last row
        one = self.open.pop(trial_id, None)
        if one is None:
            return
        last = result or {}
        metrics = {name.removeprefix("metrics/"): value for name, value in last.items() if name.startswith("metrics/")}
        stopped = Stop(last["stopped"]) if last.get("stopped") else None
        seconds = {"training": float(last.get("seconds_training", 0.0))}
        ended = Result(metrics=numbers(metrics), curve=one.rows, seconds=seconds, stopped=stopped)
        if error:
            ended.error = "the trial failed in Ray Tune; its folder there tells why"
        elif not metrics:  # it was stopped, or paused and never taken up again
            ended.metrics, ended.stopped = told(one.rows[-1]) if one.rows else {}, Stop.PRUNED
        if not error:
            keep_answer(self.folder, key(one.job.arch), one.rows, ended.metrics, ended.stopped)
        self.driver.on_end(one.number, ended)

    def save(self, checkpoint_path: str) -> None:
        """Write which trial of Tune is which of the study; all else is in the study."""
        Path(checkpoint_path).write_text(json.dumps({name: key(one.job.arch) for name, one in self.open.items()}), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Take up the study; trials of Tune that had not ended get the networks that they had."""
        mine = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        while waiting(self.driver.ledger.study):  # they are asked again before any others
            found = self.driver.next_job()
            if found is None:
                break
            owner = next((name for name, its in mine.items() if its == key(found[1].arch) and name not in self.open), None)
            if owner is None:
                self.ready.append(found)
            else:
                self.open[owner] = _Open(*found)


def _row(result: Mapping[str, Any]) -> dict[str, float]:
    return numbers({name.removeprefix("row/"): value for name, value in result.items() if name.startswith("row/")})
