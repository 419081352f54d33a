"""How the page looks: light and dark, on a desk, on a phone and on paper. Fonts are the reader's own."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1b1f24; --faint: #59636e; --line: #d8dde3;
  --fill: #2f6fb3; --track: #e6eaef; --good: #1a7f37; --warn: #9a5b00; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1c2026; --ink: #e6e9ed; --faint: #9aa5b1; --line: #333a43;
    --fill: #6aa9ea; --track: #2a3038; --good: #57c072; --warn: #e0a64a; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 70rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.75rem 0 .25rem; }
p { margin: .5rem 0; max-width: 46rem; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .92em; overflow-wrap: anywhere; }
.faint, footer { color: var(--faint); }
.note { color: var(--faint); font-size: .92rem; }
.where { color: var(--faint); overflow-wrap: anywhere; margin: 0; }
.state { font-weight: 600; margin: .75rem 0 0; }
.state::before {
  content: ""; display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .5em;
  background: currentColor; print-color-adjust: exact; -webkit-print-color-adjust: exact;
}
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
nav { margin: 1rem 0 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
a { color: var(--fill); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.tiles > div { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
.tiles dt { color: var(--faint); font-size: .88rem; }
.tiles dd { margin: 0; font-size: 1.45rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles .more { font-size: .88rem; color: var(--faint); }
.facts { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem 1.25rem; margin: .75rem 0; }
.facts dt { color: var(--faint); }
.facts dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
.scroll:focus-visible { outline: 2px solid var(--fill); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .94rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 0 0 .35rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); }
thead th { color: var(--faint); font-weight: 500; font-size: .88rem; vertical-align: bottom; white-space: nowrap; }
tbody th { font-weight: 400; overflow-wrap: anywhere; min-width: 7rem; max-width: 24rem; }
tbody td { overflow-wrap: anywhere; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
.bars td:nth-child(2) { width: 34%; min-width: 5rem; }
.documents td, .examples td { min-width: 5.5rem; }
.documents td.number { min-width: 0; }
.examples tbody th { width: 30%; }
bdi { overflow-wrap: anywhere; }
.bar { display: block; width: 100%; height: .7rem; margin-top: .38rem; border-radius: 2px; }
.fill { fill: var(--fill); } .track { fill: var(--track); } .hover { fill: transparent; }
g:hover .hover { fill: var(--track); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); gap: 1.25rem 2rem; }
.charts.wide { grid-template-columns: minmax(0, 40rem); }
figure { margin: .75rem 0; min-width: 0; display: flex; flex-direction: column; justify-content: space-between; }
figcaption { font-weight: 600; font-size: .94rem; overflow-wrap: anywhere; }
.histogram { display: block; width: 100%; height: auto; overflow: visible; }
.histogram text { fill: var(--ink); font-size: 14px; }
.histogram .faint { fill: var(--faint); }
.axis { stroke: var(--faint); stroke-width: 1; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--fill); }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: .88rem; }
@media (max-width: 36rem) {
  body { padding: 1.25rem .9rem 3rem; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .5rem; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .tiles dd { font-size: 1.2rem; }
  table { font-size: .88rem; }
  th, td { padding-right: .6rem; }
  thead th, thead th.number { white-space: normal; }
  caption { max-width: calc(100vw - 1.8rem); }
  .bars td:nth-child(2) { width: 15%; min-width: 2.5rem; }
  .bars tbody th { min-width: 8rem; }
  .examples { min-width: 30rem; }
  .documents { min-width: 36rem; }
  .wide .histogram text { font-size: 24px; }
}
@media print {
  :root {
    color-scheme: light; --paper: #fff; --panel: #fff; --ink: #000; --faint: #444; --line: #bbb; --fill: #2f6fb3;
    --track: #e4e4e4; --good: #000; --warn: #000; --bad: #000;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  h2, h3, caption, figcaption, thead { break-after: avoid; }
  tr, figure, .tiles > div { break-inside: avoid; }
  svg rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
