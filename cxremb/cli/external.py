"""`cxremb external` trains on each collection and tests on the others."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxremb.cli import completion
from cxremb.cli.concepts import Vocabulary, VocabularyName
from cxremb.cli.options import DEFAULT_ROOT, Root
from cxremb.cli.output import AsPaperFormat, PaperFormat, write
from cxremb.cli.train import ImageModel, PresetName, Seed, SplitName, Text, TextModel, Unit, Views

if TYPE_CHECKING:
    from cxremb.transfer.matrix import External


def external(
    collections: Annotated[
        list[str] | None,
        typer.Argument(
            help="Data sets, each NAME or NAME:LABEL_SET; all that have a store of the same key, if left out.",
            autocompletion=completion.datasets,
        ),
    ] = None,
    concepts: Annotated[
        str, typer.Option(help="With commas; all that two collections have, if left out.", show_default=False)
    ] = "",
    vocabulary: VocabularyName = Vocabulary.chexpert,
    train_on: Annotated[
        str, typer.Option(help="Which of them to train on, with commas; each if left out.", show_default=False)
    ] = "",
    test_on: Annotated[
        str, typer.Option(help="Which of them to test on, with commas; each if left out.", show_default=False)
    ] = "",
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Train on all others together, in place of each alone.")
    ] = False,
    head: Annotated[
        str, typer.Option(help="As of `cxremb train`, such as image or linear-image.", autocompletion=completion.heads)
    ] = "image",
    preset: PresetName = "default",
    image_model: ImageModel = None,
    text_model: TextModel = None,
    text: Text = "findings+impression",
    views: Annotated[Views, typer.Option(help="All films, or frontal ones alone.")] = Views.ALL,
    unit: Annotated[
        Unit, typer.Option(help="What counts once: a film, or a study, whose films' probabilities are averaged.")
    ] = Unit.IMAGE,
    split: SplitName = "patient-5fold",
    sensitivity: Annotated[
        float | None,
        typer.Option(
            help="That thresholds aim at on validation rows; else the best sensitivity + specificity.",
            show_default=False,
        ),
    ] = None,
    recalibrate: Annotated[
        int, typer.Option(min=0, help="Fit probabilities again on so many patients there, who are not tested.")
    ] = 0,
    near_copies: Annotated[
        bool, typer.Option("--near-copies", help="Look at pixels for films that both have; each is decoded once.")
    ] = False,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Judge collections that are known to have the same films; marked.")
    ] = False,
    site: Annotated[bool, typer.Option(help="The control: tell the collections apart by a vector.")] = True,
    zero_shot: Annotated[
        str,
        typer.Option(help="Ask these prompts of the same rows too, such as plain or plain+report.", show_default=False),
    ] = "",
    prompts: Annotated[
        Path | None, typer.Option(help="Your own prompts: a table of label, class, prompt.", show_default=False)
    ] = None,
    seed: Seed = 0,
    each: Annotated[bool, typer.Option("--each", help="A line for each concept, below the mean.")] = False,
    root: Root = DEFAULT_ROOT,
    fmt: AsPaperFormat = PaperFormat.table,
) -> None:
    """Train on each collection and test on the others, by shared concepts: AUROC, drop, thresholds, calibration.

    Example: cxremb external

    Example: cxremb external kermany films --concepts Pneumonia --recalibrate 20
    """
    from cxremb.api.external import external as judge
    from cxremb.cli.progress import bar

    found = judge(
        tuple(collections or ()),
        concepts=concepts,
        vocabulary=vocabulary.value,
        train_on=train_on,
        test_on=test_on,
        leave_one_out=leave_one_out,
        head=head,
        preset=preset,
        image_model=image_model,
        text_model=text_model,
        text=text,
        views=views.value,
        unit=unit.value,
        split=split,
        sensitivity=sensitivity,
        recalibrate=recalibrate,
        near_copies=near_copies,
        allow_overlap=allow_overlap,
        site=site,
        zero_shot=zero_shot,
        prompts=prompts,
        seed=seed,
        root=root,
        progress=bar,
    )
    show_external(found, fmt, each=each)


def show_external(found: "External", fmt: PaperFormat, *, each: bool) -> None:
    """The pairs, above them the matrix where there are more than two collections; and what must be read beside them."""
    from cxremb.cli.pasted import completed, here
    from cxremb.cli.screen import say, say_commands, show_table

    tables = [found.table(each=each or fmt is not PaperFormat.table)]
    tables = [found.matrix(), *tables] if len(found.collections) > 2 else tables
    if fmt is not PaperFormat.table:
        last = replace(tables[-1], title=found.heading(), label="external", notes=found.caption)
        write(asdict(found) | {"caption": found.caption}, fmt, found.to_arrow().to_pylist(), [*tables[:-1], last])
        return
    for table in tables:
        show_table(table)
    for line in found.caption:
        say(completed(line))
    reused = sum(pair.reused for pair in found.pairs)
    say(f"{found.seconds:.1f} s" + (f"; {reused} of {len(found.pairs)} pairs re-used" if reused else ""))
    say_commands([here('sql "select * from external"')], "Ask: ")
