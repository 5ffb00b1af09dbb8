"""A data set and its stores, on disk, whose vectors carry a signal of known strength."""

import hashlib
from dataclasses import dataclass
from math import erf
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
from written import write_dataset

from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table, sha256_of
from cxremb.store.layout import IMAGES, LABEL_SOURCE, LABELS, REPORTS, STUDIES, DatasetPaths, embedding_schema
from cxremb.store.manifest import Manifest, Part, Recipe, publish
from cxremb.store.outdated import text_contents


@dataclass(frozen=True)
class Planted:
    """Class means lie `image` and `text` standard deviations apart, along one of `dim` noisy dimensions.

    `kinds` is how far apart the classes of `kind` lie in texts, along dimensions 1 to 3, and the labels of `found`,
    along 4 and 5; at 0 there are no such label sets.
    """

    studies: int = 600
    image: float = 0.0
    text: float = 0.0
    kinds: float = 0.0
    dim: int = 6
    simulated: bool = True
    seed: int = 0


def known_auc(*distances: float) -> float:
    """The AUC of the best rule for two Gaussians so far apart: Phi(d / sqrt 2), d adding up as vectors."""
    return 0.5 * (1 + erf(float(np.hypot.reduce(distances)) / 2))


def signal(y: np.ndarray, distance: float, dim: int, rng: np.random.Generator) -> np.ndarray:
    """(n, dim) noise of variance 1; the first dimension also carries y."""
    X = rng.standard_normal((len(y), dim))
    X[:, 0] += distance * y
    return X.astype(np.float32)


KINDS, FOUND = ("clear", "dense", "wide"), ("nodule", "effusion")


def more_labels(plan: Planted) -> tuple[np.ndarray, np.ndarray]:
    """(class of `kind` per study, labels of `found` (n, 2) with NaN where missing; every tenth study has none)."""
    rng = np.random.default_rng(plan.seed + 7)
    kind = rng.integers(0, len(KINDS), plan.studies)
    found = (rng.random((plan.studies, len(FOUND))) < 0.4).astype(float)
    found[rng.random(plan.studies) < 0.2, 0] = np.nan
    found[::10] = np.nan
    return kind, found


def label_rows(study: str, label_set: str, values: dict[str, float]) -> list[dict[str, object]]:
    """What is known of one study."""
    known = {label: value for label, value in values.items() if not np.isnan(value)}
    return [{"study_id": study, "label_set": label_set, "label": name, "value": known[name]} for name in known]


def planted_tables(plan: Planted) -> tuple[dict[str, pa.Table], np.ndarray]:
    """(tables, y per study): every patient has one study, every third study two images."""
    rng = np.random.default_rng(plan.seed)
    y = (rng.random(plan.studies) < 0.6).astype(float)
    studies = [{"study_id": f"s{i:05d}", "patient_id": f"p{i:05d}"} for i in range(plan.studies)]
    images = [
        {
            **row,
            "image_id": f"{row['study_id']}-{view}",
            "view": view,
            "path": "x.png",
            "sha256": hashlib.sha256(f"{row['study_id']}-{view}".encode()).hexdigest(),
            "width": 1,
            "height": 1,
        }
        for i, row in enumerate(studies)
        for view in (["frontal", "lateral"] if i % 3 == 0 else ["frontal"])
    ]
    reports = [
        {"study_id": row["study_id"], "section": "findings", "role": LABEL_SOURCE, "text": f"film {i}"}
        for i, row in enumerate(studies)
    ]
    labels = [
        {"study_id": row["study_id"], "label_set": "normal_abnormal", "label": "abnormal", "value": value}
        for row, value in zip(studies, y.tolist(), strict=True)
    ]
    kinds, found = more_labels(plan)
    for row, kind, values in zip(studies, kinds.tolist(), found.tolist(), strict=True) if plan.kinds else ():
        one_hot = {name: float(place == kind) for place, name in enumerate(KINDS)}
        labels += label_rows(row["study_id"], "kind", one_hot)
        labels += label_rows(row["study_id"], "found", dict(zip(FOUND, values, strict=True)))
    rows = {"studies": studies, "images": images, "reports": reports, "labels": labels}
    schemas = {"studies": STUDIES, "images": IMAGES, "reports": REPORTS, "labels": LABELS}
    return {name: pa.Table.from_pylist(rows[name], schema=schemas[name]) for name in rows}, y


def write_store(
    dataset: Dataset, encoder: str, modality: str, ids: list[str], vectors: np.ndarray, **more: str
) -> None:
    """A committed store of one part. more: section, created, tag."""
    section = more.get("section", "image" if modality == "image" else "findings+impression")
    recipe = Recipe(
        encoder=encoder,
        model=more.get("tag", encoder),
        weights_sha256="0",
        modality=modality,
        dim=vectors.shape[1],
        poolings=("avg" if modality == "image" else "cls",),
        input={},
        precision="full",
    )
    folder = dataset.paths.embeddings / recipe.store
    n = len(ids)
    films = zip(*(dataset.images[name].to_pylist() for name in ("image_id", "sha256")), strict=True)
    now = text_contents(dataset.reports, section) if modality == "text" else dict(films)
    flat = pa.array(vectors.astype(np.float16).astype(np.float32).ravel())
    schema = embedding_schema(vectors.shape[1], {"encoder": encoder})
    columns = [ids, ids, [section] * n, list(recipe.poolings) * n, [now.get(name) or "0" for name in ids]]
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=False)]
    embedding = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("embedding").type)
    table = pa.Table.from_arrays([*arrays, embedding], schema=schema)
    path = replace_table(folder / f"part-{uuid4().hex}.parquet", table)
    part = Part(path.name, n, path.stat().st_size, sha256_of(path))
    created = more.get("created", "2026-11-01T00:00:00+00:00")
    version = len(list(folder.glob("0*.json"))) + 1
    publish(Manifest(version, recipe.key, recipe, "none", created, (part,), n, n, 0, None, {}), folder)


def plant(
    root: Path, plan: Planted, modalities: tuple[str, ...] = ("image", "text"), *, name: str = "planted"
) -> Dataset:
    """The data set `name` under `root`, with a store per modality."""
    tables, y = planted_tables(plan)
    abnormal = {"task": "binary", "means": "planted", "labels": ["abnormal"], "policy": "", "version": "0"}
    about = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": plan.simulated}
    several = {"kind": ("multiclass", list(KINDS)), "found": ("multilabel", list(FOUND))} if plan.kinds else {}
    about["label_sets"] = {"normal_abnormal": abnormal} | {
        name: abnormal | {"task": task, "labels": labels} for name, (task, labels) in several.items()
    }
    dataset = write_dataset(DatasetPaths(root, name), tables, about)
    rng = np.random.default_rng(plan.seed + 1)
    place = {study: i for i, study in enumerate(tables["studies"]["study_id"].to_pylist())}
    if "image" in modalities:
        ids = tables["images"]["image_id"].to_pylist()
        per_image = y[[place[study] for study in tables["images"]["study_id"].to_pylist()]]
        write_store(dataset, "efficientnet_b1", "image", ids, signal(per_image, plan.image, plan.dim, rng))
    if "text" in modalities:
        vectors = signal(y, plan.text, plan.dim, rng)
        if plan.kinds:
            kind, found = more_labels(plan)
            vectors[np.arange(len(y)), 1 + kind] += plan.kinds
            vectors[:, 4:6] += plan.kinds * np.nan_to_num(found)
        write_store(dataset, "biobert", "text", list(place), vectors)
    return dataset
