"""How far a training is: one line that changes on a terminal, lines now and then elsewhere, nothing where nothing is to be shown."""

from __future__ import annotations

import pytest

from nasforge.report import training
from nasforge.report.training import Progress, clock


class Clock:
    """A clock that a test turns."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(training, "time", made)
    return made


def run(progress: Progress, turned: Clock, epochs: int = 2, seconds: float = 100.0, steps: int = 200) -> None:
    """Epochs of 1000 samples at an even pace, and validations of a tenth of their time."""
    for epoch in range(1, epochs + 1):
        for phase, span in (("training", seconds), ("validation", seconds / 10)):
            for i in range(steps + 1):
                progress.step(epoch, phase, 1000 * i // steps, 1000)
                turned.now += span / steps
        progress.say(f"epoch {epoch} done")


def test_in_a_log_a_line_now_and_then(turned: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(unit="images")
    progress.epochs = 2
    run(progress, turned)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "epoch 1/2  training 5%  10 images/s  3:15 left", "after 5 s"
    assert lines[1].startswith("epoch 1/2  training 15%") and lines[2].startswith("epoch 1/2  training 35%"), "then after 10 and 20 s"
    assert len(lines) == 7 and lines[4] == "epoch 1 done" and lines[-1] == "epoch 2 done"
    assert not any("\r" in line for line in lines)


def test_the_time_that_is_left_counts_validations_once_an_epoch_has_been(turned: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(verbose=True)
    progress.epochs = 3
    run(progress, turned, epochs=2)
    lines = capsys.readouterr().err.splitlines()
    half = next(line for line in lines if line.startswith("epoch 2/3  training 50%"))
    assert half.endswith("10 samples/s  2:41 left"), "50 s, and an epoch of 110.5 s with its validation"
    assert len(lines) > 150, "a line every second"


def test_with_minutes_the_clock_says_what_is_left(turned: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(verbose=True)
    progress.epochs, progress.minutes = 200, 2.0
    run(progress, turned, epochs=1)
    line = next(line for line in capsys.readouterr().err.splitlines() if "training 50%" in line)
    assert line == "epoch 1  training 50%  10 samples/s  1:10 left"


def test_on_a_terminal_one_line_changes(turned: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress = Progress()
    progress.epochs = 1
    with progress.during("reading the data"):
        turned.now += 1
    turned.now += 1
    run(progress, turned, epochs=1, seconds=2.0)
    said = capsys.readouterr().err
    assert said.startswith("\rreading the data\x1b[K\r\x1b[K\repoch 1/1  training 0%\x1b[K\repoch 1/1  training ")
    assert said.count("\n") == 1 and said.endswith("\r\x1b[Kepoch 1 done\n") and 8 <= said.count("\repoch 1/1") <= 12


def test_nothing_is_shown_where_nothing_is_to_be(turned: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(show=False, verbose=True)
    with progress.during("reading the data"):
        run(progress, turned)
    assert capsys.readouterr() == ("", "")


def test_clock() -> None:
    assert [clock(s) for s in (0, 61, 3599.6, 7325)] == ["0:00", "1:01", "1:00:00", "2:02:05"]
