"""Who is trained on and who is tested, read downward: spec, group, bins, made, stored, by_image, published, choose."""

from cxremb.splits.choose import choose_split, new_split
from cxremb.splits.group import normalised
from cxremb.splits.published import import_split, read_published, store_published
from cxremb.splits.spec import DEFAULT, HOLDOUT, SplitSpec
from cxremb.splits.stored import LEAKY, StoredSplit, fold_parts, shared_patients, stored_split

__all__ = [
    "DEFAULT",
    "HOLDOUT",
    "LEAKY",
    "SplitSpec",
    "StoredSplit",
    "choose_split",
    "fold_parts",
    "import_split",
    "new_split",
    "normalised",
    "read_published",
    "shared_patients",
    "store_published",
    "stored_split",
]
