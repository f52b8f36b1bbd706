"""The style sheet of the page: light and dark by what the reader's system prefers, no images, no fonts to load."""

from __future__ import annotations

# Colours after Okabe & Ito 2008 (told apart with any colour vision), darker on white and lighter on black, so that text
# keeps a contrast of 4.5 : 1.
STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --raised: #f5f6f8; --ink: #1b1f24; --muted: #57606a; --rule: #d5dae0; --grid: #e8ebef;
  --search: #0065a8; --control: #b34700; --baseline: #00704f; --best: #0065a8;
  --violet: #8a3a86; --gold: #7a5c00; --shade: rgb(20 30 45 / .32);
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --raised: #1e2329; --ink: #e8ebee; --muted: #a3adb8; --rule: #3a424c; --grid: #272d35;
    --search: #63b3f0; --control: #f09a4f; --baseline: #4ecb9d; --best: #63b3f0;
    --violet: #dd9fda; --gold: #d9b64c; --shade: rgb(190 205 225 / .36);
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 2.2rem clamp(16px, 4vw, 48px) 4rem; }
h1 { font-size: clamp(1.45rem, 1.1rem + 1.6vw, 2.2rem); line-height: 1.22; letter-spacing: -.01em;
  margin: .3rem 0 1rem; max-width: 34em; text-wrap: balance; }
h1 span { font-weight: 400; color: var(--muted); }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 3.2rem 0 .4rem; padding-top: 1rem;
  border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .3rem; }
p, ul.said { max-width: 46em; margin: .5rem 0; }
ul.said { padding-left: 1.15em; } ul.said li { margin: .3rem 0; }
.over { color: var(--muted); margin: 0; } .note { color: var(--muted); font-size: .92rem; max-width: 50em; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 500px), 1fr)); gap: 1.2rem 2.4rem;
  align-items: start; }
.pair > figure, .trio > figure { display: grid; grid-row: span 2; grid-template-rows: subgrid; row-gap: 0; }
.trio { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.2rem 2rem; }
.pair > *, .trio > *, .net > * { min-width: 0; }
.net { display: grid; gap: 1.2rem 2rem; align-items: start; }
@media (min-width: 960px) { .net { grid-template-columns: minmax(300px, 2fr) minmax(0, 3.4fr); } }
figure { margin: .8rem 0 0; } figcaption { color: var(--muted); font-size: .92rem; margin-bottom: .4rem; }
figcaption b { color: var(--ink); font-size: 1rem; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; margin: .35rem 0 0; padding: 0; list-style: none; }
.legend svg { vertical-align: -4px; margin-right: .35em; }
svg { overflow: visible; } .plot svg { display: block; max-width: 100%; height: auto; }
.plot svg svg { overflow: hidden; }
.narrow { display: none; } @media (max-width: 620px) { .narrow { display: block; } .wide { display: none; } }
@media (min-width: 1140px) { .trio { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.trio .narrow { display: block; } .trio .wide { display: none; } }
.scroll { background: linear-gradient(to right, var(--paper) 40%, transparent) 0 0 / 48px 100% no-repeat local,
  linear-gradient(to left, var(--paper) 40%, transparent) 100% 0 / 48px 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) 0 0 / 16px 100% no-repeat scroll,
  linear-gradient(to left, var(--shade), transparent) 100% 0 / 16px 100% no-repeat scroll; }
.scroll { overflow-x: auto; max-width: 100%; } th:last-child, td:last-child { padding-right: 0; }
.scroll:focus-visible { outline: 2px solid var(--search); outline-offset: 3px; }
.tall { overflow: auto; max-height: min(80vh, 900px); border: 1px solid var(--rule); border-radius: 10px;
  padding: 14px; background: linear-gradient(to right, var(--paper) 40%, transparent) 0 0 / 48px 100% no-repeat local,
  linear-gradient(to left, var(--paper) 40%, transparent) 100% 0 / 48px 100% no-repeat local,
  linear-gradient(to bottom, var(--paper) 40%, transparent) 0 0 / 100% 48px no-repeat local,
  linear-gradient(to top, var(--paper) 40%, transparent) 0 100% / 100% 48px no-repeat local,
  linear-gradient(to right, var(--shade), transparent) 0 0 / 16px 100% no-repeat scroll,
  linear-gradient(to left, var(--shade), transparent) 100% 0 / 16px 100% no-repeat scroll,
  linear-gradient(to bottom, var(--shade), transparent) 0 0 / 100% 16px no-repeat scroll,
  linear-gradient(to top, var(--shade), transparent) 0 100% / 100% 16px no-repeat scroll; } .tall svg { display: block; margin: 0 auto; }
table { border-collapse: collapse; font-size: .95rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .34rem .8rem .34rem 0; text-align: left; border-bottom: 1px solid var(--grid);
  vertical-align: middle; white-space: nowrap; }
