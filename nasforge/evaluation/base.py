"""The contract of an evaluator: from a job (an architecture and how to judge it) to a result.

Jobs, reports and results are plain data, so any runner can carry them. Nothing here knows of studies.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from nasforge.data import Dataset, Source
from nasforge.errors import OtherData, UserError, is_disk_full, is_out_of_memory
from nasforge.objectives.metrics import Metric
from nasforge.objectives.objective import Objective
from nasforge.spaces.arch import Arch
from nasforge.spaces.domains import Scalar
from nasforge.strategies.schedulers import Decision
from nasforge.tasks import Task, load_data
from nasforge.train import Stop

__all__ = ["Context", "Decision", "Evaluator", "Job", "OnReport", "Report", "Result", "Stop", "failures_in"]


@dataclass(frozen=True)
class Context:
    """What all jobs of a run have in common; each worker gets it once.

    Attributes:
        evaluator: its name.
        source: of the data.
        device: where to train.
        table: file, column selected and column reported, where the evaluator is a table.
        dataset: the data themselves, where they came with the worker; else the worker loads its own.
        plugins: that a worker loads first: (name, file, its text), or (name, module, None) of an installed one.
        data_key: of the data of the run; None where any will do.
    """

    evaluator: str = "train"
    source: Source = field(default_factory=Source)
    device: str = "cpu"
    table: tuple[str, str, str] | None = None
    dataset: Dataset | None = field(default=None, compare=False)
    plugins: tuple[tuple[str, str, str | None], ...] = ()
    data_key: str | None = None

    def load(self) -> Dataset:
        """Return the data set, loaded once a process. Raise OtherData where it is not that of the run."""
        data = self.dataset if self.dataset is not None else load_data(self.source)
        check_key(self.source, data, self.data_key)
        return data

    def with_data(self, dataset: Dataset) -> Context:
        """Return the context with the data in it."""
        return replace(self, dataset=dataset)


def check_key(source: Source, data: Dataset, key: str | None) -> None:
    """Raise OtherData where data are not those of a key, which hashes content and split."""
    if key is not None and data.key != key:
        why = "it returns other data at each call: seed it" if source.allow_code and ":" in source.spec else "they changed: restore them"
        raise OtherData(
            f"data: {source.spec} must stay the same while a search runs, its key was {key}, is {data.key} here; "
            f"{why}, or start anew with another --run"
        )


@dataclass(frozen=True)
class Job:
    """One network to evaluate.

    Attributes:
        seed: of the training.
        full: the long recipe of finalists instead of the short one of the search.
        test: whether to score on the test part at the end, where the data have one.
        recipe: what differs from the default recipe, and from that of the architecture.
        usual: words of the default recipe as the run began with it, where they have become others since.
        latency: whether to measure it, before training.
        runtime: that runs the network when its latency is measured.
        latency_limit_ms: a network measured slower is not trained.
        weights, checkpoint: files to write the weights to, and to resume a training from.
        parent: file with the weights of a relative to begin with.
        inherit: how: `copy` what fits, `grow` to compute what it does where that can be, `shrink` what was copied towards its beginning.
        choices: that gave the architecture in its space, where a table is looked up.
    """

    arch: Arch
    seed: int = 0
    full: bool = False
    test: bool = False
    recipe: Mapping[str, Any] = field(default_factory=dict)
    usual: Mapping[str, Any] = field(default_factory=dict)
    latency: bool = False
    runtime: str = "eager"
    latency_limit_ms: float | None = None
    weights: str | None = None
    checkpoint: str | None = None
    parent: str | None = None
    inherit: str = "copy"
    choices: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What is known after an epoch: its row of the learning curve."""

    epoch: int
    row: Mapping[str, float]


@dataclass
class Result:
    """What came of a job.

    Attributes:
        metrics: on val, and what was measured.
        test: metrics on test, where they were asked for.
        curve: one row an epoch.
        seconds: where the time went.
        stopped: why it ended before its last epoch.
        error: in words, None where all went well.
        answers: of `val` and `test`, what the network answered for each class, by target, where there are classes; see `Task.answers`.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    stopped: Stop | None = None
    error: str | None = None
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return what is a finite number."""
    return {k: v for k, v in values.items() if (math.isfinite(v) if type(v) is float else is_number(v))}


def unfit(values: Mapping[str, Any], objectives: Iterable[Objective]) -> str | None:
    """Return why objectives have no value for these metrics, in words; None where all have."""
    for objective in objectives:
        for name in sorted(objective.reads):
            if not is_number(values.get(name)):
                return f"{name} must be a finite number, got {values.get(name, 'none')!r:.40} from the evaluator; lower lr, or mend it"
        if not is_number(objective.value(values)):
            return f"{objective.metric} must be a finite number, got one that is none or too large; choose a target near the costs"
    return None


OnReport = Callable[[Report], Decision]


class Evaluator(Protocol):
    """What judges networks. One is made for each worker, prepared once, and then asked for one job after the other."""

    def metrics(self, task: Task) -> tuple[Metric, ...]:
        """Return the metrics that it finds out, besides costs and latency."""
        ...

    def prepare(self, context: Context) -> None:
        """Load what all jobs need: data, a table."""
        ...

    def evaluate(self, job: Job, on_report: OnReport) -> Result:
        """Return the result of a job; `on_report` is asked after each epoch how to go on. Mistakes and failures are results too."""
        ...


@contextlib.contextmanager
def failures_in(result: Result) -> Iterator[None]:
    """Write what goes wrong inside into the result."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError, MemoryError, OSError) as error:
        if isinstance(error, EOFError | BrokenPipeError | ConnectionError):  # the driver is gone
            raise
        note(result, error)


def note(result: Result, error: Exception) -> None:
    """Write an error into a result, and its kind where it is one that a search reacts to."""
    text = str(error).splitlines()[0] if str(error) else repr(error)
    result.error = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
    cause = error.__cause__ if isinstance(error, UserError) and error.__cause__ is not None else error
    if is_out_of_memory(cause):
        result.stopped = Stop.OUT_OF_MEMORY
    elif is_disk_full(cause):
        result.stopped = Stop.DISK_FULL
    elif isinstance(error, OtherData):
        result.stopped = Stop.OTHER_DATA
