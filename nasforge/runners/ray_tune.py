"""Ray Tune as a runner: a `tune.Tuner` places the trials of a driver on a cluster, and its schedulers may stop and pause them.

The study stays the truth. A searcher asks the driver for each job and tells it at once what came of it, so a search that is killed loses
no more than with any other runner, and is begun again from the study, never from Tune's own files: these hold pickles, which run code when
they are read, are written anew by each session and are never read here.

A driver that is asked for jobs, trained and told by Tune: trials whose worker died are its affair (`max_failures` is 0), and so are
repeats. What a scheduler of Tune stops ends as any other training that is stopped early, with its weights and metrics.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Decision, Job, Report, Result, Stop, numbers
from nasforge.objectives.objective import told
from nasforge.runners.base import Driver
from nasforge.runners.failures import hung
from nasforge.runners.local import SILENCE_S
from nasforge.runners.ray_cluster import connect, import_ray
from nasforge.runners.ray_worker import portable, taken
from nasforge.runners.tune_training import FACTORS, Desk, Training

ray = import_ray("tune")
from ray import tune  # noqa: E402  after its switches are set
from ray.tune import schedulers  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

SWITCHES = {  # of Tune, while it works for a search
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths of a run stay as they are
    "RAY_AIR_NEW_OUTPUT": "0",  # its tables beside ours
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the search has its own answer, which writes down what was interrupted
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # rows go into the study
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # the driver judges them
}
LOSS = "loss_to_compare"  # of an epoch, for schedulers: smaller is better
START_TIMEOUT_S = 600.0  # an autoscaling cluster may need minutes for its first node
MOST_FACTOR = 4.0  # by which population-based training may begin to change a word of a recipe
T = TypeVar("T")

# by the names of `--scheduler tune:NAME`; each takes the most epochs of a training
OF_TUNE: dict[str, Callable[[int], Any]] = {
    "asha": lambda epochs: schedulers.ASHAScheduler(time_attr="epoch", max_t=epochs, grace_period=1, reduction_factor=3),
    "hyperband": lambda epochs: schedulers.HyperBandScheduler(time_attr="epoch", max_t=epochs),
    "bohb": lambda epochs: schedulers.HyperBandForBOHB(time_attr="epoch", max_t=epochs),
    "median": lambda epochs: schedulers.MedianStoppingRule(time_attr="epoch", grace_period=1, min_samples_required=3),
    "pbt": lambda epochs: schedulers.PopulationBasedTraining(
        time_attr="epoch", perturbation_interval=max(1, epochs // 5),
        hyperparam_mutations={name: tune.loguniform(1 / MOST_FACTOR, MOST_FACTOR) for name in FACTORS},
    ),
}  # fmt: skip


@dataclass
class _Open:
    """A trial of Tune that has not ended."""

    number: int
    job: Job
    paused: bool = False
    silent: bool = False
    last: Report | None = None
    trial: Any = None  # of Tune
    factors: dict[int, dict[str, float]] = field(default_factory=dict)  # on words of its recipe, by epoch
    heard: float = field(default_factory=time.monotonic)


class TuneRunner:
    """At most `workers` trials at once, with `threads` CPUs (and `gpus` GPUs) each.

    Args:
        address: as for `RayRunner`.
        scheduler: one of `OF_TUNE`; None leaves what is stopped to the driver alone.
        epochs: the most that a training of the search has.
        folder: where Tune keeps its files while it works.

    Raises:
        UserError: Ray Tune is not installed, or the cluster cannot be reached.
    """

    def __init__(
        self, context: Context, address: str = "local", workers: int = 1, threads: int | None = None, gpus: float = 0.0,
        silence_s: float = SILENCE_S, scheduler: str | None = None, epochs: int = 1, folder: Path | None = None,
    ) -> None:  # fmt: skip
        if workers < 1:
            raise UserError(f"--workers: must be at least 1, got {workers}")
        self.context, self.workers, self.threads, self.gpus = replace(context, dataset=None), workers, threads or 1, gpus
        self.silence_s, self.scheduler, self.epochs, self.folder = silence_s, scheduler, epochs, (folder or Path("tune")).resolve()
        self._owner = not ray.is_initialized()
        if self._owner:
            connect(ray, address, workers * self.threads)
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        self._data = context.load()

    def run(self, driver: Driver) -> None:
        waiting = driver.next_job()
        while waiting is not None:  # more than once where a trial is asked again after Tune was told that there are no more
            self._tune(driver, waiting)
            waiting = driver.next_job()

    def _tune(self, driver: Driver, first: tuple[int, Job]) -> None:
        desk = ray.remote(num_cpus=0, max_concurrency=1000)(Desk).remote()
        asks = self.asks = Asks(driver, desk, first, self.workers, self._judges(driver), self.silence_s)
        judge = Judge(asks, OF_TUNE[self.scheduler](self.epochs) if self.scheduler and self._judges(driver) else None)
        trainable = tune.with_parameters(Training, context=self.context, data=self._data, threads=self.threads, desk=desk)
        watch, gpus = Watch(asks, f"{self.threads} CPUs and {self.gpus:g} GPUs"), {"GPU": self.gpus} if self.gpus else {}
        tuner = tune.Tuner(
            tune.with_resources(trainable, tune.PlacementGroupFactory([{"CPU": float(self.threads), **gpus}])),
            tune_config=tune.TuneConfig(
                search_alg=asks, scheduler=judge, num_samples=-1, max_concurrent_trials=None, reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="trials", storage_path=str(self.folder), verbose=0, callbacks=[watch],
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )  # fmt: skip
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            with warnings.catch_warnings(), _switched():
                warnings.simplefilter("ignore")
                tuner.fit()
        finally:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(desk)
            shutil.rmtree(self.folder, ignore_errors=True)
        if asks.error is not None:
            raise asks.error

    def _judges(self, driver: Driver) -> bool:
        """Whether a scheduler of Tune decides for this driver: it can compare epochs, which finals do not."""
        return self.scheduler is not None and hasattr(driver, "loss")

    def close(self) -> None:
        """End the cluster, if it was started here, and what runs on it."""
        if self._owner:
            ray.shutdown()


@contextlib.contextmanager
def _switched() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in SWITCHES}
    os.environ.update(SWITCHES)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Unkept:
    """Of which Tune keeps nothing in its files: the study is the truth."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Asks(_Unkept, Searcher):  # type: ignore[misc]
    """Tune's searcher: asks the driver for jobs, tells it how they ended. final: whether "none now" of the driver means none any more."""

    def __init__(self, driver: Driver, desk: Any, first: tuple[int, Job], workers: int, final: bool, silence_s: float) -> None:
        super().__init__(metric=LOSS, mode="min")
        self.driver, self.desk, self.first, self.workers, self.final, self.silence_s = driver, desk, first, workers, final, silence_s
        self.open: dict[str, _Open] = {}
        self.error: Exception | None = None

    def guarded(self, work: Callable[[], T], otherwise: T) -> T:
        """What the driver says; after a mistake nothing more is asked of it, and the mistake ends the run."""
        if self.error is not None:
            return otherwise
        try:
            return work()
        except Exception as error:
            self.error = error
            return otherwise

    def suggest(self, trial_id: str) -> Any:
        if self.error is not None:
            return Searcher.FINISHED
        if sum(not one.paused for one in self.open.values()) >= self.workers:
            return None
        found, self.first = self.first or self.guarded(self.driver.next_job, None), None  # type: ignore[assignment]
        if found is None:
            return Searcher.FINISHED if self.final or not self.open or self.error else None
        number, job = found
        self.open[trial_id] = _Open(number, job)
        self.desk.put.remote(trial_id, portable(job))
        return {"trial": number}

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        return True

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return True

    def on_trial_result(self, trial_id: str, result: Any) -> None:
        pass

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        one = self.open.pop(trial_id, None)
        if one is None:
            return
        event = ray.get(self.desk.take.remote(trial_id))
        if event is not None:
            for row in event[0].curve:
                row |= one.factors.get(int(row.get("epoch", 0)), {})
            self.guarded(lambda: self.driver.on_end(one.number, taken(one.number, one.job, event)), None)
        elif error:
            why = one.trial.error_file and _last_line(Path(one.trial.error_file))
            lost = Result(error=f"the Ray worker was lost: {why or 'no reason is known'}", stopped=Stop.LOST)
            lost = hung(self.silence_s) if one.silent else lost
            self.guarded(lambda: self.driver.on_end(one.number, lost), None)
        else:  # it was paused, and a scheduler will never take it up again
            known = numbers(told(one.last.row)) if one.last else {}
            self.guarded(lambda: self.driver.on_end(one.number, Result(metrics=known, stopped=Stop.PRUNED)), None)

    def on_pause(self, trial_id: str) -> None:
        self.open[trial_id].paused = True

    def on_unpause(self, trial_id: str) -> None:
        self.open[trial_id].paused = False

    def save(self, checkpoint_path: str) -> None:
        pass  # the study is what is kept

    def restore(self, checkpoint_path: str) -> None:
        raise UserError("the run goes on from its study: give the command of `nasforge search` again")