th { font-weight: 600; color: var(--muted); border-bottom-color: var(--rule); font-size: .88rem; }
th.num, td.num { text-align: right; } td.long { white-space: normal; min-width: 16em; overflow-wrap: anywhere; }
tr.winner td { font-weight: 650; background: var(--raised); }
tr.winner td:first-child { box-shadow: inset 3px 0 var(--best); padding-left: .6rem; }
tbody th { color: var(--ink); font-size: inherit; border-bottom-color: var(--grid); }
.finalist-name, .search-name { color: var(--search); } .control-name { color: var(--control); }
.baseline-name { color: var(--baseline); }
.bars { width: 100%; } .bars td.bar { width: 38%; min-width: 90px; padding-right: 1rem; }
.bars td:first-child { white-space: normal; overflow-wrap: anywhere; font-size: .92rem; }
.bar i { display: block; height: 9px; border-radius: 2px; background: var(--search); min-width: 1px; }
.bar i + i { margin-top: 3px; background: var(--muted); opacity: .75; }
.matrix td, .matrix th { padding-right: 0; } .matrix td.num, .matrix th.num { padding: 0 0 0 2px; min-width: 2.4em; }
.matrix th.num { padding-bottom: .34rem; } .matrix th:nth-last-child(-n+2), .matrix td:nth-last-child(-n+2) { padding-left: 1.1em; }
.matrix td:first-child { padding-right: .8em; } .shade span { display: block; padding: .3rem .4rem; } .none { color: var(--rule); }
.matrix td.none { padding-right: .4rem; }
.matrix thead th { vertical-align: bottom; } .upright { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 13em;
  white-space: normal; overflow-wrap: anywhere; line-height: 1.15; text-align: left; display: inline-block; }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem 1.1rem; } .pictures figure { margin: 0; width: 104px; }
.pictures img { width: 96px; height: 96px; object-fit: contain; image-rendering: pixelated; background: var(--raised);
  border-radius: 6px; display: block; margin-bottom: .25rem; } .pictures b { font-size: .92rem; overflow-wrap: anywhere; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .88em; }
pre { background: var(--raised); border: 1px solid var(--rule); border-radius: 8px; padding: .7rem .9rem;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0 .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; font-size: .95rem; margin: .6rem 0;
  } dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 620px) { td:first-child, th:first-child { white-space: normal; } body { font-size: 16px; }
dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } h2 { margin-top: 2.2rem; } }
details { margin: .8rem 0; } summary { cursor: pointer; font-weight: 600; padding: .3rem 0; }
@media print { .tall { max-height: none; overflow: visible; border: 0; } h2 { break-after: avoid; }
figure, tr { break-inside: avoid; } }

svg text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; fill: var(--ink); }
svg text.tick, svg text.small, svg text.shape { fill: var(--muted); }
svg text.tick { font-variant-numeric: tabular-nums; } svg text.small, svg text.shape { font-size: 12px; }
svg text.name { fill: var(--muted); }
svg .grid { stroke: var(--grid); stroke-width: 1; fill: none; }
svg .axis { stroke: var(--muted); stroke-width: 1.2; fill: none; }
svg .search { --c: var(--search); } svg .finalist { --c: var(--search); } svg .control { --c: var(--control); }
svg .baseline { --c: var(--baseline); }
svg .run0 { --c: var(--search); } svg .run1 { --c: var(--control); } svg .run2 { --c: var(--baseline); } svg .run3 { --c: var(--violet); }
svg .run4 { --c: var(--gold); } svg .run5 { --c: var(--muted); } .run0-name { color: var(--search); } .run1-name { color: var(--control); }
.run2-name { color: var(--baseline); } .run3-name { color: var(--violet); } .run4-name { color: var(--gold); }
svg .dot, svg .square, svg .diamond, svg .down { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
svg .hollow { fill: none; stroke: var(--c); stroke-width: 1.6; pointer-events: all; }
svg .cross { stroke: var(--c); stroke-width: 1.4; fill: none; opacity: .6; }
svg .ring { fill: none; stroke: var(--c); stroke-width: 2; pointer-events: none; }
svg .front, svg .history { fill: none; stroke: var(--c); stroke-width: 2.2; }
svg .control.front, svg .control.history { stroke-dasharray: 7 4; }
svg .whisker { stroke: var(--c); stroke-width: 2; fill: none; }
svg .curve { fill: none; stroke: var(--c); stroke-width: 1; opacity: .38; }
svg .curve.pruned { stroke-dasharray: 3 3; } svg .curve.bold { stroke-width: 2.6; opacity: 1; }
svg .curve.bold.control { stroke-dasharray: 8 4; } svg .curve.bold.baseline { stroke-dasharray: 2 3; }
svg .label { fill: var(--c); font-weight: 600; paint-order: stroke; stroke: var(--paper); stroke-width: 3.5px;
  stroke-linejoin: round; } svg .leader { stroke: var(--muted); stroke-width: 1; fill: none; }
svg .box rect { fill: var(--raised); stroke: var(--muted); stroke-width: 1.2; }
svg .box.end rect { fill: none; stroke: none; } svg .box.join rect { fill: var(--paper); }
svg .box.block rect { stroke-width: 2; } svg .group > rect { fill: none; stroke: var(--muted);
  stroke-dasharray: 3 3; } svg .repeat > rect { fill: none; stroke: var(--search); stroke-width: 1.6; }
svg .repeat > text.small { fill: var(--search); font-weight: 700; }
svg .section > rect { fill: none; stroke: var(--rule); stroke-width: 1.5; }
svg .section > text.small { font-weight: 700; }
svg .wire { fill: none; stroke: var(--muted); stroke-width: 1.3; }
svg .head { fill: var(--muted); }
"""
