"""Collections of planted signals: a finding that shows alike in all of them, one that does not, and the site."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
from planted import write_store
from written import write_dataset

from cxremb.store.dataset import Dataset
from cxremb.store.layout import TABLES, DatasetPaths

DIM = 8


@dataclass(frozen=True)
class Site:
    """n patients with one study and `films` films each. Labels of the set `findings` have these shifts.

    signals: label -> (dimension, shift of its positives); prevalence: label -> share of positives. mark: shift of all
    vectors along the last dimension, as a scanner makes it. missing: label -> share of studies that do not say.
    """

    name: str
    signals: dict[str, tuple[int, float]]
    n: int = 400
    films: int = 1
    prevalence: dict[str, float] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    mark: float = 0.0
    scale: float = 1.0  # of the signal's logit: vectors are shifted by so much more than where models are trained
    seed: int = 0
    encoder: str = "efficientnet_b1"
    tag: str = "one"
    source: dict[str, str] = field(default_factory=dict)
    label_set: str = "findings"


def plant_site(root: Path, site: Site) -> Dataset:
    """The data set with its store. Film ids are alike in all collections; contents are not."""
    rng = np.random.default_rng([site.seed, crc32(site.name.encode())])
    y = {label: (rng.random(site.n) < site.prevalence.get(label, 0.4)).astype(float) for label in site.signals}
    said = {label: rng.random(site.n) >= site.missing.get(label, 0.0) for label in site.signals}
    X = rng.standard_normal((site.n, site.films, DIM))
    for label, (dimension, shift) in site.signals.items():
        X[:, :, dimension] += (shift * site.scale * y[label])[:, None]
    X[:, :, -1] += site.mark
    studies = [{"study_id": f"s{i}", "patient_id": f"p{i}"} for i in range(site.n)]
    images = [
        {"image_id": f"s{i}-{film}", "study_id": f"s{i}", "patient_id": f"p{i}", "view": "PA", "path": "x.png",
         "sha256": hashlib.sha256(f"{site.name} {i} {film}".encode()).hexdigest(), "width": 1, "height": 1}
        for i in range(site.n) for film in range(site.films)
    ]  # fmt: skip
    labels = [
        {"study_id": f"s{i}", "label_set": site.label_set, "label": label, "value": float(y[label][i])}
        for i in range(site.n)
        for label in site.signals
        if said[label][i]
    ]
    task = "binary" if len(site.signals) == 1 else "multilabel"
    about: dict[str, Any] = {"task": task, "means": "planted", "labels": list(site.signals), "policy": ""}
    tables = {"studies": studies, "images": images, "labels": labels}
    dataset = write_dataset(
        DatasetPaths(root, site.name),
        {name: pa.Table.from_pylist(rows, schema=TABLES[name]) for name, rows in tables.items()},
        {"simulated": False, "label_sets": {site.label_set: about | {"version": "0"}}, "source": site.source},
    )
    ids = [row["image_id"] for row in images]
    write_store(dataset, site.encoder, "image", ids, X.reshape(-1, DIM).astype(np.float32), tag=site.tag)
    return dataset
