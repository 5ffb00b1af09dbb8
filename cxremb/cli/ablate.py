"""`cxremb ablate` compares arms on the same rows and folds: modalities, texts, heads, films, training sizes."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxremb.cli.ablation_view import show_ablation
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsPageFormat, PageFormat, PaperFormat, emit
from cxremb.cli.train import AllowLeaky, ImageModel, LabelSet, PresetName, Repeat, Seed, SplitName, Text, TextModel


class Threshold(StrEnum):
    """From which probability on a row is called positive."""

    FIXED = "0.5"
    VAL = "val"


def ablate(
    arms: Annotated[
        str,
        typer.Option(
            help="Which arms, with commas between: image, text, fusion, a section, pre-read, image+indication, "
            r"zero-shot, or one changed in brackets, as fusion\[head=late]."
        ),
    ] = "image,text,fusion",
    encoders: Annotated[
        str,
        typer.Option(
            help="A leaderboard: the arms (image, if none is named) once for each of these encoders, or for all that "
            "have a store of films.",
            show_default=False,
        ),
    ] = "",
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
    split: SplitName = "patient-5fold",
    allow_leaky: AllowLeaky = False,
    repeat: Repeat = 0,
    repeats: Annotated[int, typer.Option(min=1, help="How many repeats of the folds, each cut anew.")] = 1,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many trainings on the same folds, from --seed on.")] = 1,
    threshold: Annotated[
        Threshold, typer.Option(help="0.5, or val: chosen on each fold's validation rows.")
    ] = Threshold.FIXED,
    margin: Annotated[
        float | None,
        typer.Option(
            help="How much worse an AUROC is as good as the reference, such as 0.02: names such arms.",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Your own prompts, for zero-shot: a table of label, class, prompt.", show_default=False),
    ] = None,
    controls: Annotated[
        bool, typer.Option(help="The lower block: what shuffled inputs, look-ups and word counts reach.")
    ] = True,
    seconds: Annotated[bool, typer.Option("--seconds", help="A column more: seconds of training.")] = False,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsPageFormat = PageFormat.table,
) -> None:
    r"""Compare arms on all folds of one split: AUROC with intervals, differences that hold together, controls.

    Example: cxremb ablate --text-only

    Example: cxremb ablate --encoders all

    Example: cxremb ablate --arms "image,text,fusion\[head=mlp|gated|late],fusion\[train-fraction=0.1|0.25|0.5]"
    """
    from cxremb.api.runs import ablate as compare_arms
    from cxremb.cli.progress import bar

    if text_only and image_only:
        raise typer.BadParameter("--text-only and --image-only exclude each other; leave both out to compare them")
    result = compare_arms(
        "text" if text_only else "image" if image_only else arms,
        encoders=encoders,
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
        margin=margin,
        prompts=prompts,
        controls=controls,
        dataset=dataset,
        root=root,
        progress=bar,
    )
    if fmt is PageFormat.html:
        from cxremb.api.report import report_html

        emit(report_html(result, root=root))
    else:
        show_ablation(result, PaperFormat(fmt.value), seconds=seconds)
