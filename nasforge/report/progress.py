"""The live display of a search: rich on a terminal, one line that changes in a notebook, plain lines elsewhere, nothing with --json."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from nasforge.report.format import value, word
from nasforge.search.progress import Status

PLAIN_EVERY_S = 10.0


@contextmanager
def progress(quiet: bool = False) -> Iterator[Callable[[Status], None]]:
    """Give a function that shows a status, for as long as the context lasts."""
    if quiet:
        yield lambda status: None
    elif sys.stderr.isatty():
        with Live(console=Console(stderr=True), refresh_per_second=4) as live:
            yield lambda status: live.update(_panel(status))
    elif _in_notebook():
        yield _notebook()
    else:
        yield _plain()


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def _notebook() -> Callable[[Status], None]:
    """Show the latest line in the output of a cell, in place of the one before."""
    from IPython.display import display

    shown = display({"text/plain": "the search begins"}, raw=True, display_id=True)
    return lambda status: shown.update({"text/plain": line(status)}, raw=True)


def line(status: Status) -> str:
    """Return one line of text."""
    parts = [f"{status.phase} {status.done}/{status.total}"]
    if status.best:
        parts.append(f"best {_best(status)}, front {status.front}")
    if status.phase != "finals":
        parts.append(f"pruned {status.pruned}, failed {status.failed}, duplicate {status.duplicates}, infeasible {status.infeasible}")
    if status.seconds_left is not None and not status.last:
        parts.append(f"{_clock(status.seconds_left)} left")
    return "; ".join(parts)


def _best(status: Status) -> str:
    return ", ".join(f"{word(name)} {value(name, number)}" for name, number in status.best.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _plain() -> Callable[[Status], None]:
    shown = [0.0]

    def show(status: Status) -> None:
        now = time.monotonic()
        if status.last or now - shown[0] >= PLAIN_EVERY_S:
            shown[0] = now
            print(line(status), file=sys.stderr, flush=True)

    return show


def _panel(status: Status) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_row(
        f"[bold]{status.phase}[/]",
        ProgressBar(total=max(1, status.total), completed=status.done, width=30),
        f"{status.done}/{status.total}",
    )
    if status.best:
        table.add_row("best", _best(status), f"front {status.front}")
    if status.phase != "finals":
        table.add_row(
            "", f"pruned {status.pruned}  failed {status.failed}  duplicate {status.duplicates}  infeasible {status.infeasible}", ""
        )
    if status.seconds_left is not None and not status.last:
        table.add_row("left", _clock(status.seconds_left), "")
    return table
