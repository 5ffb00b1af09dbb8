"""Kermany's films, patients kept whole: a frozen encoder with a linear head, and the reference networks cut short.

    python benchmarks/kermany.py chest_xray/ [--epochs 2] [--subset 800] [--work DIR] [--out FILE]

The frozen arm is EfficientNet-Lite1 (ImageNet weights from a Python package) with logistic regression, all five folds
of the default split. `custom-cnn` trains on fold 0 for a few epochs of its fifteen; `two-stage` on fold 0 of a part of
the patients, one epoch a stage, from random weights where ImageNet's cannot be had: it shows that the recipe runs,
and what so little training reaches, and nothing about the published figures.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxremb.catalog import add_collection
from cxremb.datasets.kermany import read
from cxremb.embed.jobfile import Encode
from cxremb.embed.start import Where, run
from cxremb.features import Inputs, load_features
from cxremb.splits import choose_split
from cxremb.store.dataset import Dataset
from cxremb.train.fit import Plan, fit_run
from cxremb.train.pixels.fit import fit_network, open_source, plan_of
from cxremb.train.presets import find_preset
from cxremb.train.runs import Run

METRICS = ("auroc", "accuracy", "f1", "recall", "specificity")
LABEL_SET = "pneumonia"


def subset(folder: Path, root: Path, films: int) -> Dataset:
    """About so many films, of every n-th patient, so that all kinds are there."""
    whole = read(folder)
    images = list(whole.images)
    patients = list(dict.fromkeys(image.patient_id for image in images))
    step = max(1, len(images) // films)
    kept = set(patients[::step])
    studies = [study for study in whole.studies if study.patient_id in kept]
    chosen = [image for image in images if image.patient_id in kept]
    return add_collection(replace(whole, name="kermany_subset", studies=studies, images=chosen), root).dataset


def frozen(dataset: Dataset) -> Run:
    """Logistic regression on frozen vectors, every fold."""
    outcome = run(dataset, Encode("efficientnet_lite1"), Where(precision="auto"))
    features = load_features(dataset, ("image",), Inputs(LABEL_SET, image_model=outcome.store.name))
    return fit_run(dataset, features, choose_split(dataset, LABEL_SET), Plan("linear-image"))


def network(dataset: Dataset, name: str, epochs: int) -> Run:
    """A network from pixels, fold 0, so many epochs (in each of its stages)."""
    preset = find_preset(name, "binary")
    plan = plan_of(preset, epochs=epochs * max(1, len(preset.pixels.stages)))
    stages = tuple(replace(stage, epochs=epochs) for stage in plan.pixels.stages)
    plan = replace(plan, pixels=replace(plan.pixels, stages=stages))
    source = open_source(dataset, Inputs(LABEL_SET), plan)
    return fit_network(dataset, source, choose_split(dataset, LABEL_SET), plan)


def told(made: Run, seconds: float) -> dict[str, Any]:
    """The figures of a run."""
    return {
        "rows": made.record["rows"],
        "patients": made.record["patients"],
        "folds": made.record["folds"],
        "parameters": made.record["parameters"],
        "epochs": made.record["epochs"],
        **{name: [value and round(value, 4) for value in made.metric(name)] for name in METRICS},
        "notes": made.record["notes"],
        "wall_seconds": round(seconds, 1),
    }


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="chest_xray")
    parser.add_argument("--epochs", type=int, default=2, help="of custom-cnn")
    parser.add_argument("--subset", type=int, default=800, help="films of two-stage")
    parser.add_argument("--work", type=Path, help="keep stores and runs here")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kermany.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = options.work or Path(name)
        dataset = add_collection(read(options.folder), root).dataset
        arms: dict[str, Callable[[], Run]] = {
            "frozen EfficientNet-Lite1 + linear": lambda: frozen(dataset),
            f"custom-cnn, {options.epochs} epochs": lambda: network(dataset, "custom-cnn", options.epochs),
            "two-stage on a subset, 1 epoch a stage": lambda: network(
                subset(options.folder, root, options.subset), "two-stage", 1
            ),
        }
        results = {}
        for arm, train in arms.items():
            start = time.perf_counter()
            made = train()
            results[arm] = told(made, time.perf_counter() - start)
            print(arm, results[arm], flush=True)
            about = {
                "benchmark": "kermany",
                "split": "grouped-5fold: by patient",
                "arms": results,
                "machine": {"processor": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
                "load": [round(load, 1) for load in os.getloadavg()],
            }
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
