"""Who is trained on and who is tested, read downward: spec, group, folds, stored, published, choose."""

from cxremb.splits.choose import choose_split, new_split, stored_splits
from cxremb.splits.group import normalised, report_texts
from cxremb.splits.published import import_split, read_published, store_published
from cxremb.splits.spec import DEFAULT, HOLDOUT, SplitSpec
from cxremb.splits.stored import (
    LEAKY,
    StoredSplit,
    cohort_of,
    fold_parts,
    fold_rows,
    shared_patients,
    stored_split,
)

__all__ = [
    "DEFAULT",
    "HOLDOUT",
    "LEAKY",
    "SplitSpec",
    "StoredSplit",
    "choose_split",
    "cohort_of",
    "fold_parts",
    "fold_rows",
    "import_split",
    "new_split",
    "normalised",
    "read_published",
    "report_texts",
    "shared_patients",
    "store_published",
    "stored_split",
    "stored_splits",
]
