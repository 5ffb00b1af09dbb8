"""`cxremb audit` shows what a split, its labels and its films give away."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxremb.cli import completion
from cxremb.cli.options import DEFAULT_ROOT, OWN_LABELS, DatasetName, Root
from cxremb.cli.output import AsFormat, Format, write
from cxremb.cli.pasted import completed
from cxremb.cli.train import SplitName

if TYPE_CHECKING:
    from cxremb.audit.audit import Audit
    from cxremb.audit.subject import Finding

MARKS = {"ok": ("ok", ""), "note": ("note", "yellow"), "fail": ("FAIL", "bold red")}  # and their styles
FIGURE = 7  # columns of the figures: "p 0.123"
INDENT = len("FAIL ") + FIGURE + 2


def audit(
    split: SplitName = "patient-5fold",
    label_set: Annotated[
        str | None, typer.Option(help="Whose labels.", show_default=OWN_LABELS, autocompletion=completion.label_sets)
    ] = None,
    no_pixels: Annotated[
        bool, typer.Option("--no-pixels", help="Decode no film: leaves out what pixels show.")
    ] = False,
    synonyms: Annotated[
        Path | None, typer.Option(help="Other words for labels, a line each: 'label: word, word'.", show_default=False)
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if a line fails.")] = False,
    root: Root = DEFAULT_ROOT,
    dataset: DatasetName = None,
    fmt: AsFormat = Format.table,
) -> None:
    """Look for leaks between the parts of a split, look-ups that give the label away, and bad labels and films.

    Example: cxremb audit --split image-80-20 --strict
    """
    from cxremb.audit.audit import audit as run_audit
    from cxremb.cli.progress import bar
    from cxremb.store.dataset import open_dataset

    result = run_audit(
        open_dataset(root, dataset), label_set, split, pixels=not no_pixels, synonyms=synonyms, progress=bar
    )
    if fmt is not Format.table:
        found = as_data(result)
        write(found, fmt, found["findings"])
    else:
        show_audit(result)
    if strict and result.failed:
        raise typer.Exit(1)


def as_data(result: "Audit") -> dict[str, Any]:
    """The audit as plain data."""
    from dataclasses import asdict

    about = {name: getattr(result, name) for name in ("dataset", "split", "leaky", "label_set")}
    findings = [asdict(finding) for finding in result.findings]
    return {**about, "created": result.created.isoformat(), "table": str(result.path), "findings": findings}


def show_audit(result: "Audit") -> None:
    """One line for each measurement, two more below what fails or is noted, what was not measured at the end."""
    from cxremb.cli.screen import say

    say(f"{result.dataset}  split {result.split}  labels {result.label_set}", "bold")
    measured = [finding for finding in result.findings if finding.status in MARKS]
    for section in dict.fromkeys(finding.section for finding in measured):
        say(section, "bold")
        for finding in measured:
            if finding.section == section:
                show_finding(finding)
    skipped: dict[str, list[str]] = {}
    for finding in result.findings:
        if finding.status not in MARKS:
            skipped.setdefault(finding.why, []).append(finding.name)
    for why, checks in skipped.items():
        say(f"not measured: {', '.join(checks)} ({why})", "dim")
    counts = {status: sum(finding.status == status for finding in measured) for status in MARKS}
    say(f"{counts['fail']} failed, {counts['note']} noted, {counts['ok']} ok. Stored: {result.path}")


def show_finding(finding: "Finding") -> None:
    """Mark, figure and what was measured; then why it matters and what to do."""
    from cxremb.cli.screen import say

    mark, style = MARKS[finding.status]
    say(f"{mark:<4} {finding.figure:>{FIGURE}}  {finding.measured}", style, below=INDENT)
    for word, text in (("why", finding.why), ("do", completed(finding.remedy))):
        if text:
            say(f"{'':{INDENT}}{word:<3}  {text}", "dim", below=INDENT + len("why  "))
