"""SQL at the size of IU X-ray: seconds and memory of the joins of three tables, and of all queries that are shipped.

    python benchmarks/sql.py [--quick] [--out FILE]

The store root is made up: 3,851 studies, 7,470 films, four sections of each report, 15 labels, vectors of 1,280 and
768 numbers, 11 runs. Each query has a process of its own, which asks three times: its peak of memory is that of the
whole process, its time that of the fastest.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cxremb.store import layout
from cxremb.store.commit import commit_dataset, drafting, writing_tables
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table, replace_text, sha256_of
from cxremb.store.manifest import Manifest, Part, Recipe, publish

ROOT = Path(__file__).parent.parent
STUDIES, FILMS, FOLDS = 3_851, 7_470, 5
SECTIONS = ("comparison", "indication", "findings", "impression")
TEXTS = (*SECTIONS, "findings+impression", "pre-read")
WORDS = ("the heart is normal in size", "lungs are clear", "no effusion", "no pneumothorax", "no acute disease")
ARMS = ("image", "text", "fusion", *(f"control:{number}" for number in range(8)))
ABOUT = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": True}
FILM = "i.dataset = p.dataset AND i.image_id = p.item_id"
JOINS = {
    "predictions, images, reports": "SELECT p.run_id, i.view, t.text FROM predictions p "
    f"JOIN images i ON {FILM} JOIN reports t ON t.dataset = p.dataset AND t.study_id = p.study_id",
    "predictions, images, labels": "SELECT p.run_id, i.view, l.label, l.value FROM predictions p "
    f"JOIN images i ON {FILM} JOIN labels l ON l.dataset = p.dataset AND l.study_id = p.study_id",
    "predictions, images, runs": "SELECT r.arm, i.view, avg(p.y_prob) AS mean FROM predictions p "
    f"JOIN runs r USING (run_id, dataset) JOIN images i ON {FILM} GROUP BY ALL",
    "predictions, labels, splits": "SELECT l.label, s.part, avg(p.y_prob) AS mean FROM predictions p "
    "JOIN labels l USING (dataset, study_id) JOIN splits s USING (dataset, study_id, fold) GROUP BY ALL",
    "embeddings, images, stores": "SELECT s.encoder, i.view, avg(e.embedding[1]) AS mean FROM embeddings e "
    "JOIN images i USING (dataset, study_id) JOIN stores s USING (dataset, store) GROUP BY ALL",
}
ASK = """
import json, resource, sys, time
from pathlib import Path
from cxremb.store.sql import query
seconds, processor = [], []
for _ in range(3):
    start, used = time.perf_counter(), time.process_time()
    rows = query(Path(sys.argv[1]), sys.argv[2]).num_rows
    seconds.append(round(time.perf_counter() - start, 2))
    processor.append(round(time.process_time() - used, 2))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 1024)
