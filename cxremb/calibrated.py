"""Whether a run's probabilities hold, and thresholds to use it at: chosen on validation rows, judged on test rows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxremb.errors import DataError
from cxremb.evaluation.arrays import BINARY, MULTICLASS, Reals, Rows
from cxremb.evaluation.bootstrap import Interval, Resampling, watched
from cxremb.evaluation.calibrate import Calibration
from cxremb.evaluation.decision import AtPrevalence, CurvePoint, at_prevalence, risk_of, shares
from cxremb.evaluation.reliability import logit, reliability_table, sigmoid
from cxremb.evaluation.shares import share_of
from cxremb.predictions import Predictions
from cxremb.predictions.agreed import Agreement, agreement_of
from cxremb.predictions.chosen import Chosen, at_chosen, at_given, decision_curve
from cxremb.store.files import replace_table, unwritable
from cxremb.tabular import Tabular
from cxremb.training.runs import Run
from cxremb.types import Progress, unwatched

RULES: Mapping[str, tuple[str, float]] = {"Youden": ("youden", 0.0), "aimed at .95": ("sensitivity", 0.95)}
USED = ("recall", "specificity", "precision", "f1")
CHOSEN_TWICE = 2  # passes over all resamples for a rule: its threshold held, and chosen again in each
GAPS = ("ece", "loss", "brier")
ENOUGH = 40  # validation rows: a temperature of fewer worsens the log loss as often as it helps
AT_HALF, CURVE = "0.5", "decision curve"  # rules in the rows of `Decisions`
AS_IS, CALIBRATED, MOVED = "as it is", "temperature", "platt"  # the latter two are methods of `evaluation.calibrate`
DECISIONS = pa.schema(
    [
        ("rule", pa.string()),
        ("risk", pa.float64()),  # the threshold as a risk at the stated prevalence
        ("metric", pa.string()),
        *((name, pa.float64()) for name in ("value", "low", "high")),
    ]
)
RELIABILITY = pa.schema(
    [
        ("label", pa.string()),
        ("probability", pa.string()),  # AS_IS, or what was fitted: CALIBRATED or MOVED
        ("bin", pa.int32()),
        ("n", pa.int64()),
        *((name, pa.float64()) for name in ("low", "high", "predicted", "observed", "observed_low", "observed_high")),
    ]
)


@dataclass(frozen=True)
class Calibrated:
    """How far one label's probabilities are from what happens; each figure as it is and after the temperature."""

    label: str
    before: Mapping[str, float | None]  # `GAPS`, the mean over pools
    after: Mapping[str, float | None] | None
    agreement: Agreement  # as it is
    agreement_after: Agreement | None


@dataclass(frozen=True)
class ThresholdFigures:
    """A threshold of each model, chosen on val rows, and what it does to the test rows of all.

    In the intervals the thresholds are chosen again in each resample of the patients.
    """

    label: str
    rule: str
    thresholds: tuple[float, ...]
    figures: Mapping[str, Interval]
    positives: tuple[int, ...] = ()  # patients with a positive row among those that each was chosen on
    expected: float | None = None  # where a sensitivity is aimed at: what it delivers on average, by these
    reason: str | None = None  # why there is none


@dataclass(frozen=True)
class CalibrationReport:
    """All that `cxremb evaluate` says of a run besides its figures."""

    run_id: str
    temperatures: tuple[float, ...]  # of each model
    reason: str | None  # why there is none
    fitted_on: tuple[int, ...]  # validation rows of each
    labels: tuple[Calibrated, ...]
    thresholds: tuple[ThresholdFigures, ...]
    reliability: pa.Table  # columns `RELIABILITY`
    offsets: tuple[float, ...] = ()  # of each model, added once divided: of scores that have no zero of their own


@dataclass(frozen=True, repr=False)
class RunEvaluation(Tabular):
    """All test figures of a run, and whether its probabilities hold."""

    run: Run
    calibration: CalibrationReport
    stored: str  # where the reliability table lies

    def to_arrow(self) -> pa.Table:
        """A row for each label and metric: the figure and its interval."""
        rows = self.run.metrics
        return rows.filter(pc.equal(rows["part"], "test")).select(["label", "metric", "value", "low", "high"])

    def heading(self) -> str:
        """Which run, in one line."""
        return f"run {self.run.run_id}, {self.run.arm}: test figures"


