"""Label sets: what a study is called, by which rule, as rows of the labels table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.errors import DataError
from cxremb.store.dataset import Dataset
from cxremb.store.layout import LABELS
from cxremb.types import Collection, Study


@dataclass(frozen=True)
class LabelSet:
    """`means` in one sentence; `values` maps a study to label -> value, nothing if the rule does not apply to it."""

    means: str
    values: Callable[[Study], Mapping[str, float]]


def normal_abnormal(study: Study) -> float:
    """0.0 if the MeSH column is exactly "normal", else 1.0: so "No Indexing" counts as abnormal.

    The rule of the reference systems, kept to the letter so that figures compare. It is coded from the report:
    predicting it from the report's text recovers a label, it does not diagnose.
    """
    return 0.0 if tuple(study.terms.get("mesh", ())) == ("normal",) else 1.0


def abnormal_label(study: Study) -> dict[str, float]:
    """The binary label, for a study that was indexed at all."""
    return {"abnormal": normal_abnormal(study)} if study.terms.get("mesh") else {}


def mesh_labels(study: Study) -> dict[str, float]:
    """Every distinct MeSH heading with its qualifiers."""
    return dict.fromkeys(study.terms.get("mesh", ()), 1.0)


def problem_labels(study: Study) -> dict[str, float]:
    """Every distinct MeSH heading without its qualifiers."""
    return dict.fromkeys(study.terms.get("problems", ()), 1.0)


LABEL_SETS = {
    "normal_abnormal": LabelSet(
        '0 if MeSH is exactly "normal", else 1 (with "No Indexing" among them)', abnormal_label
    ),
    "mesh": LabelSet("one row per MeSH heading with qualifiers, such as Opacity/lung/base/left", mesh_labels),
    "problems": LabelSet("one row per MeSH heading without qualifiers, such as Opacity", problem_labels),
}


def label_rows(collection: Collection) -> pa.Table:
    """The labels table: per study and label set, one row per label. Schema `LABELS`, in the order of the studies."""
    rows = [
        {"study_id": study.study_id, "label_set": name, "label": label, "value": value}
        for name, label_set in LABEL_SETS.items()
        for study in collection.studies
        for label, value in label_set.values(study).items()
    ]
    return pa.Table.from_pylist(rows, schema=LABELS)


@dataclass(frozen=True)
class Labels:
    """A label set as a matrix: n studies that have a value, k labels."""

    label_set: str
    task: str  # as in `types.LabelSet`
    version: str  # 12 hexadecimal digits of the SHA-256 of its definition and rows
    names: tuple[str, ...]  # (k,)
    study_ids: tuple[str, ...]  # (n,) in the order of the table
    values: NDArray[np.float64]  # (n, k) 0 or 1; NaN where missing


def read_labels(dataset: Dataset, label_set: str) -> Labels:
    """A label set to train on. Raises `DataError`, listing the sets there are, if it is unknown or only lists terms."""
    about = dataset.descriptor["label_sets"]
    trainable = [name for name in about if about[name]["task"] != "terms"]
    hint = f"name one of: {', '.join(trainable)}" if trainable else "add a collection that has labels"
    if label_set not in about:
        raise DataError(f"{dataset.name}: no label set called {label_set!r}; it has {', '.join(about) or 'none'}", hint)
    if label_set not in trainable:
        raise DataError(f"{dataset.name}: {label_set!r} only lists terms: there is nothing to train on", hint)
    rows = dataset.labels.filter(pc.equal(dataset.labels["label_set"], label_set))
    studies, names = (rows[name].combine_chunks().dictionary_encode() for name in ("study_id", "label"))
    order = tuple(about[label_set]["labels"])
    column = np.array([order.index(name) for name in names.dictionary.to_pylist()], dtype=np.int64)
    values = np.full((len(studies.dictionary), len(order)), np.nan)
    values[studies.indices.to_numpy(), column[names.indices.to_numpy()]] = rows["value"].to_numpy()
    return Labels(
        label_set=label_set,
        task=about[label_set]["task"],
        version=about[label_set]["version"],
        names=order,
        study_ids=tuple(studies.dictionary.to_pylist()),
        values=values,
    )


def binary_labels(dataset: Dataset, label_set: str) -> dict[str, float]:
    """Study id -> value of a label set that has one label a study.

    Raises `DataError`, listing the sets there are, if this one is unknown or has several labels a study.
    """
    rows = dataset.labels.select(["study_id", "label_set", "label", "value"]).to_pylist()
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row["label_set"], set()).add(row["label"])
    single = [name for name, found in labels.items() if len(found) == 1]
    hint = f"train on one of: {', '.join(single)}" if single else "add a collection that has labels"
    if label_set not in labels:
        known = ", ".join(labels) or "none"
        raise DataError(f"{dataset.name}: no label set called {label_set!r}; it has {known}", hint=hint)
    if label_set not in single:
        raise DataError(
            f"{dataset.name}: label set {label_set!r} holds {len(labels[label_set])} labels, not one a study", hint=hint
        )
    return {row["study_id"]: row["value"] for row in rows if row["label_set"] == label_set}
