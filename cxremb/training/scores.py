"""The figures of a run's test rows as a table: of all folds, averaged over repeats and seeds, and one by one."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from cxremb.evaluation.bootstrap import Interval
from cxremb.evaluation.significance import over_draws
from cxremb.predictions import Predictions
from cxremb.predictions.pool import PRECISION, SHARES
from cxremb.store.layout import METRICS
from cxremb.training.plan import LABELS

INTERVALS = (
    "auroc",
    PRECISION,
    *SHARES,
)  # those that need no resampling; `cxremb evaluate` makes the others when it is asked
IN_TRAIN = "verbatim_in_train"  # the share of test rows whose text stands word for word in train
NEW_TEXT = "test.new-text"  # the part of the other rows
BY_STUDY, BY_PATIENT = "test.by-study", "test.by-patient"  # one row for each, where one has several
ONE_CLASS = "folds_of_one_class"  # how many folds are left out of figures that are made within folds, if any


def metrics_table(test: Predictions, *, shuffles: str | None = None) -> pa.Table:
    """Columns `layout.METRICS`.

    Part `test` is of all folds of each repeat and seed, and the mean over these, with intervals over patients of
    `INTERVALS` under the headline; `test.fold0` and such are one model, `test.repeat0.seed0` one pool of several. Of a
    text the share that train has too is `IN_TRAIN` of part `test`; where there are such rows and others, `NEW_TEXT` has
    the figures of the others. Patients with many films weigh more in part `test`: where a study, or a patient, has
    several rows, `BY_STUDY` and `BY_PATIENT` have the figures with one row for each.
    shuffles: what was shuffled, if anything; the interval of the AUROC is then over its draws too, if it has several.
    Validation figures are left to SQL: the epoch was chosen on them.
    """
    rows: list[dict[str, object]] = []
    parts, in_train = parts_judged(test), test.text_in_train
    if in_train is not None:
        parts |= {NEW_TEXT: test.take(~in_train)} if in_train.any() and not in_train.all() else {}
    parts |= merged(test)
    for part, judged in parts.items():
        spans = judged.interval(INTERVALS) if part in ("test", NEW_TEXT, BY_STUDY, BY_PATIENT) else {}
        area, folds = judged.area(), len(judged.models)
        if spans and shuffles:
            spans["auroc"] = with_draws(spans["auroc"], draws_of(judged, shuffles), shuffles)
        for label, figures in judged.figures().items():
            for metric, value in figures.items():
                span = spans.get(metric) if label == judged.headline else None
                low, high = (span.low, span.high) if span else (None, None)
                names = {"part": part, "label": label, "metric": metric}
                rows.append({**names, "value": value, "low": low, "high": high, "folds": folds})
        if area.left_out:
            names = {"part": part, "label": judged.headline, "metric": ONE_CLASS}
            rows.append({**names, "value": float(area.left_out), "folds": folds})
    if in_train is not None:
        names = {"part": "test", "label": test.headline, "metric": IN_TRAIN}
        rows.append({**names, "value": float(in_train.mean()), "folds": len(test.models)})
    return pa.Table.from_pylist(rows, schema=METRICS)


def merged(test: Predictions) -> dict[str, Predictions]:
    """Part -> one row for each study or patient, where that makes fewer rows."""
    studies = test.by_study() if test.unit == "image" else test
    patients = test.by_patient()
    found = {BY_STUDY: studies} if len(studies.items) < len(test.items) else {}
    return found | ({BY_PATIENT: patients} if len(patients.items) < len(studies.items) else {})


def draws_of(test: Predictions, shuffles: str) -> tuple[float, ...]:
    """The AUROC of each draw that has one: of labels each model learns its own, of a modality those of a repeat do."""
    found: dict[tuple[int, ...], list[float]] = {}
    for one in [test.take(rows) for rows in test.models] if shuffles == LABELS else test.pools:
        draw = (int(one.repeat[0]), *([int(one.seed[0]), int(one.fold[0])] if shuffles == LABELS else []))
        if (auroc := one.area().area) is not None:
            found.setdefault(draw, []).append(auroc)
    return tuple(float(np.mean(own)) for own in found.values())


def with_draws(auroc: Interval, draws: Sequence[float], shuffles: str | None) -> Interval:
    """The interval over patients and the draws of what was shuffled, if anything was."""
    return over_draws(auroc, draws, alone=shuffles == LABELS) if shuffles else auroc


def parts_judged(test: Predictions) -> dict[str, Predictions]:
    """Part -> what its figures are of."""
    pools = {f"test.repeat{pool.repeat[0]}.seed{pool.seed[0]}": pool for pool in test.pools}
    folds = {name: np.unique(pool.fold).tolist() for name, pool in pools.items()}
    parts = {"test": test} | (pools if len(pools) > 1 else {})
    if any(len(found) > 1 for found in folds.values()):
        for name, pool in pools.items():
            _, repeat, seed = name.split(".")
            for fold in folds[name]:
                place = f"fold{fold}" if len(pools) == 1 else f"{repeat}.fold{fold}.{seed}"
                parts[f"test.{place}"] = pool.take(pool.fold == fold)
    return parts
