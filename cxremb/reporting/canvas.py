"""One drawing, several files: SVG, PNG and PDF by matplotlib, and SVG inside a page, whose colours follow its style.

The same drawing gives the same bytes: no date, ids from its name, figures without a display.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from cxremb.store.files import replace_file

# Blue, vermillion, green, purple, yellow and grey after Okabe & Ito (2008), darkened to a contrast of 4.5 on white. The
# page and its dark scheme have them as variables of these names (drawings.css).
LINES = ("#0b62a8", "#b34700", "#00724f", "#8b3a8b", "#6b5900", "#46535f")
INK, SOFT, RULE, PAPER, WARN = "#1c2126", "#57606a", "#d5dae0", "#ffffff", "#7a3b00"
VARIABLES = {f"line{place}": colour for place, colour in enumerate(LINES)}
VARIABLES |= {"ink": INK, "soft": SOFT, "rule": RULE, "paper": PAPER, "warn": WARN}
GREY = LINES[5]
STYLES = ("-", (0, (6, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))  # with the colour: arms differ in grey print as well
MARKERS = ("s", "o", "^", "D", "v", "P")

WIDTH = 5.2  # inches: a column of a paper, and a telephone's width without letters that cannot be read
OTHER_FOLDER = "another folder with --figures"
DPI = 200  # of PNG: two points of a screen for each at the size of the page
FILES = ("svg", "png", "pdf")
NO_DATE: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
LETTERS = "'DejaVu Sans'"  # as SVG names it
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and heard, and takes a tenth of the room
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.parse_math": False,  # a dollar in a name is a dollar
}


@dataclass(frozen=True)
class Drawing:
    """What is drawn, and what is said with it. `paint` fills a figure of `height` inches."""

    name: str  # of its files
    title: str
    caption: str
    spoken: str  # what it shows, with its figures, for those who hear it
    height: float
    paint: Callable[[Figure], None]
    marks: tuple[str, ...] = ()  # what must stand inside it: simulated films, a leaky split
    width: float = WIDTH


def drawn(drawing: Drawing, kind: str) -> bytes:
    """The file. kind: one of `FILES`."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        mpl.rcParams["svg.hashsalt"] = drawing.name
        figure = Figure(figsize=(drawing.width, drawing.height), layout="constrained")
        if drawing.marks:
            figure.suptitle(" \N{MIDDLE DOT} ".join(drawing.marks), color=WARN, fontsize=9, fontweight="bold")
        drawing.paint(figure)
        file = BytesIO()
        figure.savefig(file, format=kind, dpi=DPI, metadata=NO_DATE[kind])
    return file.getvalue()


def save_drawing(drawing: Drawing, folder: Path) -> list[Path]:
    """The drawing as SVG, PNG and PDF; files that are there are replaced. Raises `StoreError` if one cannot be."""
    saved = []
    for kind in FILES:
        content = spoken_svg(drawing).encode() if kind == "svg" else drawn(drawing, kind)

        def write(draft: Path, content: bytes = content) -> None:
            draft.write_bytes(content)

        saved.append(replace_file(folder / f"{drawing.name}.{kind}", write, instead=OTHER_FOLDER))
    return saved


def spoken_svg(drawing: Drawing, style: str = "") -> str:
    """The drawing as an SVG file, with a title and what it shows in words; style: CSS that gives it other colours."""
    text = drawn(drawing, "svg").decode()
    body = plain(text[text.index("<svg") :])
    head = f"<title>{escape(drawing.title)}</title><desc>{escape(drawing.spoken)}</desc>"
    if style:
        body, head = variable(body), f"{head}<style>{style}</style>"
    start, end = re.match(r"<svg[^>]*>", body).span()  # type: ignore[union-attr]  # it begins so
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body[start:end]}{head}{body[end:]}'


def page_svg(drawing: Drawing) -> str:
    """The drawing as a part of a page: its letters and colours are those of the page's style."""
    text = drawn(drawing, "svg").decode()
    body = variable(plain(text[text.index("<svg") :]))
    body = body.replace(LETTERS, "var(--letters)")
    size = re.search(r'viewBox="[^"]*"', body)
    spoken = escape(f"{drawing.title}. {drawing.spoken}", quote=True)
    opened = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label='
    opened += f'"{spoken}" {size.group() if size else ""} style="max-width: {drawing.width * 72:.0f}pt">'
    return opened + body[body.index(">") + 1 :].strip()


def plain(svg: str) -> str:
    """SVG without what only its program needs, and with coordinates to a hundredth of a point."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<style type="text/css">.*?</style>', "", svg, flags=re.DOTALL)  # it would be that of a whole page
    svg = re.sub(r' id="[\w.]+_\d+"| transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag.group()), svg)  # never in its texts
    return re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").replace('" />', '"/>')


def variable(svg: str) -> str:
    """SVG whose colours are the variables of a style, and these where there is none."""
    for name, colour in VARIABLES.items():
        svg = svg.replace(f": {colour}", f": var(--{name}, {colour})")
    return svg