@dataclass(frozen=True, repr=False)
class Decisions(Tabular):
    """What the thresholds of a run do where a stated share of patients has the finding, and its decision curve."""

    run_id: str
    label: str
    prevalence: float
    observed: float  # the prevalence of the test rows
    at: tuple[AtPrevalence, ...]
    curve: tuple[CurvePoint, ...]  # at risks of 1% to 99%
    reasons: tuple[str, ...] = ()  # why a rule gives no threshold, or nothing bears an interval
    caveats: tuple[str, ...] = ()

    def to_arrow(self) -> pa.Table:
        """A row for each figure at each threshold, then those of the curve: rule, risk, metric, value, low, high."""
        rows = [
            {"rule": one.rule, "risk": one.risk, "metric": metric, **ends(figure)}
            for one in self.at
            for metric, figure in one.figures.items()
        ]
        for point in self.curve:
            alone = {name: getattr(point, name) for name in ("recall", "specificity", "treat_all")}
            found = {"net_benefit": point.model, "gain": point.gain}
            found |= {name: Interval(value, None, None) for name, value in alone.items()}
            rows += [{"rule": CURVE, "risk": point.risk, "metric": k, **ends(v)} for k, v in found.items()]
        return pa.Table.from_pylist(rows, schema=DECISIONS)

    def heading(self) -> str:
        """Of what, in one line."""
        return f"run {self.run_id}, label {self.label}: what thresholds do at a prevalence of {self.prevalence:g}"


def ends(figure: Interval) -> dict[str, float | None]:
    """A figure and its interval."""
    return {"value": figure.value, "low": figure.low, "high": figure.high}


def decisions(run: Run, prevalence: float, *, label: str | None = None, progress: Progress = unwatched) -> Decisions:
    """Predictive values, likelihood ratios, flags and net benefit of a run's thresholds at a prevalence.

    The sensitivity and specificity are taken to be those of the test rows, whatever the prevalence; a probability
    stands for another risk there (`decision.limits`). Raises `DataError` for what is no share, for classes that exclude
    each other, and as `Predictions.of_label`.
    """
    if not 0 < prevalence < 1:
        raise DataError(f"a prevalence of {prevalence:g}", hint="give a share above 0 and below 1, such as 0.05")
    if run.record.task == MULTICLASS:
        raise DataError("the answer is the likeliest of several classes: no threshold", hint="take a binary label set")
    val, test = run.predictions("val").of_label(label), run.predictions().of_label(label)
    observed = float(test.y.mean()) if len(test.items) else 0.0
    if not 0 < observed < 1:
        raise DataError("the test rows have one class", hint="use more rows, or another label")
    reasons = []
    with watched(progress, "thresholds and a curve for other patients", 2 + CHOSEN_TWICE * len(RULES)) as how:
        found = {AT_HALF: at_given(test, how)}
        for rule, (name, floor) in RULES.items():
            try:
                found[rule] = at_chosen(test, val, name, floor=floor, resampling=how)
            except DataError as error:
                reasons.append(f"no threshold ({rule}): {error}")
        curve = decision_curve(test, prevalence, observed=observed, resampling=how)
    rows = [at_one(rule, one, prevalence=prevalence, observed=observed) for rule, one in found.items()]
    if reason := test.no_interval():
        reasons.append(f"no interval: {reason}")
        rows = [replace(one, figures={k: bare(v) for k, v in one.figures.items()}) for one in rows]
        curve = [replace(one, model=bare(one.model), gain=bare(one.gain)) for one in curve]
    caveats = tuple(run.caveats)
    return Decisions(
        run.run_id, test.labels[0], prevalence, observed, tuple(rows), tuple(curve), tuple(reasons), caveats
    )


def at_one(rule: str, found: Chosen, *, prevalence: float, observed: float) -> AtPrevalence:
    """One rule of `decisions`."""
    threshold = float(sigmoid(logit(np.array(found.thresholds)).mean()))
    risk = risk_of(threshold, observed, prevalence)
    return AtPrevalence(rule, threshold, risk, at_prevalence(found.redrawn, prevalence, risk))


def bare(figure: Interval) -> Interval:
    """The figure alone."""
    return Interval(figure.value, None, None, reason=figure.reason)


def evaluate_run(run: Run, progress: Progress = unwatched) -> RunEvaluation:
    """All figures of a run; its reliability table is written into its folder now."""
    times = CHOSEN_TWICE * len(RULES) * len(run.record.labels)
    with watched(progress, "thresholds for other patients", times) as how:
        report = calibration_report(run, how)
    return RunEvaluation(run, report, store_reliability(run, report))


