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
.small { color: #555; font-size: .9rem; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd;
  vertical-align: top; }
th:first-child, td:first-child, td.words { text-align: left; overflow-wrap: anywhere; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr));
  gap: 1.2rem .9rem; padding: 0; margin: 1rem 0; list-style: none; }
.sheet li { font-size: .8rem; line-height: 1.35; overflow-wrap: anywhere; min-width: 0; }
.sheet img, .sheet .empty { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: #f4f4f4; image-rendering: pixelated; }
.sheet .empty { padding-top: 40%; text-align: center; color: #555; }
.sheet span { display: block; }
.sheet .soft { color: #555; }
.sheet .note { color: #a33d00; font-weight: 600; }
@media (max-width: 30rem) {
  body { padding: .7rem; }
  .sheet { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
@media print {
  body { max-width: none; font-size: 10pt; padding: 0; }
  nav { display: none; }
  .sheet { grid-template-columns: repeat(5, 1fr); }
  .sheet li, tr { break-inside: avoid; }
}
"""
