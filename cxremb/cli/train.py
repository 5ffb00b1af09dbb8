"""`cxremb train` fits one head, or one network from pixels, and shows how it went."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli import completion
from cxremb.cli.options import DEFAULT_ROOT, OWN_LABELS, DatasetName, Root
from cxremb.cli.output import AsFormat, Format


class Views(StrEnum):
    """Which films are read."""

    ALL = "all"
    FRONTAL = "frontal"


class Unit(StrEnum):
    """What a row is."""

    IMAGE = "image"
    STUDY = "study"


class Precision(StrEnum):
    """Of products."""

    FP32 = "fp32"
    BF16 = "bf16"


class Missing(StrEnum):
    """What becomes of a row that lacks a modality."""

    DROP = "drop"
    KEEP = "keep"


LabelSet = Annotated[
    str | None,
    typer.Option(help="What to predict.", show_default=OWN_LABELS, autocompletion=completion.label_sets),
]
ImageModel = Annotated[
    str | None,
    typer.Option(
        help="Image encoder or store, NAME:3 for its version 3; if left out the newest, "
        "of tiny only if there is no other.",
        autocompletion=completion.image_stores,
    ),
]
TextModel = Annotated[
    str | None,
    typer.Option(
        help="Text encoder or store, NAME:3 for its version 3; if left out the newest, "
        "of tiny_text only if there is no other.",
        autocompletion=completion.text_stores,
    ),
]
Text = Annotated[
    str,
    typer.Option(help="A section, findings+impression, or pre-read: what was known before the film was read."),
]
SplitName = Annotated[
    str,
    typer.Option(
        "--split",
        help="patient-5fold, holdout, image-80-20, one of `cxremb data split`, or NAME@KEY.",
        autocompletion=completion.splits,
    ),
]
AllowLeaky = Annotated[
    bool, typer.Option("--allow-leaky", help="Use a split that shares patients; all it gives is marked leaky.")
]
Repeat = Annotated[int, typer.Option(min=0, help="Which repeat of the split, if it has several.")]
PresetName = Annotated[
    str, typer.Option("--preset", help="A recipe of `cxremb presets`.", autocompletion=completion.presets)
]
Seed = Annotated[int, typer.Option(help="Decides initial weights, order and dropout.")]


def train(
    head: Annotated[
        str | None,
        typer.Argument(
            help="fusion, image, text, linear, linear-image, linear-text, gated, late, attention, attention-image, "
            "either; that of the preset if left out.",
            autocompletion=completion.heads,
        ),
    ] = None,
    preset: PresetName = "default",
    split: SplitName = "patient-5fold",
    fold: Annotated[int, typer.Option(min=0, help="Which fold of the split to leave out for testing.")] = 0,
    repeat: Repeat = 0,
    allow_leaky: AllowLeaky = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Another number of epochs than the preset's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Another rate than the preset's.")] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of a head's products.", show_default="bf16 where the hardware multiplies in it, else fp32"),
    ] = None,
    label_set: LabelSet = None,
    image_model: ImageModel = None,
    text_model: TextModel = None,
    text: Text = "findings+impression",
    views: Annotated[Views, typer.Option(help="All films, or frontal ones alone.")] = Views.ALL,
    unit: Annotated[
        Unit | None, typer.Option(help="A row is a film or a study.", show_default="what the head takes")
    ] = None,
    missing: Annotated[
        Missing, typer.Option(help="Drop rows that lack a film or a text, or keep those with one of them.")
    ] = Missing.DROP,
    seed: Seed = 0,
    weights: Annotated[
        Path | None, typer.Option(help="Local weights that the base of a network from pixels starts from.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda[:n], mps or auto.", show_default="cpu for heads, which are quick; else auto"),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Also write the figures of every epoch here, for TensorBoard.")
    ] = None,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Train a head on stored embeddings, or a network from pixels: one fold, test figures with intervals.

    Example: cxremb train fusion --preset cnn-llm/as-documented
    """
    from cxremb.api.runs import train as train_one
    from cxremb.cli.progress import bar
    from cxremb.cli.run_view import show_run, write_run
    from cxremb.training.board import check_board, write_board
    from cxremb.training.presets import PRESETS

    if tensorboard:
        check_board()  # before anything takes time
    run = train_one(
        head,
        preset=preset,
        split=split,
        fold=fold,
        repeat=repeat,
        allow_leaky=allow_leaky,
        epochs=epochs,
        learning_rate=learning_rate,
        precision=precision and precision.value,
        label_set=label_set,
        image_model=image_model,
        text_model=text_model,
        text=text,
        views=views.value,
        unit=unit and unit.value,
        missing=missing.value,
        seed=seed,
        weights=weights,
        device=device,
        dataset=dataset,
        root=root,
        progress=bar,
    )
    if tensorboard:
        write_board(run, tensorboard)
    if fmt is not Format.table:
        write_run(run, fmt)
    else:
        show_run(run, PRESETS.get(run.record.preset))