class Judge(_Unkept, schedulers.TrialScheduler):  # type: ignore[misc]
    """Tune's scheduler: the driver judges each epoch first, then one of Tune's own, `inner`, where there is one.

    A training that either stops is told so through the desk, and ends by itself in its next step, with all that belongs to a result.
    """

    def __init__(self, asks: Asks, inner: Any) -> None:
        super().__init__()
        self.asks, self.inner = asks, inner or schedulers.FIFOScheduler()
        self.compares = inner is not None
        self._supports_buffered_results = False
        if inner is not None:
            inner.set_search_properties(LOSS, "min")

    def set_search_properties(self, metric: Any, mode: Any, **spec: Any) -> bool:
        return True

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        one, report = self.asks.open[trial.trial_id], cast("Report | None", result.get("report"))
        one.heard = time.monotonic()
        if report is None:
            return self.CONTINUE
        one.last = report
        one.factors[report.epoch] = {name: value for name, value in report.row.items() if name.endswith("_factor")}
        decision = self.asks.guarded(lambda: self.asks.driver.on_report(one.number, report), Decision.STOP)
        driver: Any = self.asks.driver
        if decision is Decision.CONTINUE and self.compares and report.epoch < driver.last_epoch(one.number):
            loss = self.asks.guarded(lambda: driver.loss(one.number, report), 0.0)
            said: str = self.inner.on_trial_result(tune_controller, trial, {**result, LOSS: loss})
            if said in (self.PAUSE, self.NOOP):  # for now: it goes on when `choose_trial_to_run` says so
                one.paused = True
                self.asks.desk.decide.remote(trial.trial_id, report.epoch, None)
                return said
            decision = Decision.STOP if said == self.STOP else Decision.CONTINUE
        self.asks.desk.decide.remote(trial.trial_id, report.epoch, decision)
        return self.CONTINUE

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        # PBT refuses searchers, which might change what it copies; ours gives it nothing but a number
        self.inner.on_trial_add(SimpleNamespace(search_alg=None), trial)  # type: ignore[arg-type]
        self.asks.open[trial.trial_id].trial = trial

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self.inner.on_trial_error(tune_controller, trial)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        one = self.asks.open.get(trial.trial_id)
        row: dict[str, float] = {}
        if self.compares and one is not None and one.last is not None:
            driver, last = cast(Any, self.asks.driver), one.last
            row = {"epoch": last.epoch, LOSS: self.asks.guarded(lambda: driver.loss(one.number, last), 0.0)}
        self.inner.on_trial_complete(tune_controller, trial, {**result, **row})

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self.inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        found = self.inner.choose_trial_to_run(tune_controller)
        if found is not None and found.trial_id in self.asks.open:
            one = self.asks.open[found.trial_id]
            one.paused, one.heard = False, time.monotonic()
        return found

    def debug_string(self) -> str:
        return self.inner.debug_string()


class Watch(_Unkept, tune.Callback):  # type: ignore[misc]
    """Keeps rows small, ends workers that are silent for too long, and the run where none can be placed. needs: what each needs."""

    def __init__(self, asks: Asks, needs: str) -> None:
        self.asks, self.needs, self.placed = asks, needs, time.monotonic()

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        report = result.pop("report", None)
        if report is not None:
            result |= numbers(report.row)

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        now, running = time.monotonic(), [one for one in self.asks.open.values() if one.trial and one.trial.status == "RUNNING"]
        self.placed = now if running or not self.asks.open else self.placed
        if now - self.placed > START_TIMEOUT_S:
            have = {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU")}
            raise UserError(f"--runner tune: no worker could be placed for {now - self.placed:.0f} s; each needs {self.needs}, the cluster "
                            f"has {have}; lower --threads or free the cluster")  # fmt: skip
        for one in running:
            actor = one.trial.temporary_state.ray_actor
            if actor and not one.silent and now - one.heard > self.asks.silence_s:
                one.silent = True
                ray.kill(actor)


def _last_line(file: Path) -> str:
    """The last line of a traceback that Tune has written down."""
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.exists() else []
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
