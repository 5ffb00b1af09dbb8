"""`cxremb predict` judges films and reports by a trained run."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli import completion
from cxremb.cli.options import DEFAULT_ROOT, Root, WhereRunsAre
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.pasted import completed
from cxremb.table import Table, bare, probability
from cxremb.types import PARTS

if TYPE_CHECKING:
    from cxremb.inference.results import FilmJudged, Judgements, LabelJudged


def predict(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Films of one study; a folder of films; a table with columns path, report and study; or ids.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="The report of the study, in a file.", show_default=False)] = None,
    report_text: Annotated[str | None, typer.Option(help="The report itself.", show_default=False)] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="A run id, or part of it.",
            show_default="the newest that reads what is given",
            autocompletion=completion.runs,
        ),
    ] = None,
    neighbours: Annotated[int, typer.Option(min=0, help="Nearest training cases of each film.")] = 5,
    root: Root = DEFAULT_ROOT,
    dataset: WhereRunsAre = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Judge films and reports that you bring by a trained run: probability, threshold, nearest training cases.

    A film of the collection is judged by the model that tested it, a new one by the mean of all. What cannot be
    judged is listed, and keeps no other back. Research software, no medical device.

    Example: cxremb predict film.png --report-text "Clear lungs." --neighbours 3
    """
    from cxremb.api.predict import predict as judge
    from cxremb.cli.progress import bar
    from cxremb.cli.screen import remark

    found = judge(
        files or (),
        report=report,
        report_text=report_text,
        run=run,
        neighbours=neighbours,
        dataset=dataset,
        root=root,
        progress=bar,
    )
    if fmt is Format.table:
        show(found)
        return
    write(asdict(found), fmt, found.to_arrow().to_pylist())
    if fmt is Format.csv:
        for one in found.failed:
            remark(f"not judged: {completed(one.reason)}", "yellow")
        unmeasured = [found.space] if found.false_alarms is None else []  # why a column is empty
        for line in dict.fromkeys((*unmeasured, *found.notes, *found.caveats, found.notice)):
            remark(completed(line), "yellow")


def show(found: "Judgements") -> None:
    """The heading, a table of probabilities, the neighbours, and all that must be known to read them."""
    from cxremb.cli.screen import say, show_table

    names = film_names(found)
    say(found.heading(), "bold")
    say(f"  {found.why}")
    show_table(probability_table(found, names))
    if (nearest := neighbour_table(found, names)).rows:
        say()
        show_table(nearest)
    for one in found.failed:
        say(f"  not judged: {completed(one.reason)}", "yellow")
    for study in found.studies:
        for note in study.notes:
            say(f"  {study.study}: {note}" if len(found.studies) > 1 else f"  {note}", "yellow")
    if any(film.parts for study in found.studies for film in study.films):
        say("  parts: of how many of the run's models it is in train/val/test; those that tested it judge it here")
    for line in dict.fromkeys((found.calibration, found.threshold, found.space, *found.notes)):
        say(f"  {completed(line, found.dataset)}")
    for line in (*found.caveats, found.notice):
        say(f"  {completed(line, found.dataset)}", "yellow")


def probability_table(found: "Judgements", shown: Mapping[str | None, str]) -> Table:
    """A line for each study and label; where a study has several films, one for each of these below."""
    rows: list[list[str]] = []
    lines: list[int] = []
    for study in found.studies:
        lines.append(len(rows))
        worst = max(study.films, key=lambda film: film.unusual or False)
        rows += [row(study.study, label, worst) for label in study.labels]
        if len(study.films) > 1:
            rows += [row(f"  {shown[film.film]}", label, film) for film in study.films for label in film.labels]
    names = ["", "label", "prob.", "threshold", "positive", "unusual", "parts"]
    return Table(names, rows, lines=lines[1:], prose=[1])


def row(name: str, label: "LabelJudged", film: "FilmJudged") -> list[str]:
    """One line."""
    threshold = "-" if label.threshold is None else probability(label.threshold)
    above, unusual = ({None: "-", True: "yes", False: "no"}[one] for one in (label.above, film.unusual))
    return [name, label.label, probability(label.probability), threshold, above, unusual, parts_of(film)]


def parts_of(film: "FilmJudged") -> str:
    """Of how many models it is in train, val and test: `3/1/1`."""
    found = list(film.parts.values())
    return "/".join(str(found.count(part)) for part in PARTS) if found else "new"


def film_names(found: "Judgements") -> dict[str | None, str]:
    """Films as they were given -> as they are shown: an id in full, a file by as much of its path as tells it apart."""
    from cxremb.inference.cases import distinct

    films = [film for study in found.studies for film in study.films]
    ids = {film.film: film.film or "" for film in films if film.film in (None, film.item)}
    return ids | distinct(film.film for film in films if film.film and film.film not in ids)


def neighbour_table(found: "Judgements", shown: Mapping[str | None, str]) -> Table:
    """The nearest training cases of each film."""
    rows = [
        [shown[film.film] or study.study, one.item_id, bare(one.similarity), one.labels or ""]
        for study in found.studies
        for film in study.films
        for one in film.neighbours
    ]
    return Table(["", "nearest in training", "cosine", "labels"], rows, prose=[1, 3])
