"""`cxremb ablate` compares arms on the same rows and folds: modalities, texts, heads, films, training sizes."""

from enum import StrEnum
from typing import Annotated

import typer

from cxremb.cli.ablation_view import PaperFormat, show_ablation
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.train import AllowLeaky, ImageModel, LabelSet, PresetName, Repeat, Seed, SplitName, Text, TextModel


class Threshold(StrEnum):
    """From which probability on a row is called positive."""

    FIXED = "0.5"
    VAL = "val"


def ablate(
    arms: Annotated[
        str,
        typer.Option(
            help="Which arms, with commas between: image, text, fusion, a section, pre-read, image+indication, or one "
            r"changed in brackets, as fusion\[head=gated|late]."
        ),
    ] = "image,text,fusion",
    text_only: Annotated[
        bool, typer.Option("--text-only", help="The text arm, beside the fusion if possible.")
    ] = False,
    image_only: Annotated[
        bool, typer.Option("--image-only", help="The image arm, beside the fusion if possible.")
    ] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Leave the reference out: uses every row arms can.")] = False,
    reference: Annotated[str, typer.Option(help="The arm that the others are compared with.")] = "fusion",
    preset: PresetName = "default",
    label_set: LabelSet = None,
    image_model: ImageModel = None,
    text_model: TextModel = None,
    text: Text = "findings+impression",
    split: SplitName = "grouped-5fold",
    allow_leaky: AllowLeaky = False,
    repeat: Repeat = 0,
    repeats: Annotated[int, typer.Option(help="How many repeats of the folds, each cut anew.")] = 1,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(help="How many trainings on the same folds, from --seed on.")] = 1,
    threshold: Annotated[
        Threshold, typer.Option(help="0.5, or val: chosen on each fold's validation rows.")
    ] = Threshold.FIXED,
    controls: Annotated[
        bool, typer.Option(help="The lower block: what shuffled inputs, look-ups and word counts reach.")
    ] = True,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: Annotated[PaperFormat, typer.Option("--format", help="How to print it.")] = PaperFormat.table,
) -> None:
    r"""Compare arms on all folds of one split: AUROC with intervals, paired differences, p after Holm, controls.

    Example: cxremb ablate --text-only

    Example: cxremb ablate --arms "image,text,fusion\[head=mlp|gated|late],fusion\[train-fraction=0.1|0.25|0.5]"
    """
    from cxremb.api.runs import ablate as compare_arms
    from cxremb.cli.progress import bar

    if text_only and image_only:
        raise typer.BadParameter("--text-only and --image-only exclude each other; leave both out to compare them")
    result = compare_arms(
        "text" if text_only else "image" if image_only else arms,
        alone=alone,
        reference=reference,
        preset=preset,
        label_set=label_set,
        image_model=image_model,
        text_model=text_model,
        text=text,
        split=split,
        allow_leaky=allow_leaky,
        repeat=repeat,
        repeats=repeats,
        seed=seed,
        seeds=seeds,
        threshold=threshold.value,
        controls=controls,
        dataset=dataset,
        root=root,
        progress=bar,
    )
    show_ablation(result, fmt)
