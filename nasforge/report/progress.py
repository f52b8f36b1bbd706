"""The live display of a search: rich on a terminal, one line that changes in a notebook, plain lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from nasforge.report.format import clock, many, score, value, word
from nasforge.search.plan import Plan
from nasforge.search.progress import Ended, Running, Status, steps_of

PLAIN_EVERY_S = 10.0  # between two lines of a log, at first
LATER_EVERY_S = 60.0  # and once a search has gone on for
LATER_S = 180.0
MOST_SHOWN = 8  # running trainings in a panel
Show = Callable[[Status], None]


@contextmanager
def progress(quiet: bool = False, verbose: bool = False) -> Iterator[Show]:
    """Give a function that shows a status, for as long as the context lasts. verbose: also a line for each training that ends."""
    if quiet:
        yield lambda status: None
    elif sys.stderr.isatty():
        panel = _Panel()
        console = Console(stderr=True)
        with Live(get_renderable=panel.drawn, console=console, refresh_per_second=4) as live:

            def show(status: Status) -> None:
                if verbose and status.ended is not None:
                    live.console.print(ended_line(status.ended), markup=False, highlight=False)
                panel.status = status

            yield show
    elif _in_notebook():
        yield _notebook()
    else:
        yield _plain(verbose)


def intended(plan: Plan, workers: int, folder: object) -> str:
    """Return what a search is going to do, step by step, in a sentence. folder: of the run; where one stands there, it is continued."""
    there = "a search stands there, and what is done is kept: " if (Path(str(folder)) / "manifest.json").is_file() else ""
    epochs = plan.recipe.get("epochs")
    long = f" of up to {many(int(epochs), 'epoch')}" if isinstance(epochs, int) else ""
    trials = many(plan.trials, "trial") if plan.minutes is None else f"{plan.minutes:g} minutes in all: trials"
    steps = {
        "search": f"{trials}{long} by {plan.strategy}", "control": f"{'as many' if plan.minutes is None else 'others'} at random",
        "finals": f"the best {many(plan.finalists, 'network')}"
        + (f" of each and {many(len(plan.baselines), 'baseline')}" if plan.controlled else f" and {many(len(plan.baselines), 'baseline')}")
        * bool(plan.baselines)
        + f" trained to the end with {many(plan.final_seeds, 'seed')}",
    }  # fmt: skip
    told = "; ".join(f"{i}. {steps[name]}" for i, name in enumerate(steps_of(plan), 1))
    return f"{folder}: {there}{told}. {many(workers, 'worker')}; the time that it takes is told after the first epoch"


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def _notebook() -> Show:
    """Show the latest line in the output of a cell, in place of the one before."""
    from IPython.display import display

    shown = display({"text/plain": "the search begins"}, raw=True, display_id=True)
    return lambda status: shown.update({"text/plain": line(status)}, raw=True)


# ---------------------------------------------------------------- lines


def line(status: Status) -> str:
    """Return one line of text."""
    parts = [f"{status.phase} {_done(status)}"]
    if status.best:
        parts.append(f"best {_best(status)}, front {status.front}")
    if status.phase != "finals":
        parts.append(_counts(status))
    if status.running and not status.last:
        more = f" and {len(status.running) - 2} more" if len(status.running) > 2 else ""
        parts.append("; ".join(map(running_words, status.running[:2])) + more)
    if status.seconds_left is not None and not status.last:
        parts.append(f"about {_clock(status.seconds_left)} left")
    return "; ".join(part for part in parts if part)


def _done(status: Status) -> str:
    """How far a phase is: trainings of all, or the time that is gone of what the search may take."""
    if status.time is None:
        return f"{status.done}/{status.total}"
    done = f"{status.done}/{status.total}" if status.phase == "finals" else many(status.done, "trial")
    return f"{done}, {_clock(status.time[0])} of {_clock(status.time[1])}"


def running_words(one: Running) -> str:
    """Return a training that goes on in words: 'trial 7 at epoch 3 of 8, 91.2 % accuracy'."""
    known = "".join(f", {score(name, number)}" for name, number in one.score.items())
    return f"{one.name} at epoch {one.epoch} of {one.epochs}{known}"


def ended_line(one: Ended) -> str:
    """Return how a training ended, in a line."""
    parts = [f"{one.name} {one.kind}"]
    parts += [f"{word(name)} {value(name, number)}" for name, number in one.metrics.items()]
    parts += [many(one.epochs, "epoch")] * bool(one.epochs) + [clock(one.seconds)] * bool(one.seconds) + [one.message] * bool(one.message)
    return f"{parts[0]}: {', '.join(parts[1:])}" if len(parts) > 1 else parts[0]


def _counts(status: Status) -> str:
    """Trials of each kind, those that there are."""
    told = {"stopped early": status.pruned, "failed": status.failed, "duplicate": status.duplicates, "over a limit": status.infeasible}
    return ", ".join(f"{count} {words}" for words, count in told.items() if count)


def _best(status: Status) -> str:
    return ", ".join(f"{word(name)} {value(name, number)}" for name, number in status.best.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _plain(verbose: bool) -> Show:
    """Lines for a log: one at the end of each phase, at its first sign of how long it takes, and every 10 seconds, later every minute."""
    began, shown = time.monotonic(), [-LATER_EVERY_S]
    told: set[str] = set()  # phases of which it was said how long they take

    def show(status: Status) -> None:
        now = time.monotonic()
        if verbose and status.ended is not None:
            print(ended_line(status.ended), file=sys.stderr, flush=True)
        first = status.seconds_left is not None and status.phase not in told
        if status.last or first or now - shown[0] >= (PLAIN_EVERY_S if now - began < LATER_S else LATER_EVERY_S):
            shown[0] = now
            if status.seconds_left is not None:
                told.add(status.phase)
            print(line(status), file=sys.stderr, flush=True)

    return show


# ---------------------------------------------------------------- a panel


class _Panel:
    """What a terminal shows of the latest status; the time that has gone by counts on between two of them."""

    def __init__(self) -> None:
        self.status: Status | None = None
        self.began = time.monotonic()
        self.told = (0.0, 0.0)  # when the time left was worked out, and what it was

    def drawn(self) -> Table:
        """Return the panel as it is now."""
        table, status, gone = Table.grid(padding=(0, 1)), self.status, _clock(time.monotonic() - self.began)
        if status is None:
            table.add_row("workers start", gone)
            return table
        step = f"step {status.steps.index(status.phase) + 1} of {len(status.steps)}" if status.phase in status.steps else ""
        bar = ProgressBar(total=1.0, completed=status.share, width=30)
        table.add_row(f"[bold]{status.phase}[/]", bar, f"{_done(status)}  {step}")
        table.add_row("time", f"{gone}{self._left(status)}", "")
        if status.best:
            table.add_row("best", _best(status), f"front {status.front}")
        if status.phase != "finals" and (counts := _counts(status)):
            table.add_row("", counts, "")
        for one in status.running[:MOST_SHOWN]:
            known = ", ".join(score(name, number) for name, number in one.score.items())
            table.add_row(escape(one.name), _share(one), f"epoch {one.epoch}/{one.epochs}  {known}")
        if len(status.running) > MOST_SHOWN:
            table.add_row("", f"and {len(status.running) - MOST_SHOWN} more", "")
        return table

    def _left(self, status: Status) -> str:
        if status.seconds_left is None or status.last:
            return ""
        if self.told[1] != status.seconds_left:
            self.told = (time.monotonic(), status.seconds_left)
        return f", about {_clock(max(0.0, status.seconds_left - (time.monotonic() - self.told[0])))} left of this step"


def _share(one: Running) -> Any:
    return ProgressBar(total=1.0, completed=one.share, width=30)
