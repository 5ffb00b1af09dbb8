"""Checks of the labels: whether the parts of each fold hold them alike, and which of them may be wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.audit.subject import (
    FAIL,
    LABELS,
    NOTE,
    OK,
    PART_CODES,
    TEST,
    TRAIN,
    VAL,
    AuditSubject,
    Finding,
    Fold,
    Items,
    skipped,
)
from cxremb.evaluation.bootstrap import FEWEST
from cxremb.evaluation.significance import holm
from cxremb.splits import report_texts
from cxremb.training.runs import Run, list_runs
from cxremb.types import EXAMPLES

EXPECTED = 5  # positives and negatives that a part must expect, for chi-square to hold (Cochran 1954)
DOUBT = 0.05  # after Holm, over every fold and label
FEW = "An interval needs ten of each; below that a figure of this part says little."
NONE = "A part without a class trains nothing or measures nothing."
UNLIKE = "The parts are not samples of one population: accuracy and thresholds do not carry over from one to another."
NOT_INDEXED = "No Indexing"
INSTALL = 'pip install "cxremb[audit]"'
TEXT_START = 60  # characters of a report that are shown: enough to recognise it
FEWEST_TO_DOUBT = 10  # rows of each class below which confident learning has no thresholds to speak of


@dataclass(frozen=True)
class LabelCounts:
    """One label in one fold. table: (parts, 3) part, rows with a label, positives."""

    label: str
    table: NDArray[np.float64]
    design: float  # how much more variance there is than if every row were another patient


def check_labels(subject: AuditSubject) -> list[Finding]:
    """Findings on the labels of each part, on studies without indexing, and on what confident learning suspects."""
    return [*check_prevalence(subject), not_indexed(subject), suspected(subject)]


def check_prevalence(subject: AuditSubject) -> list[Finding]:
    """The smallest class of any part, and a test of whether parts differ in prevalence by more than chance."""
    counts = [
        one
        for fold in subject.rows.folds
        for column, label in enumerate(subject.labels.names)
        if len((one := count(subject.rows, fold, column, label=label)).table)
    ]
    if not counts:
        return [skipped(LABELS, "prevalence per part", "no part has a label")]
    return [smallest_class(counts), imbalance(counts)]


def count(items: Items, fold: Fold, column: int, *, label: str) -> LabelCounts:
    """The one of one label in one fold; missing labels do not count.

    The design effect adds up the residuals of each patient in each part before it squares them (Rao & Scott 1981):
    forty films of one patient are then not forty patients. With one row a patient it is 1; it is never taken for less.
    """
    y = items.y[:, column]
    used = np.flatnonzero(np.isfinite(y) & (fold.parts > 0))
    y, parts = y[used], fold.parts[used]
    table = [(part, (parts == part).sum(), y[parts == part].sum()) for part in (TRAIN, VAL, TEST)]
    residual = y - y.mean() if len(y) else y
    together = np.unique(items.patients[used] * len(PART_CODES) + parts, return_inverse=True)[1]
    whole = (residual**2).sum()
    design = (np.bincount(together, residual) ** 2).sum() / whole if whole else 1.0
    return LabelCounts(label, np.array([row for row in table if row[1]], dtype=np.float64), max(1.0, float(design)))


def smallest_class(counts: Sequence[LabelCounts]) -> Finding:
    """The fewest positives or negatives that any part of any fold has, over all labels."""
    few = [
        (int(least), f"{one.label}: {least:.0f} {which} in {PART_CODES[int(part)]}")
        for one in counts
        for part, n, ones in one.table
        for least, which in ((ones, "positives"), (n - ones, "negatives"))
    ]
    few.sort()
    least = few[0][0]
    status = FAIL if least == 0 else NOTE if least < FEWEST else OK
    many = sum(n < FEWEST for n, _ in few)
    more = f"; {many} of {len(few)} counts, one per class, part and fold, are below {FEWEST}" if many else ""
    return Finding(
        LABELS,
        "smallest class",
        f"fewest in any part: {few[0][1]}{more}",
        float(least),
        f"{least:,}",
        status,
        "" if status == OK else NONE if status == FAIL else FEW,
        "" if status == OK else "choose another split or label set, or pool the folds; report intervals",
        tuple(dict.fromkeys(text for n, text in few if n < FEWEST))[:EXAMPLES],
    )


def imbalance(counts: Sequence[LabelCounts]) -> Finding:
    """Chi-square over the parts of each fold and label; p after Holm."""
    tested = [(one, p_of(one)) for one in counts]
    known = [(one, p) for one, p in tested if p is not None]
    if not known:
        few = f"too few studies: a test needs {EXPECTED} positives and {EXPECTED} negatives to be expected in each part"
        return skipped(LABELS, "prevalence per part", few)
    adjusted = np.array(holm([p for _, p in known]), dtype=np.float64)
    worst = int(adjusted.argmin())
    differ = np.flatnonzero(adjusted < DOUBT)
    status = NOTE if len(differ) else OK
    which = f" for {known[worst][0].label}" if len({one.label for one in counts}) > 1 else ""
    rest = f"; {len(tested) - len(known)} too small to test" if len(known) < len(tested) else ""
    return Finding(
        LABELS,
        "prevalence per part",
        f"positives{which}: {in_words(known[worst][0])}; {len(differ)} of {len(known)} tests differ (Holm){rest}",
        float(adjusted[worst]),
        f"p {adjusted[worst]:.3f}" if adjusted[worst] >= DOUBT / 50 else "p <.001",
        status,
        UNLIKE if differ.size else "",
        "choose thresholds on val of the same kind, compare AUROC, and print each part's prevalence"
        if differ.size
        else "",
        tuple(f"{known[row][0].label}: {in_words(known[row][0])}" for row in differ[:EXAMPLES]),
    )


def in_words(one: LabelCounts) -> str:
    """The share of positives in each part."""
    return ", ".join(f"{PART_CODES[int(part)]} {ones / n:.1%}" for part, n, ones in one.table)


def p_of(one: LabelCounts) -> float | None:
    """Pearson's chi-square over the design effect; None where a part is too small or there is only one."""
    from scipy.stats import chi2

    _, n, ones = one.table.T
    share = ones.sum() / n.sum()
    if len(n) < 2 or n.min() * min(share, 1 - share) < EXPECTED:
        return None
    statistic = (n * (ones / n - share) ** 2).sum() / (share * (1 - share) * one.design)
    return float(chi2.sf(statistic, len(n) - 1))