print(json.dumps({"rows": rows, "seconds": min(seconds), "processor_seconds": min(processor), "peak_mb": peak}))
"""


def make_root(root: Path, name: str = "made_up", dims: tuple[int, int] = (1280, 768)) -> Path:
    """A store root with one data set of that size. dims: the numbers in a vector of a film and of a text."""
    rng = np.random.default_rng(0)
    studies = [{"study_id": str(number), "patient_id": str(number)} for number in range(STUDIES)]
    images = [
        {**studies[number % STUDIES], "image_id": f"{number % STUDIES}_{number // STUDIES}.png"}
        | {"view": ("PA", "Lateral")[number // STUDIES], "path": f"/films/{number}.png", "sha256": f"{number:064d}"}
        for number in range(FILMS)
    ]
    y = (rng.random(STUDIES) < 0.6).astype(float).tolist()
    labels = [
        {"study_id": row["study_id"], "label_set": "normal_abnormal", "label": "abnormal", "value": value}
        for row, value in zip(studies, y, strict=True)
    ]
    labels += [
        {"study_id": row["study_id"], "label_set": "findings", "label": f"finding {number}", "value": float(value)}
        for row, values in zip(studies, (rng.random((STUDIES, 14)) < 0.1).tolist(), strict=True)
        for number, value in enumerate(values)
    ]
    reports = [
        {"study_id": row["study_id"], "section": section, "role": layout.ROLES[section]}
        | {"text": " ".join(rng.choice(WORDS, 7).tolist())}
        for row in studies
        for section in SECTIONS
    ]
    facts = [{"level": "study", "id": row["study_id"], "name": "age", "text": "60", "number": 60.0} for row in studies]
    tables = {"studies": studies, "images": images, "reports": reports, "labels": labels, "facts": facts}
    paths = layout.DatasetPaths(root, name)
    with writing_tables(paths), drafting(paths) as drafts:
        for table, rows in tables.items():
            drafts[table].extend(pa.Table.from_pylist(rows, schema=layout.TABLES[table]))
        dataset = commit_dataset(paths, drafts, ABOUT)
    add_store(dataset, "efficientnet_b1", [(row["image_id"], row["study_id"], "image") for row in images], dims[0])
    add_store(dataset, "biobert", [(row["study_id"],) * 2 + (text,) for row in studies for text in TEXTS], dims[1])
    folds = rng.integers(0, FOLDS, STUDIES)
    add_split(dataset, studies, folds.tolist())
    of_name = sha256(name.encode()).hexdigest()[:8]  # two data sets have no run in common
    for number, arm in enumerate(ARMS):
        add_run(dataset, f"20261102T0000{number:02d}-{of_name}", arm, rows=held_out(images, y, folds.tolist(), rng))
    return root


def add_store(dataset: Dataset, encoder: str, items: Sequence[tuple[str, str, str]], dim: int) -> None:
    """A store of random vectors. items: (item_id, study_id, section)."""
    poolings = ("avg",) if items[0][2] == "image" else ("cls", "mean")
    schema = layout.embedding_schema(dim, {})
    columns = [list(column) for column in zip(*((*item, way, "0") for item in items for way in poolings), strict=True)]
    n = len(items) * len(poolings)
    numbers = np.random.default_rng(1).standard_normal(n * dim, dtype=np.float32).astype(np.float16)
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(numbers).cast(schema.field("embedding").type.value_type), type=schema.field("embedding").type
    )
    recipe = Recipe(encoder, encoder, "0", "image" if len(poolings) == 1 else "text", dim, poolings, {}, "full")
    folder = dataset.paths.embeddings / recipe.store
    path = replace_table(
        folder / "part-1.parquet", pa.Table.from_arrays([*map(pa.array, columns), vectors], schema=schema)
    )
    part = Part(path.name, n, path.stat().st_size, sha256_of(path))
    created, count = "2026-11-01T12:00:00+00:00", len(items)
    publish(Manifest(1, recipe.key, recipe, "none", created, (part,), count, count, 0, None, {}), folder)


def add_split(dataset: Dataset, studies: Sequence[dict[str, str]], folds: Sequence[int]) -> None:
    """Five folds: a study is tested in one of them and validates in the next."""
    rows = [
        {"split": "grouped-5fold", "repeat": 0, "fold": fold, **row, "part": part_of(fold, own)}
        for row, own in zip(studies, folds, strict=True)
        for fold in range(FOLDS)
    ]
    table = pa.Table.from_pylist(rows, schema=layout.SPLITS)
    replace_table(dataset.paths.splits / "grouped-5fold@0123456789ab.parquet", table)


def part_of(fold: int, own: int) -> str:
    """The part of a study in a fold. own: the fold that tests it."""
    return "test" if fold == own else "val" if fold == (own + 1) % FOLDS else "train"


def held_out(
    images: Sequence[dict[str, Any]], y: Sequence[float], folds: Sequence[int], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """A prediction of each film in the fold that tests it and in the one that it validates."""
    logits = rng.standard_normal((len(images), 2)).tolist()
    return [
        {**row, "unit": "image", "item_id": row["image_id"], "repeat": 0, "fold": fold, "seed": 0, "part": part}
        | {"label": "abnormal", "y_true": y[study], "y_prob": 1 / (1 + np.exp(-logit)), "y_logit": logit}
        for row, pair in zip(images, logits, strict=True)
        for study in [int(row["study_id"])]
        for part, fold, logit in (("test", folds[study], pair[0]), ("val", (folds[study] + 1) % FOLDS, pair[1]))
    ]


def add_run(dataset: Dataset, run_id: str, arm: str, *, rows: Sequence[dict[str, Any]]) -> None:
    """A run with its predictions, 50 epochs and ten figures."""
    folder = dataset.paths.runs / run_id
    history = [
        {"repeat": 0, "fold": fold, "seed": 0, "epoch": epoch, "phase": phase, "loss": 0.7}
        for fold in range(FOLDS)
        for epoch in range(50)
        for phase in ("train", "val")
    ]
    metrics = [
        {"part": part, "label": "abnormal", "metric": metric, "value": 0.7, "low": 0.6, "high": 0.8}
        for part in ("test", "val")
        for metric in ("auroc", "accuracy", "f1", "precision", "recall")
    ]
    tables = {"predictions": layout.PREDICTIONS, "history": layout.HISTORY, "metrics": layout.METRICS}
    for (name, schema), values in zip(tables.items(), (rows, history, metrics), strict=True):
        replace_table(folder / f"{name}.parquet", pa.Table.from_pylist(values, schema=schema))
    record = {"run_id": run_id, "arm": arm, "head": "mlp", "preset": "default", "label_set": "normal_abnormal"}
    record |= {"split": "grouped-5fold@0123456789ab", "seeds": [0], "created": "2026-11-02T00:00:00+00:00"}
    replace_text(folder / "run.json", json.dumps(record))


def questions() -> dict[str, str]:
    """Name -> SQL: the joins above, `stores/queries/`, and the examples of docs/sql.md."""
    shipped = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "stores/queries").glob("*.sql"))}
    document = (ROOT / "docs" / "sql.md").read_text(encoding="utf-8")
    examples = re.findall(r"```sql\n(.*?)```", document, flags=re.DOTALL)
    return JOINS | shipped | {f"docs/sql.md, {number}": text for number, text in enumerate(examples, 1)}


def ask(root: Path, text: str) -> dict[str, Any]:
    """Rows, seconds and peak memory of one query in a process of its own."""
    done = subprocess.run([sys.executable, "-c", ASK, root, text], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="vectors of four numbers")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sql.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, dims = Path(folder), (4, 4) if args.quick else (1280, 768)
        maker = get_context("spawn").Process(target=make_root, args=(root, "made_up", dims))
        maker.start()  # elsewhere: a child's peak of memory is never less than that of the process that started it
        maker.join()
        found = {name: ask(root, text) for name, text in questions().items()}
    result = {
        "benchmark": "sql",
        "command": " ".join(["python", "benchmarks/sql.py", *sys.argv[1:]]),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "films": FILMS,
        "queries": found,
    }
    print(json.dumps(result, indent=1))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
