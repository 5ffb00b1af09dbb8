"""An ablation as the table that people read: on a screen, in a paper and on a page, arms above and controls below."""

from dataclasses import replace

from cxremb.ablation.compare import ArmResult
from cxremb.ablation.controls import ControlResult
from cxremb.ablation.costs import HEADINGS
from cxremb.ablation.table import Ablation
from cxremb.table import Table, bare, short, span, with_columns

LONG = 20  # columns that a difference takes


def table_of(result: Ablation, *, seconds: bool = False, whole: bool = False) -> Table:
    """Arms above, controls below. n is a column where it is not the same for all.

    seconds: with those of training. whole: with the intervals of accuracy and F1, since a page is wider than a screen.
    """
    arms = [cells(row, result.reference, whole) for row in result.rows]
    names = headings(result.reference)
    if result.encoders:
        arms = [[*own, *costs_of(row, result)] for own, row in zip(arms, result.rows, strict=True)]
        names = [*names, *HEADINGS]
    controls = [control_cells(control, result.reference) for control in result.controls]
    controls = [[*own, *[""] * (len(names) - len(own))] for own in controls]
    if controls and not whole:
        controls = [["Controls:", *[""] * (len(names) - 1)], *controls]
    counted = len({row.n for row in [*result.rows, *(one.row for one in result.controls if one.row)]}) > 1
    kept = [place for place, name in enumerate(names) if (counted or name != "n") and (seconds or name != "s")]
    table = Table(
        names,
        [*arms, *controls],
        label=f"{result.dataset}-{result.label_set}".replace("_", "-"),
        lines=[len(arms)] if controls else [],
    )
    return with_columns(table, kept)


def costs_of(row: ArmResult, result: Ablation) -> list[str]:
    """The cells of `HEADINGS`."""
    rank = "-" if row.mean_rank is None else f"{row.mean_rank:.1f}"
    return [rank, *result.encoders[row.arm].cells]


def headings(reference: str | None) -> list[str]:
    """The names of the columns."""
    name = reference if reference and len(reference) < LONG else "reference"  # the caption names it too
    gap = [f"- {name}", "p"] if reference else []
    return ["arm", "n", "AUROC", *gap, "acc", "F1", "sp@.95", "ECE", "s"]


def cells(row: ArmResult, reference: str | None, whole: bool = False) -> list[str]:
    """What a reader sees of one arm."""
    rates = [span(one.value, one.low, one.high) if whole else short(one.value) for one in (row.accuracy, row.f1)]
    others = [*rates, short(row.specificity), short(row.ece), f"{row.seconds:.0f}"]
    start = [row.title, f"{row.n:,}", span(row.auroc.value, row.auroc.low, row.auroc.high)]
    if reference is None:
        return [*start, *others]
    if row.difference is None:
        return [*start, "reference", "", *others]
    gap = row.difference
    p = "-" if gap.p is None else "<.001" if gap.p < 0.001 else bare(gap.p)
    return [*start, span(gap.value, gap.low, gap.high, sign="+"), p, *others]


def control_cells(control: ControlResult, reference: str | None) -> list[str]:
    """What a reader sees of one control, in the columns of the arms; it is compared with no arm in figures."""
    if control.row is None:
        return [control.name, "", control.in_its_place, *[""] * (len(headings(reference)) - 3)]
    first, *others = cells(replace(control.row, arm=control.name, difference=None), reference)
    return [first, *("" if cell == "reference" else cell for cell in others)]
