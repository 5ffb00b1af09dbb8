"""Kermany's films, patients kept whole: a frozen encoder with a linear head, and the reference networks cut short.

    python benchmarks/kermany.py chest_xray/ [--epochs 2] [--subset 800] [--work DIR] [--out FILE]
    python benchmarks/kermany.py chest_xray/ --finetune [--epochs 2] [--subset 1900]

The frozen arm is EfficientNet-Lite1 (ImageNet weights from a Python package) with logistic regression, all five folds
of the default split. `custom-cnn` trains on fold 0 for a few epochs of its fifteen; `two-stage` on fold 0 of a part of
the patients, one epoch a stage, from random weights where ImageNet's cannot be had: it shows that the recipe runs,
and what so little training reaches, and nothing about the published figures.

`--finetune` is a part of its own: on a third of the patients (half of those train, a third test), the same
linear head on frozen vectors and on those of the same encoder after fine-tuning, paired on the test patients.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cxremb.catalog import add_collection
from cxremb.comparison import Comparison, compare_runs
from cxremb.datasets.kermany import read
from cxremb.embedding.start import run
from cxremb.encoders.base import What
from cxremb.encoders.machine import choose_machine
from cxremb.errors import TrainError
from cxremb.features import Inputs, load_features
from cxremb.splits import SplitSpec, StoredSplit, choose_split, new_split
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store
from cxremb.training.finetune import refresh_finetuned
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.pixels.fit import fit_network, open_source, plan_of
from cxremb.training.presets import find_preset
from cxremb.training.runs import Run
from cxremb.training.tuned import RECIPE, FineTune

METRICS = ("auroc", "accuracy", "f1", "recall", "specificity")
LABEL_SET = "pneumonia"
ENCODER = "efficientnet_lite1"
THIRD = SplitSpec("third", "holdout", folds=3)  # 50:17:33: many test patients, for what they tell is a small difference


def subset(folder: Path, root: Path, films: int) -> Dataset:
    """About so many films, of every n-th patient, so that all kinds are there."""
    whole = read(folder)
    images = list(whole.images)
    patients = list(dict.fromkeys(image.patient_id for image in images))
    step = max(1, len(images) // films)
    kept = set(patients[::step])
    studies = [study for study in whole.studies if study.patient_id in kept]
    chosen = [image for image in images if image.patient_id in kept]
    return add_collection(replace(whole, name=f"kermany_{films}", studies=studies, images=chosen), root).dataset


def frozen(dataset: Dataset) -> Run:
    """Logistic regression on frozen vectors, every fold."""
    store = run(dataset, What(ENCODER, precision="auto")).store
    return linear(dataset, store, choose_split(dataset, LABEL_SET), Plan("linear-image"))


def linear(dataset: Dataset, store: Store, split: StoredSplit, plan: Plan) -> Run:
    """Logistic regression on the vectors of one store."""
    features = load_features(dataset, ("image",), Inputs(LABEL_SET, image_model=store.name))
    return fit_run(FitJob(dataset, features, split, plan))


def fine_tuning(dataset: Dataset, epochs: int) -> dict[str, Any]:
    """Frozen and fine-tuned, each with the same head on the same split; how they compare; and what is refused after."""
    split, plan = new_split(dataset, LABEL_SET, THIRD), Plan("linear-image", folds=(0,))
    frozen = run(dataset, What(ENCODER, precision="auto")).store
    before = linear(dataset, frozen, split, plan)
    recipe = FineTune(LABEL_SET, options=replace(RECIPE, epochs=epochs))
    done = refresh_finetuned(dataset, ENCODER, split, plan=recipe, machine=choose_machine())
    after = linear(dataset, done.update.store, split, plan)
    again = refresh_finetuned(dataset, ENCODER, split, plan=recipe, machine=choose_machine())
    try:
        linear(dataset, done.update.store, choose_split(dataset, LABEL_SET), plan)
        refused = ""
    except TrainError as error:
        refused = str(error)
    record = done.tuned.record
    return {
        "split": split.means,
        **{name: record[name] for name in ("plan", "rows", "patients", "epoch", "history", "seconds")},
        "films_without_a_vector": len(done.update.failures),
        "stores": [frozen.name, done.update.store.name],
        "frozen + linear": told(before),
        "fine-tuned + linear": told(after),
        "fine-tuned minus frozen": differences(compare_runs(after, before)),
        "again does nothing": again.tuned.reused and not again.update.changed,
        "another split is refused": refused,
        "threads": torch.get_num_threads(),
    }


def differences(found: Comparison) -> dict[str, Any]:
    """What `cxremb compare` says of two runs."""
    gaps = {name: pair.difference for name, pair in found.figures.items()}
    return {
        "studies": found.studies,
        "patients": found.patients,
        **{name: rounded((gap.value, gap.low, gap.high, gap.p)) for name, gap in gaps.items()},
        "mcnemar": [found.mcnemar.only_a, found.mcnemar.only_b, found.mcnemar.p],
        "conclusion": found.conclusion,
    }


def network(dataset: Dataset, name: str, epochs: int) -> Run:
    """A network from pixels, fold 0, so many epochs (in each of its stages)."""
    preset = find_preset(name, "binary")
    plan = plan_of(preset, epochs=epochs * max(1, len(preset.pixels.stages)))
    stages = tuple(replace(stage, epochs=epochs) for stage in plan.pixels.stages)
    plan = replace(plan, pixels=replace(plan.pixels, stages=stages))
    source = open_source(dataset, Inputs(LABEL_SET), plan)
    return fit_network(dataset, source, choose_split(dataset, LABEL_SET), plan=plan)


def table(found: dict[str, Any]) -> list[str]:
    """The lines of a Markdown table of what `fine_tuning` found: figures with intervals, and how they differ."""
    lines = ["| | AUROC | accuracy | F1 |", "| --- | --- | --- | --- |"]
    for name in ("frozen + linear", "fine-tuned + linear", "fine-tuned minus frozen"):
        digits = "+.4f" if "minus" in name else ".3f"
        cells = [cell(found[name][metric], digits) for metric in ("auroc", "accuracy", "f1")]
        lines.append(f"| {' | '.join((name, *cells))} |")
    return lines


def cell(values: Sequence[float | None], digits: str) -> str:
    """A figure with its interval, if it has one: few test films have none."""
    value, *span = (f"{value:{digits}}" for value in values[:3] if value is not None)
    return f"{value} [{', '.join(span)}]" if span else value


def told(made: Run) -> dict[str, Any]:
    """The figures of a run."""
    return {
        "rows": made.record.rows,
        "patients": made.record.patients,
        "folds": made.record.folds,
        "parameters": made.record.parameters,
        "epochs": made.record.epochs,
        **{name: rounded(made.metric(name)) for name in METRICS},
        "notes": made.record.notes,
    }


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """To four decimals."""
    return [value and round(value, 4) for value in values]


def write(path: Path, part: dict[str, Any]) -> None:
    """Put a part of the findings into their file; the others stay."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"benchmark": "kermany"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found | part, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was."""
    return {
        "machine": {"processor": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def compare_arms(folder: Path, root: Path, options: argparse.Namespace) -> None:
    """The frozen arm and the networks, each written when it is done."""
    dataset = add_collection(read(folder), root).dataset
    arms: dict[str, Callable[[], Run]] = {
        "frozen EfficientNet-Lite1 + linear": lambda: frozen(dataset),
        f"custom-cnn, {options.epochs} epochs": lambda: network(dataset, "custom-cnn", options.epochs),
        "two-stage on a subset, 1 epoch a stage": lambda: network(
            subset(folder, root, options.subset or 800), "two-stage", 1
        ),
    }
    results = {}
    for arm, train in arms.items():
        start = time.perf_counter()
        made = train()
        results[arm] = {**told(made), "wall_seconds": round(time.perf_counter() - start, 1)}
        print(arm, results[arm], flush=True)
        write(options.out, {"split": "patient-5fold: by patient", "arms": results, **machine()})


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="chest_xray")
    parser.add_argument("--finetune", action="store_true", help="the part on fine-tuning, and no other")
    parser.add_argument("--epochs", type=int, default=2, help="of custom-cnn, or of fine-tuning")
    parser.add_argument("--subset", type=int, help="films of two-stage (800), or for fine-tuning (1900)")
    parser.add_argument("--work", type=Path, help="keep stores and runs here")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kermany.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = options.work or Path(name)
        if not options.finetune:
            compare_arms(options.folder, root, options)
            return
        found = fine_tuning(subset(options.folder, root, options.subset or 1900), options.epochs)
        print("\n".join(table(found)), found["fine-tuned minus frozen"]["conclusion"], sep="\n")
        write(options.out, {"fine_tuning": found | machine()})


if __name__ == "__main__":
    main()
