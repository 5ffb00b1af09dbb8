"""The report of some runs: one HTML file that asks for nothing from anywhere, and its figures as files for a paper."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cxremb.ablation.headline import table_of
from cxremb.errors import label_title
from cxremb.reporting.canvas import OTHER_FOLDER, Drawing, page_svg, save_drawing, spoken_svg
from cxremb.reporting.chosen import ReportRuns
from cxremb.reporting.parts import Section
from cxremb.reporting.sections import sections
from cxremb.reporting.subject import subject_of
from cxremb.store.files import refuse_unwritable, replace_text
from cxremb.table import Table, as_latex
from cxremb.types import Progress, unwatched

SIMULATED = (
    "The films of this data set are simulated: drawn by a program, not taken of anybody. "
    "Figures of arms that read images say nothing about real patients."
)
LOUD = ("label recovery", "leaky split")  # how a caveat begins that must stand above all figures
TABLE = "table.tex"
OTHER_FILE = "another file with --output"


@dataclass(frozen=True)
class Page:
    """Everything on the page; `table` is that of a paper."""

    title: str
    banners: Sequence[str]
    sections: Sequence[Section]
    table: Table

    @property
    def drawings(self) -> list[Drawing]:
        return [one for section in self.sections for one in section.drawings]


def page_of(
    chosen: ReportRuns,
    *,
    include_data: bool = False,
    checklist: str | None = None,
    progress: Progress = unwatched,
) -> Page:
    """The page of these runs. include_data: with some texts and films. checklist: one of `checklists.KINDS`, filled.

    Raises `StoreError` for a damaged run, `DataError` for an unknown checklist.
    """
    subject = subject_of(chosen, include_data=include_data, checklist=checklist)
    result = subject.result
    shown = [run for run in subject.runs.values() if "image" in run.record.dims or run.record.from_pixels]
    loud = [caveat for caveat in result.caveats if caveat.partition(": ")[2].startswith(LOUD)]
    return Page(
        title=f"{result.dataset}: {label_title(result.label, result.label_set)}",
        banners=[*([SIMULATED] if result.simulated and shown else []), *loud],
        sections=sections(subject, progress),
        table=replace(table_of(result, whole=True), title=result.title, notes=result.notes_of_paper),
    )


def refuse_places(output: Path, figures: Path | None) -> None:
    """Raises `StoreError` if the page or its figures cannot be written there."""
    refuse_unwritable(output, instead=OTHER_FILE)
    if figures is not None:
        refuse_unwritable(figures / TABLE, instead=OTHER_FOLDER)


def write_report(page: Page, path: Path, progress: Progress = unwatched) -> Path:
    """`path`, the page as one HTML file without scripts or outside resources, replaced in one step."""
    return replace_text(path, render(page, progress), instead=OTHER_FILE)


def write_figures(page: Page, folder: Path, progress: Progress = unwatched) -> list[Path]:
    """Each figure as SVG, PNG and PDF, and the table as LaTeX, under `folder`; files that are there are replaced."""
    drawings = progress(page.drawings, len(page.drawings), "saving figures")
    saved = [path for drawing in drawings for path in save_drawing(drawing, folder)]
    return [*saved, replace_text(folder / TABLE, as_latex(page.table) + "\n", instead=OTHER_FOLDER)]


def write_picture(drawing: Drawing, path: Path) -> Path:
    """`path`, a drawing as an SVG file whose colours follow the reader's scheme, light or dark."""
    style = Path(__file__).with_name("drawings.css").read_text(encoding="utf-8")
    return replace_text(path, spoken_svg(drawing, style))


def in_code(text: str) -> Markup:
    """Text, escaped, with what stands in backquotes as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def render(page: Page, progress: Progress = unwatched) -> str:
    """The page as HTML. All text is escaped."""
    drawings = progress(page.drawings, len(page.drawings), "drawing figures")
    drawn = {id(drawing): Markup(page_svg(drawing)) for drawing in drawings}  # matplotlib escapes their texts
    environment = Environment(
        loader=PackageLoader("cxremb.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = in_code
    environment.filters["drawn"] = lambda drawing: drawn[id(drawing)]
    return environment.get_template("page.html.jinja").render(page=page)
