"""Rows + split + plan -> a finished run: one model per fold, every prediction kept, figures with intervals."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import cxremb
from cxremb.errors import TrainError
from cxremb.evaluate.bootstrap import cluster_intervals
from cxremb.evaluate.metrics import binary_metrics
from cxremb.features import Features, caveats
from cxremb.splits import LEAKY, StoredSplit, fold_parts
from cxremb.store.dataset import Dataset
from cxremb.store.layout import FORMAT_VERSION, HISTORY, METRICS, PREDICTIONS
from cxremb.train.card import model_card
from cxremb.train.heads import HeadSpec, find_head
from cxremb.train.presets import PRESETS, Options
from cxremb.train.runs import Outcome, Run, find_run, write_run
from cxremb.types import Progress, unwatched

FEWEST_ROWS = 10  # training rows below which a head learns the rows by heart and nothing else
INTERVALS = ("auroc", "accuracy", "f1")


@dataclass(frozen=True)
class Plan:
    """What to train. All of it enters the run's key."""

    arm: str  # a head of `train.heads.HEADS`
    preset: str = "default"
    options: Options = field(default_factory=lambda: PRESETS["default"].options)
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)
    repeat: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Member:
    """One fold's result."""

    fold: int
    epoch: int  # the one kept
    weights: Mapping[str, NDArray[np.generic]]
    history: pa.Table
    predictions: pa.Table


def fit_run(
    dataset: Dataset, features: Features, split: StoredSplit, plan: Plan, progress: Progress = unwatched
) -> Run:
    """The run that answers `plan`: the finished one if there is one (`reused`), else trained and written now.

    The stored model standardises its input itself, so it takes raw store vectors. Rows that the split does not list
    are left out and counted. Raises `TrainError` for an unknown head, too few rows, a single class, a split by image
    without images, a recipe that chooses an epoch where there is no val, values that are no numbers, or a loss that
    diverges.
    """
    head = find_head(plan.arm)
    key = run_key(dataset, features, split, plan)
    if done := find_run(dataset, key):
        return replace(done, reused=True)
    started = time.perf_counter()
    X, parts = features.matrix(head.blocks), [parts_of(features, split, plan, fold) for fold in plan.folds]
    alone = len(plan.folds) == 1  # one bar either way: over epochs, or over folds
    folds = zip(plan.folds, parts, strict=True)
    members = [
        fit_fold(features, X, part, Fold(plan, head, fold), progress if alone else unwatched)
        for fold, part in (folds if alone else progress(folds, len(plan.folds), f"train {plan.arm}"))
    ]
    predictions = pa.concat_tables([member.predictions for member in members])
    metrics = metrics_table(predictions, features.label)
    features = listed(features, parts, split)
    record = run_record(dataset, features, split, plan, members)
    record["seconds"] = round(time.perf_counter() - started, 2)
    outcome = Outcome(
        record=record,
        history=pa.concat_tables([member.history for member in members]),
        predictions=predictions,
        metrics=metrics,
        weights={name: array for member in members for name, array in member.weights.items()},
        card=model_card(record | {"dataset": dataset.name}, metrics.to_pylist()),
    )
    return write_run(dataset, key, outcome)


