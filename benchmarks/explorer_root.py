"""A store root of any size for `benchmarks/explorer.py`: made-up films, labels, reports, three arms and a map."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image as PilImage
from sql import add_store

from cxremb.store import layout
from cxremb.store.commit import commit_dataset, drafting, writing_tables
from cxremb.store.files import replace_table, replace_text, sha256_of
from cxremb.store.maps import MAPS, write_map
from cxremb.store.reader import open_store

FOLDS, ARMS, PICTURES = 5, {"image": 1.0, "text": 2.0, "fusion": 2.4}, 64
VIEWS = ("PA", "AP", "Lateral", None)
SECTIONS = {
    "indication": "Cough.",
    "findings": "The heart is normal in size. Lungs are clear.",
    "impression": "Normal.",
}
SPLIT = "patient-5fold@0123456789ab"
FINDINGS = 14
DIM = 4  # numbers of a vector: pages do not read them


def make_root(root: Path, films: int) -> Path:
    """A store root with one data set: two films a study, two studies a patient; each film judged in one of five folds.

    The films are of a few pictures, so that making them costs nothing.
    """
    rng = np.random.default_rng(0)
    paths = layout.DatasetPaths(root, "made_up")
    pictures = [save_picture(root / "pictures" / f"{number}.png", rng) for number in range(PICTURES)]
    study = np.arange(films) // 2
    patient = study // 2
    studies = np.arange(study[-1] + 1)
    y = rng.random(len(studies)) < 0.4
    which = np.arange(films) % PICTURES
    images = {
        "image_id": text(np.arange(films), "f"),
        "study_id": text(study, "s"),
        "patient_id": text(patient, "p"),
        "view": pa.array([VIEWS[place] for place in rng.integers(0, 4, films).tolist()], pa.string()),
        "path": pa.array([str(pictures[place]) for place in which.tolist()], pa.string()),
        "sha256": pa.array(np.array([sha256_of(path) for path in pictures])[which], pa.string()),
        "width": pa.array(np.full(films, 128, np.int32)),
        "height": pa.array(np.full(films, 128, np.int32)),
        "view_raw": pa.nulls(films, pa.string()),
    }
    sections = np.repeat(studies, len(SECTIONS))
    tables = {
        "studies": {"study_id": text(studies, "s"), "patient_id": text(studies // 2, "p")},
        "images": images,
        "reports": {
            "study_id": text(sections, "s"),
            "section": pa.array(list(SECTIONS) * len(studies)),
            "role": pa.array([layout.ROLES[name] for name in SECTIONS] * len(studies)),
            "text": pa.array(list(SECTIONS.values()) * len(studies)),
        },
        "labels": label_columns(studies, y, rng),
    }
    about = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": True}
    one = {"task": "binary", "means": "made up", "labels": ["abnormal"], "policy": "", "version": "0"}
    several = {**one, "task": "multilabel", "labels": [f"finding {number}" for number in range(FINDINGS)]}
    about |= {"label_sets": {"normal_abnormal": one, "findings": several}, "default_label_set": "normal_abnormal"}
    with writing_tables(paths), drafting(paths) as drafts:
        for name, columns in tables.items():
            drafts[name].extend(pa.table(columns, schema=layout.TABLES[name]))
        dataset = commit_dataset(paths, drafts, about)
    items = zip(images["image_id"].to_pylist(), images["study_id"].to_pylist(), ["image"] * films, strict=True)
    add_store(dataset, "efficientnet_b1", list(items), DIM)
    place = rng.standard_normal((films, 2)) + 3 * np.column_stack([y[study], which % 3])
    columns = {
        "item_id": images["image_id"],
        "study_id": images["study_id"],
        "section": pa.array(["image"] * films),
        "method": pa.array(["umap"] * films),
        "x": pa.array(place[:, 0].astype(np.float32)),
        "y": pa.array(place[:, 1].astype(np.float32)),
    }
    write_map(dataset, open_store(dataset, "efficientnet_b1"), pa.table(columns, schema=MAPS))
    fold = (studies // 2) % FOLDS
    add_split(paths, studies, fold)
    for number, (arm, distance) in enumerate(ARMS.items()):
        logit = distance * (y[study] - 0.5) * 2 + rng.standard_normal(films)
        add_run(paths, f"20261102T00000{number}-aaaaaaaa", arm, images, fold[study], y[study].astype(float), logit)
    return root


def label_columns(studies: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> dict[str, pa.Array]:
    """One label of a study, and as many findings as CheXpert's labeller has; a tenth of them is there."""
    n = len(studies)
    found = rng.random((n, FINDINGS)) < 0.1
    names = np.concatenate([["abnormal"] * n, np.tile([f"finding {number}" for number in range(FINDINGS)], n)])
    return {
        "study_id": text(np.concatenate([studies, np.repeat(studies, FINDINGS)]), "s"),
        "label_set": pa.array(["normal_abnormal"] * n + ["findings"] * n * FINDINGS),
        "label": pa.array(names),
        "value": pa.array(np.concatenate([y, found.ravel()]).astype(float)),
    }