def calibration_report(run: Run, resampling: Resampling | None = None) -> CalibrationReport:
    """Calibration before and after a temperature for each model, thresholds, and the rows of a reliability diagram.

    Of zero-shot scores of one label nothing says where yes begins: an offset is fitted beside it (Platt 1999).
    """
    method = MOVED if run.record.is_zero_shot and run.record.task == BINARY else CALIBRATED
    val, test = run.predictions("val"), run.predictions()
    after: Predictions | None = None
    fitted: tuple[Calibration, ...] = ()
    reason = None
    try:
        after, fitted = test.calibrated(val, method)
    except DataError as error:
        reason = str(error)
    labels = tuple(calibrated_label(label, test, after) for label in test.labels)
    names = test.labels if test.task != MULTICLASS else ()  # its answer is the likeliest class: there is no threshold
    chosen = tuple(
        at_threshold(val.of_label(name), test.of_label(name), rule, resampling=resampling)
        for name in names
        for rule in RULES
    )
    temperatures = tuple(one.temperature for one in fitted)
    rows = tuple(len(on.items) for _, on in test.with_own(val, AS_IS)) if fitted else ()
    offsets = tuple(one.intercept for one in fitted) if method == MOVED else ()
    table = diagram(test, after, method)
    return CalibrationReport(run.run_id, temperatures, reason, rows, labels, chosen, table, offsets)


def calibrated_label(label: str, test: Predictions, after: Predictions | None) -> Calibrated:
    """One label, as it is and after the temperature."""
    own = agreement_of(test.of_label(label))
    if after is None:
        return Calibrated(label, gaps(test, label), None, own, None)
    return Calibrated(label, gaps(test, label), gaps(after, label), own, agreement_of(after.of_label(label)))


def store_reliability(run: Run, found: CalibrationReport) -> str:
    """The path of `reliability.parquet` in the run's folder, written now. Raises `StoreError` if it cannot be."""
    path = run.folder / "reliability.parquet"
    try:
        return str(replace_table(path, found.reliability))
    except OSError as error:
        raise unwritable(path, error) from error


def gaps(test: Predictions, label: str) -> dict[str, float | None]:
    """`GAPS` of one label on its known test rows."""
    figures = test.of_label(label).figures()[label]
    return {name: figures[name] for name in GAPS}


def at_threshold(val: Predictions, test: Predictions, rule: str, *, resampling: Resampling | None) -> ThresholdFigures:
    """One label at thresholds chosen by one rule."""
    name, floor = RULES[rule]
    try:
        found = at_chosen(test, val, name, floor=floor, resampling=resampling)
    except DataError as error:
        return ThresholdFigures(test.labels[0], rule, (), {}, reason=str(error))
    figures = shares(found.redrawn, USED)
    if reason := test.no_interval():
        figures = {metric: replace(bare(one), reason=reason) for metric, one in figures.items()}
    positives = tuple(choice.positives for choice in found.choices)
    delivered = [choice.expected for choice in found.choices if choice.expected is not None]
    expected = sum(delivered) / len(delivered) if delivered else None
    return ThresholdFigures(test.labels[0], rule, found.thresholds, figures, positives, expected)


def band_of(y: Reals, patients: Rows) -> dict[str, float | None]:
    """The interval of the share of positives in a bin: Wilson's, with patients as clusters (`evaluation.shares`)."""
    found = share_of(y, np.ones(len(y)), clusters=patients, c=int(patients.max()) + 1).interval()
    return {"observed_low": found.low, "observed_high": found.high}


def diagram(test: Predictions, after: Predictions | None, method: str) -> pa.Table:
    """The rows of the reliability diagrams of every label, as it is and after what was fitted by a method."""
    sides = {AS_IS: test} | ({} if after is None else {method: after})
    rows = []
    for label in test.labels:
        for name, side in sides.items():
            one = side.of_label(label)
            y, prob, patients = one.y[:, 0], one.prob[:, 0], np.unique(one.patients, return_inverse=True)[1]
            for number, found in enumerate(reliability_table(y, prob)):
                inside = (prob >= found.low) & (prob <= found.high)
                band = band_of(y[inside], patients[inside])
                rows.append({"label": label, "probability": name, "bin": number, **asdict(found), **band})
    return pa.Table.from_pylist(rows, schema=RELIABILITY)
