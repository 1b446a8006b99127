"""The look of the audit page: one column on a telephone, quiet on paper."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; color: #1a1a1a; background: #fff;
  font: 16px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: .2rem 0 .4rem; line-height: 1.2; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 2px solid #ddd; }
p { margin: .4rem 0; max-width: 48rem; }
nav a { display: inline-block; margin-right: 1rem; color: #0058a0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
.small { color: #555; font-size: .9rem; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd;
  vertical-align: top; }
th:first-child, td:first-child { text-align: left; min-width: 6rem; max-width: 16rem;
  overflow-wrap: anywhere; }
th.bars { text-align: left; padding-left: .8rem; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
td.bars { width: 16rem; min-width: 9rem; padding-left: .8rem; text-align: left; }
td.one-line { white-space: nowrap; }
td.no { font-weight: 700; }
.bar { display: block; width: 100%; height: .75rem; margin: .15rem 0; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.charts figure { flex: 1 1 18rem; max-width: 30rem; margin: 0; }
.chart { width: 100%; height: auto; }
.chart text { font: 11px system-ui, "DejaVu Sans", sans-serif; fill: #222; }
.charts figcaption { color: #555; font-size: .85rem; }
.key { white-space: nowrap; margin-right: .9rem; }
.key svg { display: inline-block; width: 1.6rem; height: .8rem; margin-right: .3rem;
  vertical-align: -1px; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(11.5rem, 1fr));
  gap: 1.2rem .9rem; padding: 0; margin: 1rem 0; list-style: none; }
.sheet svg { display: block; width: 100%; height: 9rem; background: #f4f4f4; }
.sheet .pair { display: grid; grid-template-columns: 1fr 1fr; gap: .3rem; }
.sheet .pair svg { height: 5rem; }
.sheet li { font-size: .8rem; line-height: 1.35; overflow-wrap: anywhere; min-width: 0; }
.sheet b { font-size: .8rem; }
.sheet span { display: block; }
.sheet .soft { color: #555; }
.sheet .note { color: #a33d00; font-weight: 600; }
footer { margin-top: 2.5rem; border-top: 2px solid #ddd; font-size: .8rem; color: #555;
  overflow-wrap: anywhere; }
@media (max-width: 30rem) {
  body { padding: .7rem; }
  th, td { padding: .25rem .35rem; }
  .sheet { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .sheet svg { height: 7rem; }
}
@media print {
  body { max-width: none; font-size: 10pt; padding: 0; }
  nav { display: none; }
  .wide { overflow: visible; }
  .sheet { grid-template-columns: repeat(4, 1fr); }
  .sheet li, .charts figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""
