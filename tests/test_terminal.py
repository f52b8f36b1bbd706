"""Tables fit the terminal, and nothing of them is lost; into a pipe they are as wide as they need."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from nasforge.terminal import aligned

HEAD = ("name", "family", "params", "bytes of weights", "source")
ROWS = [
    ("active_shift_net_w50", "residual", "1,962,950", "7.85 MB", "Jeon & Kim 2018, section 4.3 and the released AS-ResNet"),
    ("vgg", "serial", "138,357,544", "553 MB", "Simonyan & Zisserman 2015, table 1"),
]
RIGHT = (False, False, True, True, False)


def words(text: str) -> list[str]:
    return sorted(word for word in text.replace(";", " ").split() if set(word) != {"-"})


@pytest.mark.parametrize("width", [None, 130, 100, 80, 60, 50])
def test_nothing_is_lost_and_it_fits(width: int | None) -> None:
    said = aligned(HEAD, ROWS, RIGHT, rule=True, width=width)
    assert words(said) == words(" ".join(" ".join(row) for row in (HEAD, *ROWS)))
    if width is None:
        assert len(said.splitlines()) == 4
    else:
        assert max(map(len, said.splitlines())) <= width


def test_the_last_column_is_folded_under_its_head() -> None:
    said = aligned(("space", "what it is"), [("cell", "one two three four five six seven")], (False, False), width=30)
    assert said.splitlines() == ["space  what it is", "cell   one two three four five", "       six seven"]


def test_text_without_room_stands_below_and_names_stay_whole() -> None:
    said = aligned(HEAD, ROWS, RIGHT, width=50).splitlines()
    assert said == [
        "name                       params    bytes",
        "                                        of",
        "                                   weights",
        "    family; source",
        "active_shift_net_w50    1,962,950  7.85 MB",
        "    residual; Jeon & Kim 2018, section 4.3 and the",
        "    released AS-ResNet",
        "vgg                   138,357,544   553 MB",
        "    serial; Simonyan & Zisserman 2015, table 1",
    ]


def in_a_terminal(columns: int, *words: str) -> list[str]:
    """The lines that a command prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen([sys.executable, "-m", "nasforge", *words], stdout=theirs, stderr=subprocess.DEVNULL, env=env)
    os.close(theirs)
    out = b""
    try:
        while chunk := os.read(ours, 65536):
            out += chunk
    except OSError:  # Linux's way to say that the other end is closed
        pass
    assert process.wait() == 0
    return out.decode().replace("\r\n", "\n").splitlines()


def test_a_listing_fits_a_terminal_and_is_whole_in_a_pipe() -> None:
    shown = in_a_terminal(80, "spaces")
    table = shown[: shown.index("")]
    assert max(map(len, table)) <= 80 and any(line.startswith(" " * 40) for line in table)
    piped = subprocess.run([sys.executable, "-m", "nasforge", "spaces"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert piped.index("") < len(table) and max(map(len, piped)) > 80
    assert words(" ".join(table)) == words(" ".join(piped[: piped.index("")]))
