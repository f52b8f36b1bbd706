"""The page of a made-up run in a real browser: a silent console, and nothing wider than the screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import Killed, MadeUpRunner, made_up_run

from nasforge.report import report

pytestmark = pytest.mark.thorough
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=3000",
)
# Lays the page out in a frame of each width and says which parts stick out of it.
RULER = """<!doctype html><title>ruler</title><body><script>
const page = %s;
async function measure(width) {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.srcdoc = page;
  await new Promise(done => { frame.onload = done; document.body.append(frame); });
  const inside = frame.contentDocument, wide = [];
  for (const part of inside.querySelectorAll("main *")) {
    const scrolls = part.closest(".scroll, .tall");
    const out = part.getBoundingClientRect().right > width + 0.5;
    if (out && !scrolls) wide.push(part.tagName + "." + part.getAttribute("class"));
  }
  const plots = [...inside.querySelectorAll(".plot")].filter(p => p.getBoundingClientRect().height > 0);
  return {width, scroll: inside.documentElement.scrollWidth, wide, plots: plots.map(p => p.className),
          text: [...inside.querySelectorAll(".plot text")].filter(t => t.getBoundingClientRect().height > 0)
                .map(t => t.getBoundingClientRect().height),
          ground: frame.contentWindow.getComputedStyle(inside.body).backgroundColor};
}
(async () => {
  const out = [], pre = document.createElement("pre");
  for (const w of [360, 400, 700, 1280, 2200]) out.push(await measure(w));
  pre.textContent = JSON.stringify(out); document.body.replaceChildren(pre);
})();
</script>"""


def browser() -> str:
    """The path of a browser; skips the test where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


def opened(page: Path, *flags: str) -> tuple[str, str]:
    """The document that a browser makes of a page, and what it logs."""
    command = [browser(), *FLAGS, f"--user-data-dir={page.parent / 'profile'}", *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def measured(page: Path, scheme: int) -> list[dict]:
    """What the ruler finds at each width in a dark (0) or light (1) scheme."""
    ruler = page.with_name(f"ruler{scheme}.html")
    text = json.dumps(page.read_text(encoding="utf-8")).replace("</", "<\\/")
    ruler.write_text(RULER % text, encoding="utf-8")
    document, _ = opened(ruler, f"--blink-settings=preferredColorScheme={scheme}")
    found = re.search(r"<pre>(\[.*\])</pre>", document, re.DOTALL)
    assert found, document[-500:]
    return json.loads(html.unescape(found[1]))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.raises(Killed):
        made_up_run(folder / "killed", MadeUpRunner(end_after=12))
    return [report(made_up_run(folder / "ended")), report(folder / "killed")]


def test_the_console_is_heard(tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<!doctype html><script>nothing.there()</script>", encoding="utf-8")
    assert "CONSOLE" in opened(bad)[1]


def test_nothing_on_the_console(pages: list[Path]) -> None:
    for page in pages:
        document, log = opened(page)
        assert "CONSOLE" not in log and "ERR_" not in log
        assert document.rstrip().endswith("</html>") and "nasforge report" in document


def test_fits_every_width_in_both_schemes(pages: list[Path]) -> None:
    for page in pages:
        light, dark = measured(page, 1), measured(page, 0)
        assert {m["ground"] for m in light} == {"rgb(255, 255, 255)"} and {m["ground"] for m in dark} == {"rgb(20, 23, 27)"}
        for m in light + dark:
            assert m["scroll"] <= m["width"] and m["wide"] == [], m
            assert m["plots"] and min(m["text"]) >= 12, m  # pixels of a line of the smallest text in a plot
        assert all(name == "plot narrow" for name in light[0]["plots"])
        assert {name for name in light[2]["plots"]} == {"plot wide"}
