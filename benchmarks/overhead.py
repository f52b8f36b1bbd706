"""Wall time of a default search outside training and measuring, as a share: the whole command, start of Python to report, in one run.

python benchmarks/overhead.py [SPACE] [TRIALS]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time

space, trials = (sys.argv[1:] + ["digits", "48"][len(sys.argv) - 1 :])[:2]
with tempfile.TemporaryDirectory() as folder:
    began = time.perf_counter()
    words = [sys.executable, "-m", "nasforge.cli", "search", space, "--trials", trials, "--workers", "2", "--run", folder, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    whole = time.perf_counter() - began
seconds = json.loads(done.stdout)["seconds"]
print(
    f"search of {trials} trials on {space}: {seconds['total']:.1f} s, of these {seconds['busy']:.1f} s with something training or measuring"
)
print(f"outside: {seconds['overhead']:.1f} s of the search ({seconds['overhead'] / seconds['total']:.1%}); "
      f"{whole - seconds['busy']:.1f} s of the whole command with imports, report and all ({1 - seconds['busy'] / whole:.1%})")  # fmt: skip
