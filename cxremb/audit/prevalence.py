"""Whether the parts of each fold hold the labels alike, patients counted once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxremb.audit.finding import EXAMPLES, FAIL, LABELS, NOTE, OK, Finding, skipped
from cxremb.audit.subject import PARTS, TEST, TRAIN, VAL, Fold, Items, Numbers, Subject
from cxremb.evaluation.bootstrap import FEWEST

EXPECTED = 5  # positives and negatives that a part must expect, for chi-square to hold (Cochran 1954)
DOUBT = 0.05  # after Holm, over every fold and label
FEW = "An interval needs ten of each; below that a figure of this part says little."
NONE = "A part without a class trains nothing or measures nothing."
UNLIKE = "The parts are not samples of one population: accuracy and thresholds do not carry over from one to another."


@dataclass(frozen=True)
class Cell:
    """One label in one fold. table: (parts, 3) part, rows with a label, positives."""

    label: str
    table: NDArray[np.float64]
    design: float  # how much more variance there is than if every row were another patient


def check_prevalence(subject: Subject) -> list[Finding]:
    """The smallest class of any part, and a test of whether parts differ in prevalence by more than chance."""
    cells = [
        cell
        for fold in subject.rows.folds
        for column, label in enumerate(subject.labels.names)
        if len((cell := count(subject.rows, fold, column, label)).table)
    ]
    if not cells:
        return [skipped(LABELS, "prevalence per part", "no part has a label")]
    return [smallest_class(cells), imbalance(cells)]


def count(items: Items, fold: Fold, column: int, label: str) -> Cell:
    """The cell of one label in one fold; missing labels do not count.

    The design effect adds up the residuals of each patient in each part before it squares them (Rao & Scott 1981):
    forty films of one patient are then not forty patients. With one row a patient it is 1; it is never taken for less.
    """
    y = items.y[:, column]
    used = np.flatnonzero(np.isfinite(y) & (fold.parts > 0))
    y, parts = y[used], fold.parts[used]
    table = [(part, (parts == part).sum(), y[parts == part].sum()) for part in (TRAIN, VAL, TEST)]
    residual = y - y.mean() if len(y) else y
    together = np.unique(items.patients[used] * len(PARTS) + parts, return_inverse=True)[1]
    whole = (residual**2).sum()
    design = (np.bincount(together, residual) ** 2).sum() / whole if whole else 1.0
    return Cell(label, np.array([row for row in table if row[1]], dtype=np.float64), max(1.0, float(design)))


def smallest_class(cells: Sequence[Cell]) -> Finding:
    """The fewest positives or negatives that any part of any fold has, over all labels."""
    few = [
        (int(least), f"{cell.label}: {least:.0f} {which} in {PARTS[int(part)]}")
        for cell in cells
        for part, n, ones in cell.table
        for least, which in ((ones, "positives"), (n - ones, "negatives"))
    ]
    few.sort()
    least = few[0][0]
    status = FAIL if least == 0 else NOTE if least < FEWEST else OK
    many = sum(count < FEWEST for count, _ in few)
    told = f"; {many} of {len(few)} classes have fewer than {FEWEST}" if many else ""
    return Finding(
        LABELS,
        "smallest class",
        f"fewest in any part: {few[0][1]}{told}",
        float(least),
        f"{least:,}",
        status,
        "" if status == OK else NONE if status == FAIL else FEW,
        "" if status == OK else "choose another split or label set, or pool the folds; report intervals",
        tuple(dict.fromkeys(text for count, text in few if count < FEWEST))[:EXAMPLES],
    )


def imbalance(cells: Sequence[Cell]) -> Finding:
    """Chi-square over the parts of each fold and label; p after Holm."""
    tested = [(cell, p_of(cell)) for cell in cells]
    known = [(cell, p) for cell, p in tested if p is not None]
    if not known:
        return skipped(LABELS, "prevalence per part", f"no part expects {EXPECTED} positives and {EXPECTED} negatives")
    adjusted = holm(np.array([p for _, p in known]))
    worst = int(adjusted.argmin())
    differ = np.flatnonzero(adjusted < DOUBT)
    status = NOTE if len(differ) else OK
    told = f" for {known[worst][0].label}" if len({cell.label for cell in cells}) > 1 else ""
    left = f"; {len(tested) - len(known)} too small to test" if len(known) < len(tested) else ""
    return Finding(
        LABELS,
        "prevalence per part",
        f"positives{told}: {in_words(known[worst][0])}; {len(differ)} of {len(known)} tests differ (Holm){left}",
        float(adjusted[worst]),
        f"p {adjusted[worst]:.3f}" if adjusted[worst] >= DOUBT / 50 else "p <.001",
        status,
        UNLIKE if differ.size else "",
        "choose thresholds on val of the same kind, compare AUROC, and print each part's prevalence"
        if differ.size
        else "",
        tuple(f"{known[row][0].label}: {in_words(known[row][0])}" for row in differ[:EXAMPLES]),
    )


def in_words(cell: Cell) -> str:
    """The share of positives in each part."""
    return ", ".join(f"{PARTS[int(part)]} {ones / n:.1%}" for part, n, ones in cell.table)


def p_of(cell: Cell) -> float | None:
    """Pearson's chi-square over the design effect; None where a part is too small or there is only one."""
    from scipy.stats import chi2

    _, n, ones = cell.table.T
    share = ones.sum() / n.sum()
    if len(n) < 2 or n.min() * min(share, 1 - share) < EXPECTED:
        return None
    statistic = (n * (ones / n - share) ** 2).sum() / (share * (1 - share) * cell.design)
    return float(chi2.sf(statistic, len(n) - 1))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,) adjusted p (Holm 1979): valid whatever the tests have in common."""
    order: Numbers = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted
