"""The figures of a run per group of rows as tables: all of them, and who is missed more at one threshold."""

from typing import TYPE_CHECKING

from cxremb.cli.calibration_view import between
from cxremb.cli.pasted import completed
from cxremb.cli.screen import say, show_table
from cxremb.table import Table, bare, span

if TYPE_CHECKING:
    from cxremb.evaluation.bootstrap import Difference, Interval
    from cxremb.stratify import Strata, Stratified

LONG = 24  # characters: a longer expression is no heading


def group_tables(found: "Stratified") -> list[Table]:
    """Those of a paper: all figures, and the rates at one threshold for all."""
    return [table for table in (strata_table(found), rates_table(found)) if table.rows]


def strata_table(found: "Stratified") -> Table:
    """A line for each group, largest first."""
    groups = found.strata.groups
    names = list(groups[0].metrics) if groups else []
    rows = [
        [group.name, f"{group.rows:,}", f"{group.positives:,}", *(short(group.metrics[name]) for name in names)]
        for group in groups
    ]
    return Table(
        [heading(found), "rows", "pos.", *names],
        rows,
        title=f"Test figures of run {found.run_id}, label {found.label}, by {found.by}",
        label=f"groups-{found.run_id}",
        notes=[*found.notes, *found.caveats, "brackets: 95% over patients; rows are called from .5 on"],
    )


def rates_table(found: "Stratified") -> Table:
    """Sensitivity and specificity of each group at the threshold of its fold, each minus that of the other rows."""
    from cxremb.predictions.missed import CALLED, RATES

    rows = []
    for group in found.strata.groups if found.missed.groups else ():
        own = found.missed.groups[group.name]
        cells = [(short(own.figures[rate]), short(own.gaps[rate], sign="+")) for rate in RATES]
        rows.append([group.name, *(cell for pair in cells for cell in pair)])
    heads = [head for rate in RATES for head in (CALLED[rate], "minus others")]
    return Table(
        [heading(found), *heads],
        rows,
        title=f"Run {found.run_id}, label {found.label}, by {found.by}: at one threshold for all groups",
        label=f"missed-{found.run_id}",
        notes=[*rates_notes(found), *found.caveats] if rows else [],
    )


def rates_notes(found: "Stratified") -> list[str]:
    """Where the threshold comes from and what the brackets are."""
    chosen = "for all groups, chosen on the validation rows of each fold (Youden), again in each draw"
    together = f", for all {count} groups at once" if (count := found.strata.questions) > 1 else ""
    return [
        f"threshold {between(found.missed.thresholds, ' to ')}: {chosen}",
        f"brackets: 95% over patients; a difference draws both sides together{together}",
    ]


def heading(found: "Stratified") -> str:
    """What the rows are grouped by, where it is short."""
    return found.by if len(found.by) <= LONG else "group"


def show_strata(found: "Stratified") -> None:
    """A line for each group, largest first; the worst, why some figures are missing, and who is missed more."""
    groups = found.strata.groups
    show_table(strata_table(found))
    if worst := found.strata.worst:
        figure = worst.metrics[found.strata.by]
        say(f"Worst {found.strata.by}: {worst.name}, {short(figure)}; the worst of several is partly chance")
        say(gaps_in_words(found.strata))
    else:
        say(f"No group is the worst: {found.strata.reason}")
    reasons: dict[str, list[str]] = {}
    for group in groups:
        if (reason := group.metrics[found.strata.by].reason) is not None:
            reasons.setdefault(reason, []).append(group.name)
    for reason, where in reasons.items():
        say(f"Not estimable in {', '.join(where)}: {reason}")
    say("Rows are called from .5 on; brackets: 95% over patients")
    show_missed(found)
    for note in (*found.notes, *found.caveats):
        say(completed(note))
    say(f"Test rows of run {found.run_id}, label {found.label}")


def show_missed(found: "Stratified") -> None:
    """The rates at one threshold, and who is missed more; or why there is none."""
    if (rates := rates_table(found)).rows:
        say()
        show_table(rates)
        for note in rates_notes(found):
            say(note[0].upper() + note[1:])
    for line in found.missed.words:
        say(line)


def gaps_in_words(strata: "Strata") -> str:
    """Which groups differ from the rest, whatever group is looked at."""
    gaps = {group.name: group.gaps[strata.by] for group in strata.groups if strata.by in group.gaps}
    known = {name: one for name, one in gaps.items() if one.p is not None}
    apart = {name: one for name, one in known.items() if (one.low or 0.0) > 0 or (one.high or 0.0) < 0}
    together = f" for all {strata.questions} groups at once" if strata.questions > 1 else ""
    what = f"{strata.by} minus that of the other rows, 95%{together}"
    if not apart:
        return f"{what}: every interval holds 0"
    rest = "" if len(apart) == len(known) else "; of the others it holds 0"
    return f"{what}: {', '.join(f'{name} {short(one)}' for name, one in apart.items())}{rest}"


def short(found: "Interval | Difference", sign: str = "") -> str:
    """As `span`, but two decimals in the interval: four of them fit a line of 80."""
    if found.value is None or found.low is None or found.high is None:
        return span(found.value, None, None, sign=sign)
    return f"{bare(found.value, sign)} [{bare(found.low, sign, 2)}, {bare(found.high, sign, 2)}]"
