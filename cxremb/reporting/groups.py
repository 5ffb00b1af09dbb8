"""The figures of one arm by groups of its test rows."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from cxremb.errors import CxrembError
from cxremb.grouping import FINDING, MISSING_SECTION
from cxremb.reporting.canvas import Drawing
from cxremb.reporting.forests import ROOM, ROW, Bar, estimate, forest
from cxremb.reporting.parts import Section
from cxremb.reporting.subject import ReportSubject, ShownArm, marks_of
from cxremb.stratify import Strata, stratify
from cxremb.table import Table

BY = ("view", MISSING_SECTION, FINDING)


def groups_section(subject: ReportSubject) -> Section | None:
    """AUROC, accuracy, recall and specificity of the reference, else of the first arm, for each group."""
    arm = next((one for one in subject.shown if one.row.arm == subject.result.reference), subject.shown[0])
    drawings, tables, lines = [], [], []
    for by in BY:
        try:
            found = stratify(subject.dataset, arm.run, by)
        except CxrembError as error:  # a table that is gone, a set without findings, several labels
            lines.append(f"By {by}: not made, {error}")
            continue
        if len(found.strata.groups) < 2:
            lines.append(f"By {by}: all rows are in one group")
            continue
        drawings.append(drawing_of(arm, by, found.strata, simulated=subject.result.simulated))
        tables.append(table_of_groups(found.strata, by))
        lines += [f"By {by}: {note}" for note in (*worst_of(found.strata), *found.missed.words, *found.notes)]
    intro = f"Test rows of {arm.title}, all that the run judges. More: `cxremb evaluate {arm.run.run_id} --by SQL`."
    return Section("Groups", intro, tables=tables, drawings=drawings, lines=lines)


def drawing_of(arm: ShownArm, by: str, strata: Strata, *, simulated: bool) -> Drawing:
    """The AUROC of each group."""
    bars = []
    for group in strata.groups:
        figure = group.metrics["auroc"]
        bars.append(Bar(f"{group.name} ({group.rows:,})", figure.value, figure.low, figure.high))

    def paint(figure: Figure) -> None:
        forest(figure.subplots(), bars, f"AUROC of {arm.title} by {by} (rows), zoomed")

    caption = f"AUROC of {arm.title} by {by}, with 95% intervals over patients where a group is large enough."
    spoken = "; ".join(f"{bar.name} {estimate(bar)}" for bar in bars)
    name = f"groups-{by.replace(' ', '-')}"
    height = len(bars) * ROW + ROOM + 0.2
    return Drawing(name, f"Groups by {by}", caption, spoken, height, paint, marks_of([arm.run], simulated=simulated))


def table_of_groups(strata: Strata, by: str) -> Table:
    """A line for each group, largest first."""
    names = list(strata.groups[0].metrics)
    rows = [
        [
            group.name,
            f"{group.rows:,}",
            f"{group.positives:,}",
            *(estimate(Bar("", one.value, one.low, one.high)) for one in group.metrics.values()),
        ]
        for group in strata.groups
    ]
    return Table([by, "rows", "positive", *names], rows)


def worst_of(strata: Strata) -> Iterator[str]:
    """Which group is the worst, in words."""
    if strata.worst is not None:
        figure = strata.worst.metrics[strata.by]
        value = estimate(Bar("", figure.value, figure.low, figure.high))
        yield f"worst {strata.by}: {strata.worst.name}, {value}; the worst of several is partly chance"