def run_key(dataset: Dataset, features: Features, split: StoredSplit, plan: Plan) -> str:
    """SHA-256 of all that decides the result: rows, labels, stores and versions, split, head, recipe, seed."""
    told = {
        "format": FORMAT_VERSION,
        "cxremb": cxremb.__version__,
        "simulated": dataset.simulated,
        "features": features.digest,
        "split": split.key,
        "plan": asdict(plan),
        "head": asdict(find_head(plan.arm)),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Fold:
    """One fold of a plan."""

    plan: Plan
    head: HeadSpec
    fold: int


def fit_fold(
    features: Features, X: NDArray[np.float32], parts: NDArray[np.str_], task: Fold, progress: Progress
) -> Member:
    """One model, trained on `train`, its epoch chosen on `val`, its predictions on `val` and `test`.

    Without `val` the last epoch is kept, and the history watches `test` instead, under that name.
    """
    from cxremb.train import loop  # torch takes seconds to import, and a run that is re-used never needs it
    from cxremb.train.mlp import new_perceptron

    plan = task.plan
    second = "val" if (parts == "val").any() else "test"
    train, watched = (loop.Part(X[parts == name], features.y[parts == name], name) for name in ("train", second))
    model = new_perceptron(task.head, X.shape[1], plan.seed)
    if plan.options.standardise:
        model.standardise(train.X)
    trained = loop.fit(model, train, watched, plan.options, plan.seed, progress)
    prefix = f"repeat{plan.repeat}.fold{task.fold}."
    place = {"repeat": plan.repeat, "fold": task.fold}
    judged = np.flatnonzero((parts == "val") | (parts == "test"))
    prob, logit = loop.predict(trained.model, X[judged])
    return Member(
        fold=task.fold,
        epoch=trained.epoch,
        weights={prefix + name: value.numpy().copy() for name, value in trained.model.state_dict().items()},
        history=pa.Table.from_pylist([place | asdict(row) for row in trained.history], schema=HISTORY),
        predictions=prediction_table(
            features, judged, place, {"part": parts[judged], "y_prob": prob, "y_logit": logit}
        ),
    )


def parts_of(features: Features, split: StoredSplit, plan: Plan, fold: int) -> NDArray[np.str_]:
    """(n,) the part of each row in one fold, "" for a row that the split does not list.

    Raises `TrainError` if that fold cannot be trained on.
    """
    if split.by_image and features.unit != "image":
        raise TrainError(
            f"split {split.name} is by image, and a row of these inputs is a {features.unit}",
            hint="use a head that reads images: image or fusion",
        )
    place = fold_parts(split.table, plan.repeat, fold)
    items = features.item_ids if split.by_image else features.study_ids
    parts = np.array([place.get(item, "") for item in items.tolist()], dtype=np.str_)
    if not (parts != "").any():
        raise TrainError(
            f"all {len(parts)} rows are in no part of fold {fold} of split {split.title}",
            hint="choose a split of these studies with --split, or leave it out",
        )
    refuse_untrainable(features, parts, fold)
    if not (parts == "val").any() and plan.options.chooses_epoch:
        raise TrainError(
            f"fold {fold} of split {split.title} has no val part, and preset {plan.preset} chooses its epoch there",
            hint="use a preset that keeps the last epoch: --preset cnn-llm/as-coded",
        )
    return parts


def refuse_untrainable(features: Features, parts: NDArray[np.str_], fold: int) -> None:
    """Raises `TrainError` if the training rows are few or of one class, or if there is nothing to test on."""
    y = features.y[parts == "train"]
    if len(y) < FEWEST_ROWS:
        raise TrainError(
            f"fold {fold} has {len(y)} training rows of unit {features.unit}, {FEWEST_ROWS} are the least",
            hint="embed more of the data set; `cxremb train text` needs no images",
        )
    if len(np.unique(y)) < 2:
        raise TrainError(
            f"all {len(y)} training rows of fold {fold} have {features.label} = {y[0]:g}: nothing to tell apart",
            hint="embed more of the data set, or name another label set with --label-set",
        )
    if not (parts == "test").any():
        raise TrainError(f"fold {fold} has no test row", hint="embed more of the data set, or choose another --split")


def listed(features: Features, parts: Sequence[NDArray[np.str_]], split: StoredSplit) -> Features:
    """The rows that the split lists; the others are counted under `left_out`."""
    there = parts[0] != ""  # every fold lists the same rows
    if there.all():
        return features
    left_out = {**features.left_out, f"not in split {split.name}": int((~there).sum())}
    rows = {name: getattr(features, name)[there] for name in ("item_ids", "study_ids", "patient_ids", "y")}
    return replace(
        features, blocks={name: block[there] for name, block in features.blocks.items()}, left_out=left_out, **rows
    )


def prediction_table(
    features: Features, rows: NDArray[np.int64], place: Mapping[str, int], values: Mapping[str, Any]
) -> pa.Table:
    """Columns `layout.PREDICTIONS` for the given rows of the features."""
    n = len(rows)
    columns = {
        "unit": [features.unit] * n,
        "item_id": features.item_ids[rows],
        "study_id": features.study_ids[rows],
        "patient_id": features.patient_ids[rows],
        **{name: [value] * n for name, value in place.items()},
        "label": [features.label] * n,
        "y_true": features.y[rows],
        **values,
    }
    return pa.table({name: pa.array(columns[name]) for name in PREDICTIONS.names}).cast(PREDICTIONS)


def metrics_table(predictions: pa.Table, label: str) -> pa.Table:
    """Columns `layout.METRICS` of the test rows: pooled over folds with patient-cluster intervals, and per fold.

    Validation figures are left to SQL: the epoch was chosen on them.
    """
    columns = {name: predictions[name].to_numpy(zero_copy_only=False) for name in ("part", "fold", "y_true", "y_prob")}
    patients = predictions["patient_id"].to_numpy(zero_copy_only=False)
    test = columns["part"] == "test"
    folds = np.unique(columns["fold"]).tolist()
    groups = {"test": test}
    if len(folds) > 1:
        groups |= {f"test.fold{fold}": test & (columns["fold"] == fold) for fold in folds}
    rows = []
    for part, mask in groups.items():
        y, prob = columns["y_true"][mask], columns["y_prob"][mask]
        intervals = cluster_intervals(y, prob, patients[mask], metrics=INTERVALS) if part == "test" else {}
        for metric, value in binary_metrics(y, prob).items():
            low, high = (intervals[metric].low, intervals[metric].high) if metric in intervals else (None, None)
            row = {"part": part, "label": label, "metric": metric, "value": value, "low": low, "high": high}
            rows.append(row)
    return pa.Table.from_pylist(rows, schema=METRICS)


def run_record(
    dataset: Dataset, features: Features, split: StoredSplit, plan: Plan, members: Sequence[Member]
) -> dict[str, Any]:
    """What run.json says, less the id, the dates and the seconds."""
    head = find_head(plan.arm)
    reads_text = "text" in head.blocks
    notes = [*caveats(head.blocks, features.text_role, dataset.simulated), *([LEAKY] if split.leaky else [])]
    return {
        "head": plan.arm,
        "arm": plan.arm,
        "preset": plan.preset,
        "options": asdict(plan.options),
        "label_set": features.label_set,
        "label": features.label,
        "split": split.title,
        "split_means": split.means,
        "leaky": split.leaky,
        "stores": [features.stores[block] for block in head.blocks],
        "rows_from": dict(features.stores),  # the stores that decide which rows there are: the same for all arms
        "text": features.text if reads_text else None,
        "text_role": features.text_role if reads_text else None,
        "pooling": {block: (features.pooling or {}).get(block) for block in head.blocks},
        "seeds": [plan.seed],
        "repeat": plan.repeat,
        "folds": list(plan.folds),
        "epochs": [member.epoch for member in members],  # the one kept, per fold
        "parameters": head.parameters({block: features.blocks[block].shape[1] for block in head.blocks}),
        "unit": features.unit,
        "rows": len(features.y),
        "patients": features.patients,
        "left_out": dict(features.left_out),
        "simulated": dataset.simulated,
        "note": "; ".join(notes),
        "versions": {"cxremb": cxremb.__version__, "torch": version("torch")},
    }
