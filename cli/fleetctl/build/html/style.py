"""Colours and layout of the page. Series differ in colour, shape and label, so that no one needs the colour.

The palette is that of Okabe and Ito (2008), made for colour-blind readers; lighter on a dark ground.
"""

from __future__ import annotations

from typing import Final

CSS: Final = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --panel: #f6f7f9; --ink: #16191d; --soft: #59616b; --line: #dde1e6;
  --fp32: #0072b2; --fp16: #00815f; --int8: #c04f00; --good: #00714f; --bad: #a8322a; --band: #8b95a1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #111418; --panel: #191d23; --ink: #e8ebef; --soft: #9aa4b0; --line: #2c323a;
    --fp32: #56b4e9; --fp16: #35c698; --int8: #f0a13a; --good: #4ccf9f; --bad: #ff8d80; --band: #77818d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1120px; padding: 40px 28px 64px; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 52px 0 4px; letter-spacing: -0.005em; overflow-wrap: anywhere; }
h3 { font-size: 13px; margin: 28px 0 6px; color: var(--soft); font-weight: 600; }
p { margin: 0 0 10px; }
.soft { color: var(--soft); }
.small { font-size: 13px; }
.facts { display: flex; flex-wrap: wrap; gap: 12px 36px; margin: 22px 0 26px; padding: 0; list-style: none; }
.facts b { display: block; font-size: 20px; font-weight: 600; line-height: 1.3; }
.facts span { color: var(--soft); font-size: 13px; }
.choices { border-top: 1px solid var(--line); margin: 0; padding: 0; list-style: none; }
.choices li { border-bottom: 1px solid var(--line); padding: 11px 0; display: grid;
  grid-template-columns: minmax(0, 190px) minmax(0, 1fr); gap: 2px 18px; }
.choices a { color: inherit; font-weight: 600; text-decoration: none; overflow-wrap: anywhere; }
.choices a:hover { text-decoration: underline; }
.choices .why { grid-column: 2; color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.why { max-width: 78ch; overflow-wrap: anywhere; }
.warn { border-left: 3px solid var(--int8); padding: 6px 12px; margin: 14px 0; background: var(--panel); }
.warn p { margin: 3px 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 18px 26px;
  margin: 16px 0 8px; }
figure { margin: 0; max-width: 560px; }
figcaption { color: var(--soft); font-size: 13px; margin-bottom: 2px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; fill: var(--soft);
  font-variant-numeric: tabular-nums; }
svg .name { fill: var(--ink); }
svg .chosen { font-weight: 700; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .front { stroke: var(--soft); stroke-width: 1.25; fill: none; }
svg .budget { stroke: var(--bad); stroke-width: 1; stroke-dasharray: 5 4; }
svg .budget-name { fill: var(--bad); }
svg .band { fill: var(--band); opacity: 0.22; }
svg .leader { stroke: var(--line); stroke-width: 1; }
svg .fp32 { --series: var(--fp32); } svg .fp16 { --series: var(--fp16); } svg .int8 { --series: var(--int8); }
svg .mark { fill: var(--series); stroke: var(--ground); stroke-width: 1.5; }
svg .mark.refused { fill: var(--ground); stroke: var(--series); stroke-width: 1.75; }
svg .ring { fill: none; stroke: var(--ink); stroke-width: 1.5; }
svg .whisker { stroke: var(--series); stroke-width: 1.75; }
svg.mini { width: 120px; height: 16px; display: inline-block; vertical-align: middle; }
.legend { color: var(--soft); font-size: 13px; display: flex; flex-wrap: wrap; gap: 4px 18px;
  margin: 2px 0 14px; }
.legend svg { width: 14px; height: 14px; display: inline-block; vertical-align: -2px; margin-right: 5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; white-space: nowrap; }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
.r { text-align: right; white-space: nowrap; }
td .sub { display: block; color: var(--soft); font-size: 12.5px; }
td.variant { font-weight: 600; min-width: 116px; }
.verdict { font-weight: 600; white-space: nowrap; }
.verdict.chosen { color: var(--good); } .verdict.refused { color: var(--bad); }
.reasons { margin: 10px 0 0; padding: 0; list-style: none; font-size: 13.5px; }
.reasons li { margin: 4px 0; max-width: 100ch; overflow-wrap: anywhere; }
code { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { margin-top: 52px; color: var(--soft); font-size: 13px; border-top: 1px solid var(--line);
  padding-top: 12px; }
@media (max-width: 720px) {
  body { padding: 22px 16px 48px; }
  h1 { font-size: 23px; }
  .choices li { grid-template-columns: 1fr; }
  .choices .why { grid-column: 1; }
  table.cards, .cards tbody, .cards tr, .cards td { display: block; width: 100%; }
  .cards thead { display: none; }
  .cards tr { border-bottom: 1px solid var(--line); padding: 9px 0; }
  .cards td { border: 0; padding: 2px 0; display: flex; justify-content: space-between; gap: 18px;
    text-align: right; }
  .cards td::before { content: attr(data-label); color: var(--soft); font-size: 13px; text-align: left;
    flex: none; }
  .cards td.variant::before { content: none; }
  .cards td .sub { font-size: 12px; }
  .cards td.none { display: none; }
}
@media print {
  :root { --ground: #fff; --panel: #fff; --ink: #000; --soft: #444; --line: #bbb; }
  body { max-width: none; padding: 0; font-size: 11px; }
  section, figure, tr, .choices li { break-inside: avoid; }
  h2 { margin-top: 26px; }
  table { font-size: 10.5px; }
}
"""