def not_indexed(subject: AuditSubject) -> Finding:
    """Labelled studies whose only term is that nobody indexed them."""
    name = "not indexed"
    rows = subject.dataset.labels
    terms = [found for found, about in subject.dataset.descriptor["label_sets"].items() if about["task"] == "terms"]
    if not terms:
        return skipped(LABELS, name, "the collection lists no terms")
    marked = rows.filter(pc.and_(pc.is_in(rows["label_set"], pa.array(terms)), pc.equal(rows["label"], NOT_INDEXED)))
    studies = marked["study_id"].unique().to_pylist()
    labelled = set(subject.labels.study_ids)
    found = [study for study in studies if study in labelled]
    return Finding(
        LABELS,
        name,
        f'labelled studies with the term "{NOT_INDEXED}": {len(found):,} of {len(labelled):,}',
        float(len(found)),
        f"{len(found):,}",
        NOTE if found else OK,
        "Nobody coded these reports, so their label is a default and not a finding." if found else "",
        "use a label set without them, such as normal_abnormal_clean" if found else "",
        found[:EXAMPLES],
    )


def suspected(subject: AuditSubject) -> Finding:
    """Studies whose label the newest run of this label set contradicts, by confident learning (Northcutt 2021)."""
    name = "suspected labels"
    label_set = subject.labels.label_set
    runs = (run for run in list_runs(subject.dataset) if run.record.label_set == label_set)
    others = ("is_control", "is_zero_shot", "is_external")
    run = next((run for run in runs if not any(getattr(run.record, name) for name in others)), None)
    if run is None:
        return skipped(
            LABELS, name, f"no run predicts {label_set} yet", remedy="`cxremb train image`, or `cxremb ablate`"
        )
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return skipped(LABELS, name, "confident learning needs cleanlab", remedy=INSTALL)
    issues: dict[tuple[str, str], float] = {}
    judged = 0
    for label, y, chance, studies in out_of_fold(run):
        if min((y == 0).sum(), (y == 1).sum()) < FEWEST_TO_DOUBT:
            continue
        judged = max(judged, len(y))
        both = np.column_stack([1 - chance, chance])
        ranked = find_label_issues(y, both, return_indices_ranked_by="self_confidence", n_jobs=1)
        for row in ranked.tolist():
            doubt = float(both[row, y[row]])  # what the run gives the label that is written
            issues[studies[row], label] = min(doubt, issues.get((studies[row], label), 1.0))
    if not judged:
        return skipped(LABELS, name, f"run {run.run_id} has fewer than {FEWEST_TO_DOUBT} test rows of each class")
    return in_doubt(subject, run, issues, judged=judged)


def out_of_fold(run: Run) -> list[tuple[str, NDArray[np.int64], NDArray[np.float64], list[str]]]:
    """(label, y, chance, study ids) of each label: test predictions, the mean over a study's rows."""
    test, found = run.predictions(), []
    for label in test.labels:
        own = test.of_label(label)
        studies, which = np.unique(own.studies, return_inverse=True)
        rows = np.bincount(which)
        y, chance = (np.bincount(which, weights=column[:, 0]) / rows for column in (own.y, own.prob))
        found.append((label, np.round(y).astype(np.int64), chance, studies.tolist()))
    return found


def in_doubt(subject: AuditSubject, run: Run, issues: Mapping[tuple[str, str], float], *, judged: int) -> Finding:
    """The finding, with the ten labels that the run believes least and how their reports begin."""
    texts = report_texts(subject.dataset.reports) if issues else {}
    ranked = sorted(issues, key=lambda key: (issues[key], key))[:EXAMPLES]
    examples = [
        f"{study} ({label}, given {issues[study, label]:.2f}): {texts.get(study, '').strip()[:TEXT_START]}".rstrip(": ")
        for study, label in ranked
    ]
    arm = f"{run.arm} run {run.run_id}"
    return Finding(
        LABELS,
        "suspected labels",
        f"labels that confident learning doubts: {len(issues):,} of {judged:,} studies ({arm})",
        float(len(issues)),
        f"{len(issues):,}",
        NOTE if issues else OK,
        "A head that never saw these studies is sure of the other label: the label or the head is wrong."
        if issues
        else "",
        "read the examples; mend wrong labels with `cxremb data label NAME --file TABLE`" if issues else "",
        examples,
    )
