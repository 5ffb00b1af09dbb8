"""Labels that may be wrong: studies nobody indexed, and those that a run's own predictions contradict."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.audit.finding import EXAMPLES, LABELS, NOTE, OK, Finding, skipped
from cxremb.audit.subject import Subject
from cxremb.splits import report_texts
from cxremb.training.runs import Run, list_runs

NOT_INDEXED = "No Indexing"
INSTALL = 'pip install "cxremb[audit]"'
TEXT_START = 60  # characters of a report that are shown: enough to recognise it
FEWEST = 10  # rows of each class below which confident learning has no thresholds to speak of


def check_noise(subject: Subject) -> list[Finding]:
    """Two findings: studies without indexing, and what confident learning suspects."""
    return [not_indexed(subject), suspected(subject)]


def not_indexed(subject: Subject) -> Finding:
    """Labelled studies whose only term is that nobody indexed them."""
    name = "not indexed"
    rows = subject.dataset.labels
    terms = [found for found, told in subject.dataset.descriptor["label_sets"].items() if told["task"] == "terms"]
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


def suspected(subject: Subject) -> Finding:
    """Studies whose label the newest run of this label set contradicts, by confident learning (Northcutt 2021)."""
    name = "suspected labels"
    label_set = subject.labels.label_set
    runs = (run for run in list_runs(subject.dataset) if run.record.get("label_set") == label_set)
    run = next((run for run in runs if not run.is_control), None)
    if run is None:
        return skipped(LABELS, name, f"no run predicts {label_set} yet", "cxremb train image, or cxremb ablate")
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return skipped(LABELS, name, "confident learning needs cleanlab", INSTALL)
    issues: dict[tuple[str, str], float] = {}
    judged = 0
    for label, y, chance, studies in out_of_fold(run):
        if min((y == 0).sum(), (y == 1).sum()) < FEWEST:
            continue
        judged = max(judged, len(y))
        both = np.column_stack([1 - chance, chance])
        ranked = find_label_issues(y, both, return_indices_ranked_by="self_confidence", n_jobs=1)
        for row in ranked.tolist():
            doubt = float(both[row, y[row]])  # what the run gives the label that is written
            issues[studies[row], label] = min(doubt, issues.get((studies[row], label), 1.0))
    if not judged:
        return skipped(LABELS, name, f"run {run.run_id} has fewer than {FEWEST} test rows of each class")
    return in_doubt(subject, run, issues, judged)


def out_of_fold(run: Run) -> list[tuple[str, NDArray[np.int64], NDArray[np.float64], list[str]]]:
    """(label, y, chance, study ids) of each label: test predictions, the mean over a study's rows."""
    table = run.predictions
    table = table.filter(pc.equal(table["part"], "test"))
    grouped = table.group_by(["label", "study_id"]).aggregate([("y_true", "mean"), ("y_prob", "mean")])
    found = []
    for label in grouped["label"].unique().to_pylist():
        rows = grouped.filter(pc.and_(pc.equal(grouped["label"], label), pc.is_finite(grouped["y_true_mean"])))
        y = np.round(rows["y_true_mean"].to_numpy()).astype(np.int64)
        found.append((label, y, rows["y_prob_mean"].to_numpy(), rows["study_id"].to_pylist()))
    return found


def in_doubt(subject: Subject, run: Run, issues: Mapping[tuple[str, str], float], judged: int) -> Finding:
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
        "read the examples; if labels are wrong, mend them with `cxremb data label`" if issues else "",
        examples,
    )
