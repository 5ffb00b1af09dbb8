"""Whether a run's probabilities hold, and thresholds to use it at: chosen on validation rows, judged on test rows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxremb.errors import DataError
from cxremb.evaluation.arrays import MULTICLASS
from cxremb.evaluation.bootstrap import Interval
from cxremb.evaluation.calibrate import Calibration
from cxremb.evaluation.reliability import reliability_table
from cxremb.predictions import Predictions
from cxremb.store.files import replace_table, unwritable
from cxremb.tabular import Tabular
from cxremb.training.runs import Run

RULES: Mapping[str, tuple[str, float]] = {"Youden": ("youden", 0.0), "sensitivity >= 0.95": ("sensitivity", 0.95)}
USED = ("recall", "specificity", "precision", "f1")
GAPS = ("ece", "loss", "brier")
AS_IS, CALIBRATED = "as it is", "temperature"
RELIABILITY = pa.schema(
    [
        ("label", pa.string()),
        ("probability", pa.string()),  # AS_IS or CALIBRATED
        ("bin", pa.int32()),
        ("n", pa.int64()),
        *((name, pa.float64()) for name in ("low", "high", "predicted", "observed")),
    ]
)


@dataclass(frozen=True)
class Calibrated:
    """How far one label's probabilities are from what happens; each figure as it is and after the temperature."""

    label: str
    before: Mapping[str, float | None]  # `GAPS`, the mean over pools
    after: Mapping[str, float | None] | None


@dataclass(frozen=True)
class ThresholdFigures:
    """A threshold of each model, chosen on its val rows, and what it does to the test rows of all."""

    label: str
    rule: str
    thresholds: tuple[float, ...]
    figures: Mapping[str, Interval]
    reason: str | None = None  # why there is none


@dataclass(frozen=True)
class CalibrationReport:
    """All that `cxremb evaluate` says of a run besides its figures."""

    run_id: str
    temperatures: tuple[float, ...]  # of each model
    reason: str | None  # why there is none
    labels: tuple[Calibrated, ...]
    thresholds: tuple[ThresholdFigures, ...]
    reliability: pa.Table  # columns `RELIABILITY`


@dataclass(frozen=True)
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


def evaluate_run(run: Run) -> RunEvaluation:
    """All figures of a run; its reliability table is written into its folder now."""
    report = calibration_report(run)
    return RunEvaluation(run, report, store_reliability(run, report))


def calibration_report(run: Run) -> CalibrationReport:
    """Calibration before and after a temperature for each model, thresholds, and the rows of a reliability diagram."""
    val, test = run.predictions("val"), run.predictions()
    after: Predictions | None = None
    fitted: tuple[Calibration, ...] = ()
    reason = None
    try:
        after, fitted = test.calibrated(val)
    except DataError as error:
        reason = str(error)
    labels = tuple(
        Calibrated(label, gaps(test, label), None if after is None else gaps(after, label)) for label in test.labels
    )
    names = test.labels if test.task != MULTICLASS else ()  # its answer is the likeliest class: there is no threshold
    chosen = tuple(at_threshold(val.of_label(name), test.of_label(name), rule) for name in names for rule in RULES)
    temperatures = tuple(one.temperature for one in fitted)
    return CalibrationReport(run.run_id, temperatures, reason, labels, chosen, diagram(test, after))


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


def at_threshold(val: Predictions, test: Predictions, rule: str) -> ThresholdFigures:
    """One label at thresholds chosen by one rule."""
    name, floor = RULES[rule]
    try:
        test = test.at_thresholds(val, name, floor)
    except DataError as error:
        return ThresholdFigures(test.labels[0], rule, (), {}, str(error))
    each = np.broadcast_to(test.threshold, len(test.items)).tolist()
    chosen = tuple(each[rows[0]] for rows in test.models)
    return ThresholdFigures(test.labels[0], rule, chosen, test.interval(USED))


def diagram(test: Predictions, after: Predictions | None) -> pa.Table:
    """The rows of the reliability diagrams of every label, as it is and after the temperature."""
    sides = {AS_IS: test} | ({} if after is None else {CALIBRATED: after})
    rows = []
    for label in test.labels:
        for name, side in sides.items():
            one = side.of_label(label)
            for number, found in enumerate(reliability_table(one.y[:, 0], one.prob[:, 0])):
                rows.append({"label": label, "probability": name, "bin": number, **asdict(found)})
    return pa.Table.from_pylist(rows, schema=RELIABILITY)
