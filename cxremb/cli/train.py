"""`cxremb train` fits one head, or one network from pixels, and shows how it went."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format

if TYPE_CHECKING:
    from cxremb.features import Features, Inputs
    from cxremb.splits import StoredSplit
    from cxremb.store.dataset import Dataset
    from cxremb.training.presets import Preset
    from cxremb.training.runs import Run


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


@dataclass(frozen=True)
class Asked:
    """What a user asked to be trained. split: found when it is needed."""

    head: str
    recipe: "Preset"
    inputs: "Inputs"
    split: "Callable[[], StoredSplit]"
    place: dict[str, Any]  # folds, repeats, seeds
    device: str | None
    weights: Path | None  # of a network's base


LabelSet = Annotated[str, typer.Option(help="What to predict.")]
ImageModel = Annotated[
    str | None, typer.Option(help="Image encoder or store, NAME:3 for its version 3; the newest if left out.")
]
TextModel = Annotated[
    str | None, typer.Option(help="Text encoder or store, NAME:3 for its version 3; the newest if left out.")
]
Text = Annotated[
    str,
    typer.Option(help="A section, findings+impression, or pre-read: what was known before the film was read."),
]
SplitName = Annotated[
    str,
    typer.Option("--split", help="grouped-5fold, holdout, image-80-20, one of `cxremb data split`, or NAME@KEY."),
]
AllowLeaky = Annotated[
    bool, typer.Option("--allow-leaky", help="Use a split that shares patients; all it gives is marked leaky.")
]
Repeat = Annotated[int, typer.Option(help="Which repeat of the split, if it has several.")]
PresetName = Annotated[str, typer.Option("--preset", help="A recipe of `cxremb presets`.")]
Seed = Annotated[int, typer.Option(help="Decides initial weights, order and dropout.")]


def train(
    head: Annotated[
        str | None,
        typer.Argument(
            help="fusion, image, text, linear, linear-image, linear-text, gated, late, attention, attention-image, "
            "either; that of the preset if left out."
        ),
    ] = None,
    preset: PresetName = "default",
    split: SplitName = "grouped-5fold",
    fold: Annotated[int, typer.Option(help="Which fold of the split to leave out for testing.")] = 0,
    repeat: Repeat = 0,
    allow_leaky: AllowLeaky = False,
    epochs: Annotated[int | None, typer.Option(help="Another number of epochs than the preset's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Another rate than the preset's.")] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of a head's products.", show_default="bf16 where the hardware multiplies in it, else fp32"),
    ] = None,
    label_set: LabelSet = "normal_abnormal",
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
    from functools import partial

    from cxremb.cli.run_view import show_run, write_run
    from cxremb.features import Inputs
    from cxremb.labels import read_labels
    from cxremb.splits import choose_split
    from cxremb.store.dataset import open_dataset
    from cxremb.training.board import check_board, write_board
    from cxremb.training.presets import changed, find_preset

    if tensorboard:
        check_board()  # before anything takes time
    collection = open_dataset(root, dataset)
    published = find_preset(preset, read_labels(collection, label_set).task)
    chosen = head or published.head
    recipe = changed(
        published, chosen, epochs=epochs, learning_rate=learning_rate, precision=precision and precision.value
    )
    asked = Asked(
        head=chosen,
        recipe=recipe,
        inputs=Inputs(label_set, image_model, text_model, text, views.value, unit and unit.value, missing.value),
        split=partial(choose_split, collection, label_set, split, allow_leaky=allow_leaky),
        place={"folds": (fold,), "repeats": (repeat,), "seeds": (seed,)},
        device=device,
        weights=weights,
    )
    run = train_network(collection, asked) if recipe.network and head is None else train_head(collection, asked)
    if tensorboard:
        write_board(run, tensorboard)
    if fmt is not Format.table:
        write_run(run, fmt)
    else:
        show_run(run, published)


def train_head(collection: "Dataset", asked: Asked) -> "Run":
    """The run of a head on stored vectors."""
    from dataclasses import replace

    from cxremb.cli.progress import bar
    from cxremb.features import load_features
    from cxremb.training.fit import FitJob, Plan, fit_run
    from cxremb.training.heads import find_head

    head, inputs = find_head(asked.head), asked.inputs
    if head.kind == "attention" and inputs.unit is None:
        inputs = replace(inputs, unit="study")  # it pools the films of a study: there is no other way to use it
    features = load_features(collection, head.blocks, inputs)
    folds = asked.split()
    tell(features, folds)
    plan = Plan(asked.head, asked.recipe.name, asked.recipe.options, **asked.place)
    return fit_run(FitJob(collection, features, folds, plan), bar, asked.device or "cpu")


def train_network(collection: "Dataset", asked: Asked) -> "Run":
    """The run of a network from pixels."""
    from dataclasses import replace

    from cxremb.cli.progress import bar
    from cxremb.training.pixels.fit import fit_network, open_source, plan_of

    folds = asked.split()  # before films are decoded, which takes time
    plan = replace(plan_of(asked.recipe), **asked.place)
    source = open_source(collection, asked.inputs, plan, weights=asked.weights, progress=bar)
    tell(source.features, folds)
    return fit_network(collection, source, folds, plan=plan, progress=bar, device=asked.device or "auto")


def tell(features: "Features", folds: "StoredSplit") -> None:
    """What was chosen for the user, and how the split fits the labels."""
    from cxremb.cli.progress import log

    for note in (*features.notes, *(f"{note.what}: {note.count:,}" for note in folds.notes)):
        log.print(note, markup=False)
