"""Whether the parts of each fold hold the labels alike, patients counted once."""

import numpy as np
from numpy.typing import NDArray

from cxremb.audit.finding import EXAMPLES, FAIL, LABELS, NOTE, OK, Finding, skipped
from cxremb.audit.subject import PARTS, TEST, TRAIN, VAL, Fold, Items, Numbers, Subject
from cxremb.evaluate.bootstrap import FEWEST

EXPECTED = 5  # positives and negatives that a part must expect, for chi-square to hold (Cochran 1954)
DOUBT = 0.05  # after Holm, over every fold and label
FEW = "An interval needs ten of each; below that a figure of this part says little."
NONE = "A part without a class trains nothing or measures nothing."
UNLIKE = "The parts are not samples of one population: accuracy and thresholds do not carry over from one to another."


def check_prevalence(subject: Subject) -> list[Finding]:
    """The smallest class of any part, and a test of whether parts differ in prevalence by more than chance."""
    rows = subject.rows
    cells = [
        (fold, column, table)
        for fold in rows.folds
        for column in range(rows.y.shape[1])
        if len(table := shares(rows, fold, column))
    ]
    if not cells:
        name = "prevalence"
        return [skipped(LABELS, name, "no part has a label")]
    return [smallest_class(subject, cells), imbalance(subject, cells)]


Cell = tuple[Fold, int, NDArray[np.float64]]


def shares(items: Items, fold: Fold, column: int) -> NDArray[np.float64]:
    """(parts, 4): part, rows with a label, positives, cluster-robust variance of the share under one prevalence.

    Without clusters the variance is p (1 - p) / n, and the test below is Pearson's. With them rows of one patient in
    one part add up first (Liang & Zeger 1986), so that forty films of one patient do not count as forty patients.
    """
    y = items.y[:, column]
    used = np.isfinite(y) & (fold.parts > 0)
    if not used.any():
        return np.empty((0, 4))
    residual = np.where(used, y - y[used].mean(), 0.0)
    rows = []
    for part in (TRAIN, VAL, TEST):
        mine = np.flatnonzero(used & (fold.parts == part))
        if len(mine):
            patients = np.unique(items.patients[mine], return_inverse=True)[1]
            spread = (np.bincount(patients, residual[mine]) ** 2).sum() / len(mine) ** 2
            rows.append((part, len(mine), y[mine].sum(), spread))
    return np.array(rows)


def smallest_class(subject: Subject, cells: list[Cell]) -> Finding:
    """The fewest positives or negatives that any part of any fold has, over all labels."""
    few = [
        (int(least), f"{subject.labels.names[column]}: {least:.0f} {which} in {PARTS[int(part)]}")
        for _, column, table in cells
        for part, n, ones, _ in table
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


def imbalance(subject: Subject, cells: list[Cell]) -> Finding:
    """Chi-square over the parts of each fold and label; p after Holm."""
    tested = [(cell, p_of(cell[2])) for cell in cells]
    known = [(cell, p) for cell, p in tested if p is not None]
    if not known:
        return skipped(LABELS, "prevalence per part", f"no part expects {EXPECTED} positives and {EXPECTED} negatives")
    adjusted = holm(np.array([p for _, p in known]))
    worst = int(adjusted.argmin())
    differ = np.flatnonzero(adjusted < DOUBT)
    status = NOTE if len(differ) else OK
    told = " for " + subject.labels.names[known[worst][0][1]] if len(subject.labels.names) > 1 else ""
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
        tuple(f"{subject.labels.names[known[row][0][1]]}: {in_words(known[row][0])}" for row in differ[:EXAMPLES]),
    )


def in_words(cell: Cell) -> str:
    """The share of positives in each part."""
    return ", ".join(f"{PARTS[int(part)]} {ones / n:.1%}" for part, n, ones, _ in cell[2])


def p_of(table: NDArray[np.float64]) -> float | None:
    """The p of one prevalence in all parts, None where a part is too small or there is only one."""
    from scipy.stats import chi2

    _, n, ones, spread = table.T
    share = ones.sum() / n.sum()
    if len(n) < 2 or (n * min(share, 1 - share)).min() < EXPECTED or not (spread > 0).all():
        return None
    statistic = ((ones / n - share) ** 2 / spread).sum()
    return float(chi2.sf(statistic, len(n) - 1))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,) adjusted p (Holm 1979): valid whatever the tests have in common."""
    order: Numbers = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted
