"""The split of the reference systems: 80:20 by image, whoever is on it. Marked leaky wherever it is used."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxremb.errors import SplitError
from cxremb.labels import read_labels
from cxremb.splits.spec import IMAGE_SPLIT, KEY_LENGTH, METHOD
from cxremb.splits.stored import StoredSplit, read_split, store_split
from cxremb.store.dataset import Dataset
from cxremb.store.layout import SPLITS


def image_split(dataset: Dataset, label_set: str, seed: int = 0) -> StoredSplit:
    """Train and test, 80:20, over all images of labelled studies in random order; images without a file count too.

    One fold, no val. Read if the same was stored before. Raises `DataError` as `read_labels`, `SplitError` with fewer
    than two images.
    """
    labelled = pa.array(read_labels(dataset, label_set).study_ids, pa.string())
    images = dataset.images.filter(pc.is_in(dataset.images["study_id"], value_set=labelled)).sort_by("image_id")
    n = images.num_rows
    if n < 2:
        raise SplitError(
            f"{dataset.name} lists {n} images of labelled studies", hint="choose a split of studies: leave --split out"
        )
    columns = {name: images[name] for name in ("patient_id", "study_id", "image_id")}
    told = [METHOD, IMAGE_SPLIT, seed, *(column.to_pylist() for column in columns.values())]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:KEY_LENGTH]
    path = dataset.paths.splits / f"{IMAGE_SPLIT}@{key}.parquet"
    if path.is_file():
        return read_split(path)
    parts = np.full(n, "train", dtype="<U5")
    parts[np.random.default_rng(seed).permutation(n)[: -(-n // 5)]] = "test"  # the odd image is tested
    rows = {
        "split": pa.repeat(IMAGE_SPLIT, n),
        "repeat": pa.repeat(0, n),
        "fold": pa.repeat(0, n),
        **columns,
        "part": pa.array(parts),
    }
    means = f"80:20 by image at random, without a validation part, seed {seed}"
    return store_split(StoredSplit(IMAGE_SPLIT, key, path, pa.table(rows).cast(SPLITS), means, by_image=True))