def text(numbers: np.ndarray, letter: str) -> pa.Array:
    """Ids such as f000012."""
    return pa.array(np.char.add(letter, np.char.zfill(numbers.astype(str), 6)))


def save_picture(path: Path, rng: np.random.Generator) -> Path:
    """Smooth noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    PilImage.fromarray(coarse).resize((128, 128), PilImage.Resampling.BICUBIC).save(path)
    return path


def add_split(paths: layout.DatasetPaths, studies: np.ndarray, own: np.ndarray) -> None:
    """Five folds: a study is tested in one of them."""
    n = len(studies)
    fold = np.repeat(np.arange(FOLDS, dtype=np.int32), n)
    columns = {
        "split": pa.array(["patient-5fold"] * (n * FOLDS)),
        "repeat": pa.array(np.zeros(n * FOLDS, np.int32)),
        "fold": pa.array(fold),
        "patient_id": text(np.tile(studies // 2, FOLDS), "p"),
        "study_id": text(np.tile(studies, FOLDS), "s"),
        "image_id": pa.nulls(n * FOLDS, pa.string()),
        "part": pa.array(np.where(np.tile(own, FOLDS) == fold, "test", "train")),
    }
    more = {"means": "made up", "leaky": False, "by_image": False, "notes": [], "label_set": "normal_abnormal"}
    about = {name: json.dumps(value) for name, value in {**more, "created": "2026-11-01T00:00:00+00:00"}.items()}
    table = pa.table(columns, schema=layout.SPLITS).replace_schema_metadata(
        {"split": "patient-5fold", "key": SPLIT.rpartition("@")[2], **about}
    )
    replace_table(paths.splits / f"{SPLIT}.parquet", table)


def add_run(
    paths: layout.DatasetPaths,
    run_id: str,
    arm: str,
    images: dict[str, pa.Array],
    fold: np.ndarray,
    y: np.ndarray,
    logit: np.ndarray,
) -> None:
    """A run with a test prediction of every film, and a figure."""
    n, folder = len(y), paths.runs / run_id
    columns = {
        "unit": pa.array(["image"] * n),
        "item_id": images["image_id"],
        "study_id": images["study_id"],
        "patient_id": images["patient_id"],
        "repeat": pa.array(np.zeros(n, np.int32)),
        "fold": pa.array(fold.astype(np.int32)),
        "seed": pa.array(np.zeros(n, np.int32)),
        "part": pa.array(["test"] * n),
        "label": pa.array(["abnormal"] * n),
        "y_true": pa.array(y),
        "y_prob": pa.array(1 / (1 + np.exp(-logit))),
        "y_logit": pa.array(logit),
        "text_in_train": pa.nulls(n, pa.bool_()),
    }
    replace_table(folder / "predictions.parquet", pa.table(columns, schema=layout.PREDICTIONS))
    figure = {
        "part": "test",
        "label": "abnormal",
        "metric": "auroc",
        "value": 0.8,
        "low": 0.79,
        "high": 0.81,
        "folds": FOLDS,
    }
    replace_table(folder / "metrics.parquet", pa.Table.from_pylist([figure], schema=layout.METRICS))
    replace_table(folder / "history.parquet", layout.HISTORY.empty_table())
    record = {"run_id": run_id, "arm": arm, "head": arm, "preset": "default", "label": "abnormal", "key": run_id}
    record |= {"dataset": paths.name, "label_set": "normal_abnormal", "labels": ["abnormal"], "unit": "image"}
    record |= {"split": SPLIT, "split_key": SPLIT.rpartition("@")[2], "folds": list(range(FOLDS)), "repeats": [0]}
    record |= {"seeds": [0], "created": "2026-11-02T00:00:00+00:00", "simulated": True}
    replace_text(folder / "run.json", json.dumps(record))
