"""Who is in which part of each fold, counted."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from cxremb.labels import read_labels
from cxremb.splits.spec import PARTS
from cxremb.splits.stored import StoredSplit, rows_of
from cxremb.store.dataset import Dataset


def fold_rows(dataset: Dataset, split: StoredSplit, label_set: str | None) -> list[dict[str, Any]]:
    """One row per repeat, fold and part: images (of a split by image, else 0), studies, patients, and prevalence.

    prevalence: label -> share of the studies with a value that are 1; None without one, empty without a label set.
    Raises as `read_labels`.
    """
    labels = read_labels(dataset, label_set) if label_set else None
    place = {study: row for row, study in enumerate(labels.study_ids)} if labels else {}
    found = []
    for repeat in split.repeats:
        for fold in split.folds:
            rows = rows_of(split.table, repeat, fold)
            for part in PARTS:
                here = rows.filter(pc.equal(rows["part"], part))
                if here.num_rows:
                    studies = here["study_id"].unique().to_pylist()
                    counts = {"images": here.num_rows - here["image_id"].null_count, "studies": len(studies)}
                    counts["patients"] = len(here["patient_id"].unique())
                    known = [place[study] for study in studies if study in place]
                    shares = dict(zip(labels.names, shares_of(labels.values[known]), strict=True)) if labels else {}
                    found.append({"repeat": repeat, "fold": fold, "part": part, **counts, "prevalence": shares})
    return found


def shares_of(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | None]:
    """(k,) the share of ones among the known values of each column; None where none is known."""
    known, ones = np.isfinite(values).sum(axis=0), (values == 1).sum(axis=0)
    return [float(one / n) if n else None for one, n in zip(ones.tolist(), known.tolist(), strict=True)]
