"""Escaped pieces of HTML, and the document around them: one file that asks for nothing from anywhere."""

from collections.abc import Sequence
from html import escape
from string import Template

# Contrast of text and lines against the background is at least 4.5 in both schemes (WCAG 2.2, AA).
DOCUMENT = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { --paper: #ffffff; --ink: #1c2126; --soft: #57606a; --rule: #d5dae0; --panel: #f4f6f8;
  --warn: #7a3b00; --warn-paper: #fff2df; --warn-rule: #e08a1e;
  --line0: #0b62a8; --line1: #b34700; --line2: #00724f; --line3: #8b3a8b; --line4: #6b5900; --line5: #46535f; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e8ebee; --soft: #a7b0ba; --rule: #3a424b; --panel: #1f242a;
    --warn: #ffd9a3; --warn-paper: #3a2a12; --warn-rule: #d68a2c;
    --line0: #6db7f2; --line1: #ff9d5c; --line2: #4fd1a1; --line3: #dd9bdd; --line4: #d8c25a; --line5: #b4bfca; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 3rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .6rem; border-bottom: 1px solid var(--rule); padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
p, ul { margin: .4rem 0; }
ul { padding-left: 1.2rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.banner { margin: 1rem 0 0; padding: .7rem 1rem; background: var(--warn-paper); color: var(--warn);
  border-left: 5px solid var(--warn-rule); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; white-space: pre-line;
  border-bottom: 1px solid var(--rule); }
th { font-weight: 600; }
thead th { white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
pre { background: var(--panel); padding: .7rem .9rem; font-size: .82rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
figure { margin: .5rem 0; max-width: 100%; }
svg { max-width: 100%; height: auto; font-size: 12px; }
svg text { fill: var(--ink); }
.grid { stroke: var(--rule); fill: none; }
.chance { stroke: var(--soft); stroke-dasharray: 4 4; fill: none; }
.line { fill: none; stroke-width: 2; }
.line0 { stroke: var(--line0); } .line1 { stroke: var(--line1); } .line2 { stroke: var(--line2); }
.line3 { stroke: var(--line3); } .line4 { stroke: var(--line4); } .line5 { stroke: var(--line5); }
.dot.line0 { fill: var(--line0); } .dot.line1 { fill: var(--line1); } .dot.line2 { fill: var(--line2); }
.dot.line3 { fill: var(--line3); } .dot.line4 { fill: var(--line4); } .dot.line5 { fill: var(--line5); }
@media print {
  :root { --paper: #ffffff; --ink: #000000; --soft: #444444; --rule: #bbbbbb; --panel: #f4f4f4;
    --warn: #000000; --warn-paper: #ffffff; --warn-rule: #000000; --line0: #0b62a8; --line1: #b34700;
    --line2: #00724f; --line3: #8b3a8b; --line4: #6b5900; --line5: #46535f; }
  body { max-width: none; padding: 0; font-size: 11pt; }
  section, figure, tr { break-inside: avoid; }
  .banner { border: 1px solid; border-left-width: 5px; } }
</style>
</head>
<body>
<header>
<h1>$title</h1>
$banners
</header>
<main>
$sections
</main>
</body>
</html>
""")


def document(title: str, banners: Sequence[str], sections: Sequence[str]) -> str:
    """The whole file. title, banners: text, escaped here; sections: HTML."""
    warned = "\n".join(f'<p class="banner" role="note">{escape(text)}</p>' for text in banners)
    return DOCUMENT.substitute(title=escape(title), banners=warned, sections="\n".join(filter(None, sections)))


def section(title: str, *parts: str) -> str:
    """A titled section of HTML parts; nothing at all when every part is empty."""
    body = "\n".join(filter(None, parts))
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def table(caption: str, names: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> str:
    """A table of text and numbers, escaped; the first column names the row. Floats show three digits."""
    head = "".join(f'<th scope="col"{aligned(rows, index)}>{escape(name)}</th>' for index, name in enumerate(names))
    body = "\n".join(f"<tr>{table_row(rows, row)}</tr>" for row in rows)
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{told}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def table_row(rows: Sequence[Sequence[str | float | None]], row: Sequence[str | float | None]) -> str:
    """The cells of one row."""
    first, *others = row
    cells = (f"<td{aligned(rows, index)}>{shown(value)}</td>" for index, value in enumerate(others, start=1))
    return f'<th scope="row"{aligned(rows, 0)}>{shown(first)}</th>{"".join(cells)}'


def aligned(rows: Sequence[Sequence[str | float | None]], index: int) -> str:
    """The class of a column that holds numbers only."""
    values = [row[index] for row in rows if row[index] is not None]
    return ' class="number"' if values and not any(isinstance(value, str) for value in values) else ""


def shown(value: str | float | None) -> str:
    """A value as text, escaped."""
    if isinstance(value, float):
        return f"{value:.3f}"
    return escape(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value or ""))


def definitions(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and what they stand for."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{items}</dl>" if items else ""


def bullets(lines: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def figure(drawing: str, caption: str) -> str:
    """A drawing (SVG) with its caption."""
    return f"<figure>{drawing}<figcaption>{escape(caption)}</figcaption></figure>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of text, escaped."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def code(text: str) -> str:
    """A block of code, escaped."""
    return f"<pre><code>{escape(text.strip())}</code></pre>"


def folded(title: str, body: str) -> str:
    """HTML that a click unfolds."""
    return f"<details><summary>{escape(title)}</summary>\n{body}\n</details>" if body else ""
