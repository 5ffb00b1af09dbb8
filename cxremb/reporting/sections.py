"""The sections of a report, in the order of the page: what each shows, in words, figures and tables."""

from collections.abc import Callable, Iterator, Sequence

from cxremb.ablation import Ablation
from cxremb.ablation.headline import table_of
from cxremb.reporting.beside import audit_section, checklist_section, data_section, provenance_section
from cxremb.reporting.cases import cases_section
from cxremb.reporting.epochs import CURVES, comparison_drawing, epochs_drawing, learning_drawing
from cxremb.reporting.forests import arms_drawing, bar_of, differences_drawing, estimate
from cxremb.reporting.groups import groups_section
from cxremb.reporting.parts import Section
from cxremb.reporting.rankings import confusion_drawing, precision_recall_drawing, roc_drawing
from cxremb.reporting.scores import reliability_drawing, scores_drawing
from cxremb.reporting.subject import ReportSubject
from cxremb.table import Table
from cxremb.types import Progress, unwatched

RESEARCH = "For research on methods. Nothing here has been shown to help in the care of a patient."
SEVERAL = "Of several labels or classes this figure is not drawn; `cxremb evaluate RUN` has each."


def sections(subject: ReportSubject, progress: Progress = unwatched) -> list[Section]:
    """Every section that has something to show."""
    makers: Sequence[Callable[[ReportSubject], Section | None]] = (
        arms_section,
        caveats_section,
        curves_section,
        probabilities_section,
        training_section,
        groups_section,
        controls_section,
        audit_section,
        data_section,
        checklist_section,
        cases_section,
        provenance_section,
    )
    made = [make(subject) for make in progress(makers, len(makers), "computing sections")]
    return [section for section in made if section is not None]


def arms_section(subject: ReportSubject) -> Section:
    """The table with its arms, what they differ by, and their figures side by side."""
    result = subject.result
    drawings = (arms_drawing(subject), differences_drawing(subject), comparison_drawing(subject))
    return Section(
        "Arms compared",
        f"{result.title}. Arms: {', '.join(row.title for row in result.rows)}.",
        tables=[table_of(result, whole=True)],
        drawings=[one for one in drawings if one is not None],
        lines=[*tied(result), result.brackets],
    )


def tied(result: Ablation) -> Iterator[str]:
    """Which arms are not told apart from the best."""
    best = [row.title for row in result.rows if row.may_be_best]
    if best:
        yield f"Not told apart from the best: {', '.join(best)}" if len(best) > 1 else f"The best for sure: {best[0]}"


def caveats_section(subject: ReportSubject) -> Section:
    """All that stands below the table of `ablate`."""
    shown = {subject.result.title, subject.result.brackets}
    return Section("Read this with it", lines=[*(one for one in subject.result.caption if one not in shown), RESEARCH])


def curves_section(subject: ReportSubject) -> Section | None:
    """How the models rank, and what they call."""
    found = [roc_drawing(subject), precision_recall_drawing(subject), confusion_drawing(subject)]
    drawings = [one for one in found if one is not None]
    lines = [] if found[2] else ["Confusion matrices: " + SEVERAL]
    return Section("Ranking and calling", drawings=drawings, lines=lines) if drawings else None


def probabilities_section(subject: ReportSubject) -> Section:
    """Whether the probabilities hold."""
    found = [one for one in (reliability_drawing(subject), scores_drawing(subject)) if one is not None]
    return Section("Probabilities", drawings=found, lines=[] if found else ["Reliability and scores: " + SEVERAL])


def training_section(subject: ReportSubject) -> Section | None:
    """How the models came about."""
    simulated = subject.result.simulated
    found = [epochs_drawing(arm, simulated=simulated) for arm in subject.shown]
    curves = (learning_drawing(subject, axis) for axis in CURVES)
    drawings = [one for one in (*found, *curves) if one is not None]
    lines = ["Every epoch of every model is in `history.csv` of the run's folder."]
    return Section("Training", drawings=drawings, lines=lines) if drawings else None


def controls_section(subject: ReportSubject) -> Section | None:
    """What answers without what the arms have."""
    result = subject.result
    if not result.controls:
        return None
    rows = [
        [one.name, estimate(bar_of("", one.row.auroc, None)) if one.row else one.in_its_place, one.reason or one.means]
        for one in result.controls
    ]
    return Section(
        "Controls",
        "The same rows and folds answered from shuffled labels or vectors, or without a model: none of them may win.",
        tables=[Table(["control", "AUROC", "what it is"], rows, prose=[2])],
        lines=result.controls_in_words,
    )
