"""A store root whose every row is known: 24 studies of 12 patients, two films each, and three arms."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from conftest import save_film
from planted import write_store
from written import write_dataset

from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table, replace_text, sha256_of
from cxremb.store.layout import (
    AUDIT,
    FACTS,
    HISTORY,
    IMAGES,
    LABELS,
    METRICS,
    PREDICTIONS,
    REPORTS,
    ROLES,
    SPLITS,
    STUDIES,
    DatasetPaths,
)

STUDIES_MADE, FOLDS = 24, 4
VIEWS = ("Frontal", "Lateral")
SPLIT = "patient-5fold@0123456789ab"
RUNS = {"image": "20261101T000000-aaaaaaaa", "text": "20261101T000001-aaaaaaaa", "fusion": "20261101T000002-aaaaaaaa"}
CONTROL = "20261101T000003-aaaaaaaa"
EFFUSION = 5  # the study whose findings say so


def truth(study: int) -> float:
    """Every third study is abnormal."""
    return float(study % 3 == 0)


def device(study: int, view: str) -> str:
    """Frontal films were taken by one of two devices, lateral ones by the first."""
    return "D1" if view == "Lateral" or study % 2 else "D2"


def said(arm: str, study: int, view: str) -> float:
    """What an arm says of a film: a number of its own for each, on the wrong side for some studies."""
    at = 0.02 * (study % 20) + 0.05 + (0.005 if view == "Lateral" else 0.0)
    wrong = {"image": study % 4 == 0, "text": study % 8 == 1, "fusion": study == 7}.get(arm, False)
    return 1 - at if (truth(study) == 1) != wrong else at


def make_explored(root: Path) -> Dataset:
    """The data set `explored` under `root`."""
    numbers = range(STUDIES_MADE)
    of = {n: {"study_id": f"s{n:02d}", "patient_id": f"p{n // 2:02d}"} for n in numbers}
    films = [(n, view) for n in numbers for view in VIEWS]
    paths = {(n, view): save_film(root / "films" / f"{n}_{view}.png", 2 * n + VIEWS.index(view)) for n, view in films}
    images = [
        {**of[n], "image_id": film_id(n, view), "view": view, "view_raw": view, "path": str(paths[n, view])}
        | {"sha256": sha256_of(paths[n, view]), "width": 80, "height": 96}
        for n, view in films
    ]
    texts = {n: "Effusion at the left base." if n == EFFUSION else f"Lungs are clear, {n}." for n in numbers}
    reports = [
        {"study_id": of[n]["study_id"], "section": section, "role": ROLES[section], "text": text}
        for n in numbers
        for section, text in (("indication", "Cough."), ("findings", texts[n]), ("impression", "<b>Normal</b> & well."))
    ]
    labels = [
        {"study_id": of[n]["study_id"], "label_set": "normal_abnormal", "label": "abnormal", "value": truth(n)}
        for n in numbers
    ]
    labels += [
        {"study_id": of[n]["study_id"], "label_set": "findings", "label": label, "value": float(n % every == 0)}
        for n in numbers
        for label, every in (("Effusion", 6), ("Nodule", 8))
    ]
    facts = [
        {"level": "patient", "id": f"p{n:02d}", "name": "sex", "text": "FM"[n % 2]} for n in range(STUDIES_MADE // 2)
    ] + [
        {"level": "study", "id": of[n]["study_id"], "name": "age", "text": str(40 + n), "number": 40.0 + n}
        for n in numbers
    ]
    facts += [
        {"level": "image", "id": film_id(n, view), "name": "device", "text": device(n, view)} for n, view in films
    ]
    rows: dict[str, Any] = {"studies": (list(of.values()), STUDIES), "images": (images, IMAGES)}
    rows |= {"reports": (reports, REPORTS), "labels": (labels, LABELS), "facts": (facts, FACTS)}
    tables = {name: pa.Table.from_pylist(found, schema=schema) for name, (found, schema) in rows.items()}
    about = {"task": "binary", "means": "made up", "labels": ["abnormal"], "policy": "", "version": "0"}
    sets = {"normal_abnormal": about, "findings": {**about, "task": "multilabel", "labels": ["Effusion", "Nodule"]}}
    dataset = write_dataset(
        DatasetPaths(root, "explored"),
        tables,
        {"simulated": True, "label_sets": sets, "default_label_set": "normal_abnormal", "source": {}},
    )
    make_split(dataset, of)
    rng = np.random.default_rng(0)
    ids = [row["image_id"] for row in images]
    write_store(dataset, "efficientnet_b1", "image", ids, rng.standard_normal((len(ids), 6)).astype(np.float32))
    studies = [row["study_id"] for row in of.values()]
    write_store(dataset, "biobert", "text", studies, rng.standard_normal((len(studies), 6)).astype(np.float32))
    for arm, run_id in {**RUNS, "control:length": CONTROL}.items():
        make_run(dataset, run_id, arm, rows=[(n, view) for n, view in films if n != STUDIES_MADE - 1])
    line = {"created": 0, "split": SPLIT, "label_set": "normal_abnormal", "section": "collection", "status": "fail"}
    line |= {"name": "twins", "measured": "1", "why": "This film is under two patients.", "remedy": "", "value": 1.0}
    replace_table(
        dataset.paths.audits / "20261101T000000.parquet",
        pa.Table.from_pylist([{**line, "examples": [film_id(3, "Frontal")]}], schema=AUDIT),
    )
    return dataset


def fold_of(study: int) -> int:
    """The fold that tests a study: both of a patient in one."""
    return study // 2 % FOLDS


def film_id(study: int, view: str) -> str:
    """Such as `f03-Frontal`."""
    return f"f{study:02d}-{view}"


def make_split(dataset: Dataset, of: dict[int, dict[str, str]]) -> None:
    """Each study is tested in one fold and trained on in the others."""
    rows = [
        {**own, "split": "patient-5fold", "repeat": 0, "fold": fold, "part": "test" if fold == fold_of(n) else "train"}
        for n, own in of.items()
        for fold in range(FOLDS)
    ]
    about = {"means": "made up", "leaky": False, "by_image": False, "notes": [], "label_set": "normal_abnormal"}
    about["created"] = "2026-11-01T00:00:00+00:00"
    metadata = {"split": "patient-5fold", "key": SPLIT.rpartition("@")[2]}
    metadata |= {name: json.dumps(value) for name, value in about.items()}
    table = pa.Table.from_pylist(rows, schema=SPLITS).replace_schema_metadata(metadata)
    replace_table(dataset.paths.splits / f"{SPLIT}.parquet", table)


def make_run(
    dataset: Dataset,
    run_id: str,
    arm: str,
    *,
    rows: list[tuple[int, str]],
    unit: str = "image",
    preset: str = "default",
) -> None:
    """A run with a test prediction of each film, and a figure. unit: study where a row is the film's study."""
    folder = dataset.paths.runs / run_id
    predictions = [
        {
            "unit": unit,
            "item_id": film_id(n, view) if unit == "image" else f"s{n:02d}",
            "study_id": f"s{n:02d}",
            "patient_id": f"p{n // 2:02d}",
        }
        | {"repeat": 0, "fold": fold_of(n), "seed": 0, "part": "test", "label": "abnormal"}
        | {"y_true": truth(n), "y_prob": said(arm, n, view), "y_logit": 0.0}
        for n, view in rows
    ]
    figure = {
        "part": "test",
        "label": "abnormal",
        "metric": "auroc",
        "value": 0.812,
        "low": 0.7,
        "high": 0.9,
        "folds": FOLDS,
    }
    replace_table(folder / "predictions.parquet", pa.Table.from_pylist(predictions, schema=PREDICTIONS))
    replace_table(folder / "metrics.parquet", pa.Table.from_pylist([figure], schema=METRICS))
    replace_table(folder / "history.parquet", HISTORY.empty_table())
    record = {"run_id": run_id, "arm": arm, "head": arm, "preset": preset, "label_set": "normal_abnormal"}
    record |= {"label": "abnormal", "split": SPLIT, "seeds": [0], "created": "2026-11-01T00:00:00+00:00"}
    record |= {"simulated": True, "leaky": False, "note": "simulated images; label recovery: reads a label source"}
    replace_text(folder / "run.json", json.dumps(record))
