"""`cxremb data label`: a label set of one's own."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cxremb.cli.collection import line
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write


class LabelTask(StrEnum):
    """What a head learns from a label set."""

    binary = "binary"
    multiclass = "multiclass"
    multilabel = "multilabel"


def label(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the label set is called.")],
    sql: Annotated[str | None, typer.Option(help="SELECT study_id, label, value: one row a study and label.")] = None,
    file: Annotated[Path | None, typer.Option(help="Table with the columns study_id, label, value.")] = None,
    means: Annotated[str, typer.Option(help="What it says, in one sentence.")] = "",
    task: Annotated[
        LabelTask | None, typer.Option(help="What it is for, if not what the rows look like.", show_default=False)
    ] = None,
    dataset: DatasetName = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """Add a label set of your own, from SQL over the store or from a file. Value: 0 or 1; no row: missing.

    Example: cxremb data label hernia --sql "select study_id, 'hernia' as label, max(label = 'Hernia, Hiatal')
    as value from labels where label_set = 'problems' group by study_id"
    """
    from cxremb.labels import label_from_file, label_with_sql
    from cxremb.store.dataset import open_dataset
    from cxremb.store.tables import describe
    from cxremb.types import LabelSet

    before = open_dataset(root, dataset)
    about = LabelSet(name, task or "", means)
    if sql is not None and file is None:
        after = label_with_sql(before, about, sql)
    elif file is not None and sql is None:
        after = label_from_file(before, about, file)
    else:
        raise typer.BadParameter("give either --sql or --file")
    found = describe(after)
    earlier = before.descriptor.get("label_sets", {}).get(name, {}).get("version")
    if fmt is not Format.table:
        facts = {**found["labels"][name], "replaces": earlier, "studies_in_all": found["counts"]["studies"]}
        write({"name": name, **facts}, fmt)
        return
    show_labels(name, found["labels"][name])
    studies, whole = found["labels"][name]["studies"], found["counts"]["studies"]
    line(f"  covers  {studies:,} of {whole:,} studies")
    version = found["labels"][name]["version"]
    if earlier is not None:
        line("  same version as before" if earlier == version else f"  replaces version {earlier}", style="yellow")
    line(f"next        cxremb train image --label-set {name}", style="bold")


def show_labels(name: str, about: Mapping[str, Any]) -> None:
    """One label set: its task, what it says, by which choice, from where, and how it is spread."""
    labels = f"{about['label_count']:,} label{'s' * (about['label_count'] != 1)}"
    line(f"\n{name}", style="bold")
    line(f"  {about['task']}, {labels}, {about['studies']:,} studies, version {about['version']}")
    for key in ("means", "policy", "sql", "file"):
        if about.get(key):
            line(f"  {key:<8}{about[key]}")
    for row in about["most"]:
        zeros = f", {row['zeros']:,} are 0" if about["task"] != "terms" else ""
        line(f"  {row['ones']:>6,}  {row['label']}{zeros}")
