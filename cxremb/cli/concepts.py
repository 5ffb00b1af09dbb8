"""`cxremb data concepts`: what the labels of a data set mean in the words that collections share."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli import completion
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write

if TYPE_CHECKING:
    from cxremb.concepts import ConceptsOfDataset

SHOWN = 10  # labels without a concept that the screen names


class Vocabulary(StrEnum):
    """The words that ship."""

    chexpert = "chexpert"
    torchxrayvision = "torchxrayvision"


VocabularyName = Annotated[
    Vocabulary,
    typer.Option(
        metavar="WORDS",  # the choices in one word would be broken in 80 columns
        help="chexpert, its 14 words, or torchxrayvision, its 18; rows of other sources count always.",
    ),
]


def concepts(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Short for --dataset NAME.", autocompletion=completion.datasets),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Keep this table with the data set: label_set, label, concept, relation, source."),
    ] = None,
    vocabulary: VocabularyName = Vocabulary.chexpert,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Show what labels of a data set mean in words that collections share, or keep your own table that says so.

    Without a name those of every data set.

    Example: cxremb data concepts iu_xray --vocabulary torchxrayvision
    """
    from cxremb.cli.screen import say
    from cxremb.concepts import read_concepts
    from cxremb.store.dataset import data_sets, open_dataset

    if name and dataset and name != dataset:
        raise typer.BadParameter(f"{name} or {dataset}? Name one data set", param_hint="--dataset")
    one = name or dataset
    chosen = data_sets(root, one) if file is None else [open_dataset(root, one)]  # a table is kept with one
    found = [read_concepts(data, vocabulary.value, file=file) for data in chosen]
    if fmt is not Format.table:
        each = [asdict(of) for of in found]
        several = len(found) > 1
        whose = [{"dataset": of.dataset} if several else {} for of in found]
        rows = [own | row for own, of in zip(whose, found, strict=True) for row in of.to_arrow().to_pylist()]
        write(each if several else each[0], fmt, rows)
        return
    for place, of in enumerate(found):
        if place:
            say()
        show_concepts(of)


def show_concepts(found: "ConceptsOfDataset") -> None:
    """A line for each concept, and what has none."""
    from cxremb.cli.pasted import here
    from cxremb.cli.screen import say, say_commands, show_table
    from cxremb.errors import count_of, name_list
    from cxremb.table import Table

    rows = [
        [one.concept, one.label_set, ", ".join(one.labels), *(f"{n:,}" for n in (one.ones, one.zeros, one.missing))]
        for one in found.concepts
    ]
    if rows:
        show_table(Table(["concept", "label set", "labels", "1", "0", "missing"], rows, prose=[1, 2]))
    counted = "; 1, 0 and missing count studies" if rows else ""
    say(f"{found.dataset}: {count_of(len(rows), 'concept')}, words of {found.vocabulary}{counted}")
    if found.without:
        say(f"{count_of(len(found.without), 'label')} without a concept: {name_list(found.without, SHOWN)}")
    for note in found.notes:
        say(note)
    if not rows:
        table = "a table of label_set, label, concept, relation (exact, broader or narrower) and source"
        say(f"Say what its labels mean: {table}")
        say_commands([here(f"data concepts --file TABLE.csv --dataset {found.dataset}")], "Keep: ")
        return
    say_commands([here(f"sql \"select * from concepts where dataset = '{found.dataset}'\"")], "Ask: ")
