"""Whether a run's probabilities hold, and thresholds to use it at: chosen on validation rows, judged on test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from cxremb.errors import DataError
from cxremb.evaluation.arrays import Reals
from cxremb.evaluation.bootstrap import Interval, cluster_intervals
from cxremb.evaluation.calibrate import fit_temperature
from cxremb.evaluation.metrics import binary_metrics
from cxremb.evaluation.parts import Part, part
from cxremb.evaluation.reliability import reliability_table
from cxremb.evaluation.threshold import choose_threshold
from cxremb.predictions import Numbers, Predictions, predictions_of
from cxremb.store.files import replace_table, unwritable
from cxremb.training.data import MULTICLASS
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
class Cut:
    """A threshold of each fold, chosen on its val rows, and what it does to the test rows of all."""

    label: str
    rule: str
    thresholds: tuple[float, ...]
    figures: Mapping[str, Interval]
    reason: str | None = None  # why there is none


@dataclass(frozen=True)
class Holding:
    """All that `cxremb evaluate` says of a run besides its figures."""

    run_id: str
    temperatures: tuple[float, ...]  # of each model
    reason: str | None  # why there is none
    labels: tuple[Calibrated, ...]
    cuts: tuple[Cut, ...]
    reliability: pa.Table  # columns `RELIABILITY`


@dataclass(frozen=True)
class Model:
    """The predictions of one fold, repeat and seed: rows of `val` and of `test`."""

    val: Numbers
    test: Numbers


def judge_holding(run: Run) -> Holding:
    """Calibration before and after a temperature for each model, thresholds, and the rows of a reliability diagram."""
    val, test = (predictions_of(run, name) for name in ("val", "test"))
    models = models_of(val, test)
    temperatures, tempered, reason = temper(val, test, models)
    labels = tuple(calibrated(test, tempered, column) for column in range(len(test.labels)))
    names = test.labels if test.task != MULTICLASS else ()  # its answer is the likeliest class: there is no threshold
    cuts = tuple(cut(val.of_label(name), test.of_label(name), rule) for name in names for rule in RULES)
    return Holding(run.run_id, temperatures, reason, labels, cuts, diagram(test, tempered))


def store_reliability(run: Run, found: Holding) -> str:
    """The path of `reliability.parquet` in the run's folder, written now. Raises `StoreError` if it cannot be."""
    path = run.folder / "reliability.parquet"
    try:
        return str(replace_table(path, found.reliability))
    except OSError as error:
        raise unwritable(path, error) from error


def models_of(val: Predictions, test: Predictions) -> list[Model]:
    """Every fold, repeat and seed that predicts test rows."""
    places = [np.column_stack([one.repeats, one.folds, one.seeds]) for one in (val, test)]
    return [
        Model(*(np.flatnonzero((rows == place).all(axis=1)) for rows in places))
        for place in np.unique(places[1], axis=0)
    ]


def part_of(name: str, found: Predictions, rows: Numbers) -> Part:
    """The rows as a part that nothing can be chosen on but by its name."""
    return part(name, found.items[rows], found.y[rows], found.logit[rows], found.task)


def temper(
    val: Predictions, test: Predictions, models: Sequence[Model]
) -> tuple[tuple[float, ...], Reals | None, str | None]:
    """(a temperature for each model, the calibrated test probabilities, why there are none)."""
    prob, temperatures = np.empty_like(test.prob), []
    for number, model in enumerate(models):
        if not len(model.val):
            return (), None, f"model {number + 1} of {len(models)} has no validation rows"
        try:
            fitted = fit_temperature(part_of("val", val, model.val))
            prob[model.test] = fitted.apply(part_of("test", test, model.test)).reshape(len(model.test), -1)
        except DataError as error:
            return (), None, f"model {number + 1} of {len(models)}: {error}"
        temperatures.append(fitted.temperature)
    return tuple(temperatures), prob, None


def calibrated(test: Predictions, tempered: Reals | None, column: int) -> Calibrated:
    """The gaps of one label on its known test rows."""

    def gaps(prob: Reals) -> dict[str, float | None]:
        known = ~np.isnan(test.y[:, column])
        pools = [rows[known[rows]] for rows in test.pools]
        return mean_figures([binary_metrics(test.y[rows, column], prob[rows, column]) for rows in pools], GAPS)

    return Calibrated(test.labels[column], gaps(test.prob), None if tempered is None else gaps(tempered))


def mean_figures(found: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> dict[str, float | None]:
    """The mean of each figure; None where one lacks it."""
    means: dict[str, float | None] = {}
    for name in names:
        known = [value for one in found if (value := one[name]) is not None]
        means[name] = sum(known) / len(known) if len(known) == len(found) else None
    return means


def cut(val: Predictions, test: Predictions, rule: str) -> Cut:
    """One label at thresholds chosen by one rule."""
    name, floor = RULES[rule]
    own, chosen = np.full(len(test.y), np.nan), []
    for model in models_of(val, test):
        target = part_of("test", test, model.test)
        try:
            choice = choose_threshold(part_of("val", val, model.val), name, floor)
            choice.apply(target)  # refuses rows that it was chosen on
        except DataError as error:
            return Cut(test.labels[0], rule, (), {}, str(error))
        own[model.test] = choice.threshold
        chosen.append(choice.threshold)
    return Cut(test.labels[0], rule, tuple(chosen), cut_figures(test, own))


def cut_figures(test: Predictions, own: Reals) -> dict[str, Interval]:
    """The figures at each row's own threshold; with several pools their means, without intervals."""
    y, prob, pools = test.y[:, 0], test.prob[:, 0], test.pools
    if len(pools) == 1:
        return cluster_intervals(y, prob, test.patients, metrics=USED, threshold=own)
    means = mean_figures([binary_metrics(y[rows], prob[rows], own[rows]) for rows in pools], USED)
    reason = f"the mean of {len(pools)} repeats and seeds"
    return {name: Interval(value, None, None, reason=reason) for name, value in means.items()}


def diagram(test: Predictions, tempered: Reals | None) -> pa.Table:
    """The rows of the reliability diagrams of every label, as it is and after the temperature."""
    sides: dict[str, Reals] = {AS_IS: test.prob} | ({} if tempered is None else {CALIBRATED: tempered})
    rows = []
    for column, label in enumerate(test.labels):
        known = ~np.isnan(test.y[:, column])
        for name, prob in sides.items():
            for number, one in enumerate(reliability_table(test.y[known, column], prob[known, column])):
                rows.append({"label": label, "probability": name, "bin": number, **asdict(one)})
    return pa.Table.from_pylist(rows, schema=RELIABILITY)
