"""`cxremb similar` lists what lies nearest to a film or a text."""

from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli import completion
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.pasted import completed
from cxremb.table import Table

if TYPE_CHECKING:
    from cxremb.similarity.find import Neighbours


def similar(
    query: Annotated[
        str | None,
        typer.Argument(help="The id of a film or a study, or the file of a film.", show_default=False),
    ] = None,
    text: Annotated[str | None, typer.Option(help="A text, in place of an id or a file.", show_default=False)] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="What to find: image or text; another kind than is asked about by stores that were aligned.",
            show_default="what is asked about",
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="SQL that must hold: over columns of images and studies, facts (sex, age), reports['findings'], "
            "labels['problems']['nodule'].",
            show_default=False,
        ),
    ] = None,
    other_patients: Annotated[
        bool,
        typer.Option("--other-patients", help="Leave out the patient asked about, and who hangs together with them."),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    model: Annotated[
        str | None,
        typer.Option(
            help="The encoder or store to compare by.", show_default="the newest", autocompletion=completion.stores
        ),
    ] = None,
    section: Annotated[
        str | None,
        typer.Option(
            help="Of texts, which one: a section, pre-read.", show_default="findings+impression, or as aligned"
        ),
    ] = None,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """List the films or texts nearest to a film, a study or a text, of every data set that has the same store.

    Every stored vector is compared, by cosine. A film or text that is in no store is encoded as the store was.

    Example: cxremb similar film.png --other-patients --where "view = 'PA'"
    """
    from cxremb.api.search import similar as find

    found = find(
        query,
        text=text,
        to=to,
        where=where,
        other_patients=other_patients,
        limit=limit,
        model=model,
        section=section,
        dataset=dataset,
        root=root,
    )
    if fmt is Format.table:
        show(found)
    else:
        from dataclasses import asdict

        write(asdict(found), fmt, found.to_arrow().to_pylist())


def show(found: "Neighbours") -> None:
    """The heading, a line for each neighbour, and what must stand beside them."""
    from cxremb.cli.screen import say, show_table

    say(found.heading(), "bold")
    show_table(neighbour_table(found))
    for line in (*found.notes, *found.caveats):
        say(f"  {completed(line)}")


def neighbour_table(found: "Neighbours") -> Table:
    """A line for each; the item and the data set only where they say more than the study and the heading."""
    same_item = all(row.item_id == row.study_id for row in found.rows)
    names = {"#": "rank", "cosine": "similarity", "item": "item_id", "study": "study_id", "patient": "patient_id"}
    names |= {"labels": "labels", "data set": "dataset"}
    if same_item:
        del names["item"]
    if len({row.dataset for row in found.rows}) < 2:
        del names["data set"]
    rows = [
        [f"{row.similarity:.4f}" if name == "similarity" else str(getattr(row, name) or "") for name in names.values()]
        for row in found.rows
    ]
    words = [place for place, name in enumerate(names) if name not in ("#", "cosine")]
    return Table(list(names), rows, prose=words)
