"""`cxremb data label`: a label set of one's own."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cxremb.cli.collection import line
from cxremb.cli.concepts import Vocabulary
from cxremb.cli.next_steps import literal, next_steps, quoted
from cxremb.cli.options import DEFAULT_ROOT, DatasetName, Readers, Root, Uncertain
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.pasted import here
from cxremb.cli.screen import say_commands
from cxremb.errors import count_of


class LabelTask(StrEnum):
    """What a head learns from a label set."""

    binary = "binary"
    multiclass = "multiclass"
    multilabel = "multilabel"


def label(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the label set is called.")],
    sql: Annotated[str | None, typer.Option(help="SELECT study_id, label, value: one row a study and label.")] = None,
    file: Annotated[Path | None, typer.Option(help="Table of study_id, label, value, or a column a label.")] = None,
    readings: Annotated[
        str | None, typer.Option(help="What readers said, of this label set: made into labels by a policy.")
    ] = None,
    concepts: Annotated[
        Vocabulary | None,
        typer.Option(
            metavar="WORDS",
            help="Its concepts in the words of chexpert or torchxrayvision: see `cxremb data concepts`.",
            show_default=False,
        ),
    ] = None,
    uncertain: Annotated[
        Uncertain, typer.Option(help="Of readings: what an unsure one (-1) becomes.")
    ] = Uncertain.ignore,
    readers: Annotated[
        Readers, typer.Option(help="Of readings: what several readers make together.")
    ] = Readers.majority,
    means: Annotated[str, typer.Option(help="What it says, in one sentence.")] = "",
    task: Annotated[
        LabelTask | None,
        typer.Option(
            metavar="TASK",
            help="binary, multiclass or multilabel, if not what the rows look like.",
            show_default=False,
        ),
    ] = None,
    dataset: DatasetName = None,
    root: Root = DEFAULT_ROOT,
    fmt: AsFormat = Format.table,
) -> None:
    """Add a label set of your own, from SQL, a file, readings or concepts. Value: 0 or 1; no row: missing.

    Example: cxremb data label hernia --sql "select study_id, 'hernia' as label, max(label = 'Hernia, Hiatal')
    as value from labels where label_set = 'problems' group by study_id"
    """
    from cxremb.concepts import label_from_concepts
    from cxremb.labels import label_from_file, label_from_readings, label_with_sql
    from cxremb.store.dataset import open_dataset
    from cxremb.store.tables import describe
    from cxremb.types import LabelSet, Policy

    before = open_dataset(root, dataset)
    about = LabelSet(name, task or "", means)
    given = [word for word in (sql, file, readings, concepts) if word is not None]
    if len(given) != 1:
        raise typer.BadParameter("give one of --sql, --file, --readings and --concepts")
    if sql is not None:
        after = label_with_sql(before, about, sql)
    elif file is not None:
        after = label_from_file(before, about, file)
    elif concepts is not None:
        after = label_from_concepts(before, about, concepts.value)
    else:
        after = label_from_readings(before, about, Policy(str(readings), uncertain, readers))
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
    say_commands(next_steps(after, label_set=name), f"{'next':<12}", "bold")


def show_labels(name: str, about: Mapping[str, Any]) -> None:
    """One label set: its task, what it says, by which choice, from where, and how it is spread."""
    labels = f"{about['label_count']:,} label{'s' * (about['label_count'] != 1)}"
    line(f"\n{name}", style="bold")
    line(f"  {about['task']}, {labels}, {count_of(about['studies'], 'study')}, version {about['version']}")
    for key in ("means", "policy", "sql", "file", "readings", "concepts"):
        if about.get(key):
            line(f"  {key:<8}{about[key]}" if len(key) < 8 else f"  {key} {about[key]}")
    for row in about["most"]:
        known = f" of {row['ones'] + row['zeros']:>6,}" if about["task"] != "terms" else ""
        line(f"  {row['ones']:>6,}{known}  {row['label']}")
    if (more := about["label_count"] - len(about["most"])) > 0:
        listed = f"select label, count(*) from labels where label_set = {literal(name)} and value = 1 group by label"
        line(f"  and {more:,} more:")
        say_commands([here(f"sql {quoted(listed)}")], " " * 4)
