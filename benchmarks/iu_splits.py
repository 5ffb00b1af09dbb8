"""What the split does to the texts of the real IU X-ray reports: kept together if identical, by copies, by patient.

    python benchmarks/iu_splits.py indiana_reports.csv indiana_projections.csv [--work DIR] [--out FILE]

Arms that read a text alone, on MiniLM vectors and the same rows, under three splits; then the arms of the demo (all
3,955 studies, real reports, SIMULATED films), which say nothing of films but show what the split does to a fusion. Of
each split the share of test rows whose whole report stands word for word in train is counted too.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import write

import cxremb
from cxremb.labels import read_labels
from cxremb.splits import (
    SplitSpec,
    StoredSplit,
    choose_split,
    cohort_of,
    fold_parts,
    new_split,
    normalised,
    report_texts,
)
from cxremb.splits.folds import make_split
from cxremb.splits.group import group_numbers
from cxremb.splits.stored import store_once
from cxremb.store.dataset import Dataset, open_dataset

TEXTS = "findings,impression,pre-read,findings+impression"
DEMO = "text,fusion"
SHOWN = ("arm", "n", "auroc", "in_train", "auroc_new_text", "difference")


def splits_of(dataset: Dataset) -> dict[str, StoredSplit]:
    """How it was until now, how it is, and neither."""
    labels = read_labels(dataset, None)
    cohort = cohort_of(dataset, labels)
    words = report_texts(dataset.reports)
    texts = [normalised(words.get(study, "")) for study in cohort.study_ids]
    together = replace(cohort, groups=group_numbers([cohort.patient_ids, texts], len(texts)))
    spec = SplitSpec("identical-texts")
    table = make_split(together, spec)[0]
    path = dataset.paths.splits / f"{spec.name}@{'0' * 12}.parquet"
    means = "5 folds, 70:10:20, grouped by patient and identical report text, seed 0"
    return {
        "identical texts together": store_once(
            StoredSplit(spec.name, "0" * 12, path, table, means, label_set=labels.label_set)
        ),
        "copies together": choose_split(dataset, None),
        "patient alone": new_split(dataset, None, SplitSpec("patient-alone", group=("patient",))),
    }


def whole_reports_in_train(dataset: Dataset, split: StoredSplit) -> float:
    """The share of test rows whose report reads like one of train."""
    texts = {study: normalised(text) for study, text in report_texts(dataset.reports).items()}
    found = []
    for fold in split.folds:
        parts = fold_parts(split.table, 0, fold)
        train = {texts.get(study) for study, part in parts.items() if part == "train"} - {None, ""}
        found += [texts.get(study) in train for study, part in parts.items() if part == "test"]
    return float(np.mean(found))


def compared(dataset: Dataset, arms: str, reference: str) -> dict[str, Any]:
    """Split -> its share of whole reports in train, and a row for each arm."""
    found = {}
    for name, split in splits_of(dataset).items():
        table = cxremb.ablate(
            arms,
            reference=reference,
            split=split.title,
            controls=False,
            dataset=dataset.name,
            root=dataset.paths.root,
        )
        rows = [{key: value for key, value in asdict(row).items() if key in SHOWN} for row in table.rows]
        share = whole_reports_in_train(dataset, split)
        found[name] = {"split": split.means, "whole_reports_in_train": share, "rows": rows, "caption": table.caption}
        for row in rows:
            print(f"{name:24} {row['arm']:22} {row['n']:5} {shown(row['auroc'])} in train {row['in_train']}", end=", ")
            print(f"others {shown(row['auroc_new_text'])}", flush=True)
    return found


def shown(figure: Any) -> str:
    """Value and interval."""
    return "-" if figure is None else "{value:.3f} [{low:.3f}, {high:.3f}]".format(**figure)


def run(words: list[str], root: Path) -> None:
    """One command."""
    subprocess.run([sys.executable, "-m", "cxremb", *words, "--root", str(root)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Embed, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path)
    parser.add_argument("projections", type=Path)
    parser.add_argument("--work", type=Path, help="keep stores and runs here")
    parser.add_argument("--texts-only", action="store_true", help="without the demo's films, which take minutes")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "iu_splits.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = options.work or Path(name)
        texts, films = root / "texts", root / "demo"
        files = ["--reports", str(options.reports), "--projections", str(options.projections)]
        run(["data", "add", "iu_xray", *files], texts)
        run(["embed", "--model", "minilm"], texts)
        found: dict[str, Any] = {"texts": compared(open_dataset(texts, None), TEXTS, "findings+impression")}
        found["about"] = "IU X-ray, real reports; texts: MiniLM vectors, no film is read; demo: films are SIMULATED"
        if not options.texts_only:
            run(["demo", "--full"], films)
            found["demo"] = compared(open_dataset(films, None), DEMO, "fusion")
        write(options.out, found, ("torch", "transformers"))


if __name__ == "__main__":
    main()
