"""`cxremb ablate` compares image, text and fusion on the same rows and folds."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli.options import DEFAULT_ROOT, AsJson, DatasetName, Root
from cxremb.cli.train import AllowLeaky, ImageModel, LabelSet, PresetName, Repeat, Seed, SplitName, Text, TextModel

if TYPE_CHECKING:
    from cxremb.ablate import Ablation, ArmResult

WIDTH = 100  # columns that a table may take


class Format(StrEnum):
    """How the comparison is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"


def ablate(
    arms: Annotated[str, typer.Option(help="Which arms, with commas between.")] = "image,text,fusion",
    text_only: Annotated[
        bool, typer.Option("--text-only", help="The text arm, beside the fusion if possible.")
    ] = False,
    image_only: Annotated[
        bool, typer.Option("--image-only", help="The image arm, beside the fusion if possible.")
    ] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Leave the fusion out: uses every row the arm can.")] = False,
    preset: PresetName = "default",
    label_set: LabelSet = "normal_abnormal",
    image_model: ImageModel = None,
    text_model: TextModel = None,
    text: Text = "findings+impression",
    split: SplitName = "grouped-5fold",
    allow_leaky: AllowLeaky = False,
    repeat: Repeat = 0,
    seed: Seed = 0,
    style: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    as_json: AsJson = False,
) -> None:
    """Compare arms on all folds of one split: AUROC, accuracy and F1 with intervals, and the difference to the fusion.

    Example: cxremb ablate --text-only
    """
    from cxremb.ablate import Trial
    from cxremb.ablate import ablate as compare_arms
    from cxremb.cli.progress import bar
    from cxremb.features import Inputs
    from cxremb.store.dataset import open_dataset

    if text_only and image_only:
        raise typer.BadParameter("--text-only and --image-only exclude each other; leave both out to compare them")
    only = "text" if text_only else "image" if image_only else None
    result = compare_arms(
        open_dataset(root, dataset),
        [only] if only else [name for arm in arms.split(",") if (name := arm.strip())],
        Inputs(label_set, image_model, text_model, text),
        Trial(preset, split, allow_leaky, repeat, seed=seed, alone=alone),
        bar,
    )
    show_ablation(result, Format.JSON if as_json else style)


def show_ablation(result: "Ablation", style: Format = Format.TABLE) -> None:
    """The comparison on stdout."""
    if style is Format.TABLE:
        show_table(result)
    elif style is Format.JSON:
        from dataclasses import asdict

        typer.echo(json.dumps({**asdict(result), "caption": result.caption}, indent=2, ensure_ascii=False))
    elif style is Format.CSV:
        typer.echo(as_csv(result), nl=False)
    else:
        typer.echo(as_markdown(result))


def cells(row: "ArmResult", reference: str | None) -> list[str]:
    """What a reader sees of one arm."""
    figures = [span(row.auroc.value, row.auroc.low, row.auroc.high)]
    figures += [span(figure.value, figure.low, figure.high) for figure in (row.accuracy, row.f1)]
    if reference is None:
        return [row.title, *figures]
    if row.difference is None:
        return [row.title, *figures, "reference", ""]
    gap = row.difference
    p = "-" if gap.p is None else "<.001" if gap.p < 0.001 else bare(gap.p)
    return [row.title, *figures, span(gap.value, gap.low, gap.high, sign="+"), p]


def headings(reference: str | None) -> list[str]:
    """The names of the columns."""
    return ["arm", "AUROC", "accuracy", "F1", *([f"AUROC - {reference}", "p"] if reference else [])]


def show_table(result: "Ablation") -> None:
    """A table of at most 100 columns, and its caption."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from cxremb.cli.progress import console

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for name in headings(result.reference):
        table.add_column(name)
    for row in result.rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in cells(row, result.reference)))
    Console(width=max(console.width, WIDTH)).print(table)  # a pipe would get 80 columns
    for line in result.caption:
        typer.echo(line)
    reused = [row.arm for row in result.rows if row.reused]
    told = f"; re-used: {', '.join(reused)}" if reused else ""
    typer.echo(f"{result.seconds:.1f} s{told}")
    names = ", ".join(f"'{row.run_id}'" for row in result.rows)
    typer.echo(f'Ask: cxremb sql "select * from metrics where run_id in ({names})"')


def as_markdown(result: "Ablation") -> str:
    """A GitHub table with its caption as a list."""
    names = headings(result.reference)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cells(row, result.reference)) + " |" for row in result.rows]
    return "\n".join([*lines, "", *(f"- {line}" for line in result.caption)])


def as_csv(result: "Ablation") -> str:
    """One line per arm, full precision; the caveats travel in a column."""
    import csv
    import io

    rows: list[dict[str, Any]] = []
    for row in result.rows:
        flat: dict[str, Any] = {"dataset": result.dataset, "arm": row.arm, "unit": result.unit}
        flat |= {"n": row.n, "patients": row.patients}
        for name in ("auroc", "accuracy", "f1", "difference"):
            figure = getattr(row, name)
            for field in ("value", "low", "high"):
                column = name if field == "value" else f"{name}_{field}"
                flat[column] = None if figure is None else getattr(figure, field)
        flat["difference_p"] = None if row.difference is None else row.difference.p
        flat |= result.baselines | {
            "split": result.split,
            "leaky": row.leaky,
            "stores": "; ".join(result.stores.values()),
        }
        flat |= {"text": result.text, "text_role": result.text_role}
        flat |= {"run_id": row.run_id, "seconds": row.seconds, "reused": row.reused, "caveats": "; ".join(row.caveats)}
        rows.append({name.replace(" ", "_").replace("-", "_").lower(): value for name, value in flat.items()})
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def span(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    """`0.912 [.901, .922]`, or a dash where undefined."""
    if value is None:
        return "-"
    interval = "" if low is None or high is None else f" [{bare(low, sign)}, {bare(high, sign)}]"
    return f"{value:{sign}.3f}{interval}"


def bare(value: float, sign: str = "") -> str:
    """Three decimals without the zero before the point: five columns of them fit a line of 100."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1) if abs(value) < 0.9995 else f"{value:{sign}.3f}"
