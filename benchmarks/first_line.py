"""Seconds until each command's first line, and until its end, by the processor (its own and its children's) and by the wall clock.

python benchmarks/first_line.py [--terminal] [COMMAND ...]

Each command runs in a process of its own, in an empty folder that holds one short search; with --terminal its output is a terminal, else a
pipe. The processor's seconds are what a quiet machine takes.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHORT = "--data-limit 300 --trials 2 --epochs 1 --final-epochs 1 --finalists 1 --final-seeds 1"
COMMANDS = {  # what is measured, each with the run of SETUP beside it
    "search": f"search digits {SHORT} --run other",
    "search, no space named": f"search --data digits {SHORT} --run another",
    "train": "train lenet5 --data digits --data-limit 300 --epochs 1",
    "report": "report run",
    "report, two runs": "report run run",
    "export to python": "export run --to python --out away",
    "export to onnx": "export run --to onnx --out away_onnx",
    "predict": "predict run row.npz",
    "score": "score run",
    "show, a network": "show resnet20",
    "show, a space": "show mobile",
    "show, a block": "show conv",
    "zoo": "zoo",
    "scale": "scale resnet20 --phi 1",
    "scale --fit": "scale resnet20 --fit params=100k",
    "latency": "latency lenet5",
    "calibrate": "calibrate digits --networks 5",
    "locate": "locate resnet20 digits",
    "blocks": "blocks",
    "spaces": "spaces",
    "recipes": "recipes",
    "metrics": "metrics",
    "runs": "runs .",
    "bench": "bench --strategies random --seeds 1 --evals 20",
    "replay": "replay run",
    "--help": "--help",
    # refused
    "search: no such folder": "search --data nowhere",
    "search: a typo in a space": "search mobil",
    "search: a typo in a strategy": "search mobile --strategy predicter",
    "search: a typo in a limit": "search mobile --constraint 'parms<=2e5'",
    "search: a typo in an objective": "search mobile --objective accurcy",
    "search: a limit none can keep": "search mobile --data digits --constraint 'params<=10'",
    "train: a typo in a network": "train resnet21",
    "train: a typo in a recipe": "train resnet20 --recipe publishd",
    "train: a typo in a word": "train resnet20 --set lrr=.1",
    "train: a broken file": "train broken.yaml",
    "train: no such data": "train resnet20 --data nowhere.npz",
    "report: no such run": "report nowhere",
    "export: no such run": "export nowhere --to onnx",
    "predict: no such run": "predict nowhere row.npz",
    "predict: no such file": "predict run nowhere.png",
    "score: no such weights": "score resnet20 --weights nowhere.pth",
    "scale: a typo in a metric": "scale resnet20 --fit parms=1e6",
    "scale: a typo in an axis": "scale resnet20 --axis dept",
    "latency: a typo in a runtime": "latency resnet20 --runtime onnxruntim",
    "calibrate: a typo in a space": "calibrate mobil",
    "replay: no such run": "replay nowhere",
    "bench: a typo in a strategy": "bench --strategies predicter",
    "locate: a typo in a space": "locate resnet20 mobil",
    "show: a typo": "show resnet21",
}
SETUP = f"search digits {SHORT} --run run --json"


def measured(words: str, folder: Path, terminal: bool) -> tuple[str, float, float, float, float]:
    """Return the first line of a command, and seconds: of processor and wall until it, of processor and wall until the end."""
    reader, writer = pty.openpty() if terminal else os.pipe()
    whole = f"exec {sys.executable} -m nasforge {words}"
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(["bash", "-c", whole], cwd=folder, stdout=writer, stderr=writer, stdin=subprocess.DEVNULL, env=environment)
    os.close(writer)
    said, first = b"", None
    while True:
        try:
            part = os.read(reader, 4096)
        except OSError:  # a terminal that nobody holds open any more
            part = b""
        if not part:
            break
        said += part
        if first is None and said.strip():
            first = (_cpu(process.pid), time.perf_counter() - began)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    os.close(reader)
    end = used.ru_utime + used.ru_stime, time.perf_counter() - began
    return (said.decode(errors="replace").strip().splitlines() or [""])[0], *(first or end), *end


def _cpu(process: int) -> float:
    """Return the seconds of processor that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def main(words: list[str]) -> None:
    import numpy as np

    terminal = "--terminal" in words
    wanted = [word for word in words if word != "--terminal"]
    chosen = {name: command for name, command in COMMANDS.items() if not wanted or name in wanted or command.split()[0] in wanted}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "broken.yaml").write_text("body: [conv: {out: 8\n", encoding="utf-8")
        np.savez(folder / "row.npz", x=np.zeros((1, 1, 8, 8), np.float32))
        measured(SETUP, folder, False)
        print(f"{'':34s} {'first line':>13s} {'end':>13s}\n{'command':34s} {'   cpu   wall' * 2}  its first line")
        for name, command in chosen.items():
            line, *seconds = measured(command, folder, terminal)
            print(f"{name:34s} {' '.join(f'{one:6.2f}' for one in seconds)}  {line[:110]}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
