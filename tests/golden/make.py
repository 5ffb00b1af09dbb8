"""The golden store: made once by the code of commit e44004e (the version before Part 6), never made again.

    git worktree add /tmp/old e44004e && cd /tmp/old && python tests/golden/make.py /tmp/golden

What it makes lies in `format1/` beside this file, films left out, with what the old code read from it in
`format1.json`. Run ids hold the time they were made at, so a second call gives other names.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from cxremb.cli.main import main
from cxremb.predictions import predictions_of
from cxremb.store.dataset import open_dataset
from cxremb.store.reader import list_stores
from cxremb.store.sql import query
from cxremb.train.runs import list_runs

ROOT = Path(sys.argv[1])
STUDIES = 60
QUERIES = (
    "select count(*) as n, count(distinct study_id) as studies from images",
    "select section, count(*) as n from reports group by section order by section",
    "select label_set, label, count(*) as n, sum(value) as ones from labels group by all order by all",
    "select split, part, count(*) as n from splits group by all order by all",
    "select store, version, rows, failed, modality, xxxx from stores order by store",
    "select section, pooling, count(*) as n, sum(embedding[1]::DOUBLE) as first from embeddings group by all order by all",
    "select item_id, stage from failures order by item_id",
    "select arm, head, preset, text, text_role, leaky, note from runs order by all",
    "select arm, part, count(*) as n, sum(y_prob) as prob from predictions join runs using (run_id) group by all order by all",
    "select arm, metric, value, low, high from metrics join runs using (run_id) where part = 'test' order by all",
    "select section, name, status, value from audits order by all",
)


def cxremb(*words: object) -> None:
    """One command; raises if it fails."""
    sys.argv = ["cxremb", *map(str, words), "--root", str(ROOT / "stores")]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise


def table(folder: Path) -> Path:
    """Two films a study, one report; abnormal every third; study 7 has a film that is no film."""
    rng = np.random.default_rng(0)
    rows = ["image_path,study,patient,view,findings,impression,indication,abnormal"]
    for number in range(STUDIES):
        sick = number % 3 == 0
        shown = sick if rng.random() < 0.8 else not sick  # what film and report say, and a fifth of it is wrong
        texts = (f"Opacity XXXX number {number}.", f"Change {rng.integers(5)}.")
        texts = texts if shown else (f"Clear lungs {number}.", "No change.")
        told = ["", ""] if number == 5 else texts
        for view in ("PA", "LATERAL"):
            pixels = rng.integers(0, 180, (12, 12)).astype(np.uint8) + (30 if shown else 0)
            path = folder / f"{number}_{view}.png"
            Image.fromarray(pixels.astype(np.uint8)).resize((48, 56)).save(path)
            rows.append(f"{path},s{number},p{number // 2},{view},{told[0]},{told[1]},Chest pain.,{int(sick)}")
    (folder / "7_PA.png").write_bytes(b"no film")
    path = folder / "films.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def digest(matrix: np.ndarray) -> str:
    """SHA-256 of float32 values."""
    return hashlib.sha256(np.ascontiguousarray(matrix, dtype=np.float32).tobytes()).hexdigest()


def read() -> dict[str, object]:
    """What this code reads from what it made."""
    dataset = open_dataset(ROOT / "stores")
    stores = {}
    for store in list_stores(dataset):
        matrix = store.load("image" if store.modality == "image" else "findings+impression")
        stores[store.name] = {
            "version": store.version,
            "ids": list(map(str, matrix.ids)),
            "sha256": digest(matrix.vectors),
        }
    runs = {}
    for run in list_runs(dataset):
        test = predictions_of(run)
        runs[run.run_id] = {
            "arm": run.arm,
            "caveats": list(run.caveats),
            "rows": len(test.y),
            "prob": float(test.prob.sum()),
            "auroc": run.metric("auroc"),
            "weights": {
                name: digest(np.concatenate([w.ravel() for w in one.values()]))
                for name, one in run.weights().items()
                if one
            },
        }
    sql = {text: json.loads(json.dumps(query(ROOT / "stores", text).to_pylist(), default=str)) for text in QUERIES}
    return {"stores": stores, "runs": runs, "sql": sql}


def make() -> None:
    """Everything that an earlier version may have left, once."""
    films = ROOT / "films"
    shutil.rmtree(ROOT, ignore_errors=True)
    films.mkdir(parents=True)
    columns = [f"{role}={name}" for role, name in
               {"path": "image_path", "study": "study", "patient": "patient", "view": "view"}.items()]  # fmt: skip
    words = [word for column in columns for word in ("--column", column)]
    words += ["--text", "findings", "--text", "impression", "--pre-read", "indication", "--label", "abnormal"]
    cxremb("data", "add", "table", "--name", "golden", "--table", table(films), *words)
    cxremb(
        "data",
        "label",
        "often",
        "--sql",
        "select distinct study_id, 'even' as label, (study_id[2:]::INT % 2)::DOUBLE as value from studies",
    )
    common = ("--label-set", "abnormal")
    listed = ROOT / "split.csv"
    parts = ["study_id,split", *(f"s{n},{'train' if n < 32 else 'val' if n < 40 else 'test'}" for n in range(STUDIES))]
    listed.write_text("\n".join(parts) + "\n", encoding="utf-8")
    cxremb("data", "split", "mine", "--from", listed, *common)
    cxremb("embed", "--model", "tiny")
    Image.fromarray(np.arange(48 * 56, dtype=np.uint8).reshape(56, 48)).save(films / "7_PA.png")
    for words in (("tiny_text",), ("tiny_text", "--xxxx", "drop")):
        cxremb("embed", "--model", *words)
    cxremb("ablate", *common)
    cxremb(
        "ablate",
        *common,
        "--arms",
        "linear-text,linear-image[train-fraction=0.5]",
        "--reference",
        "linear-text",
        "--no-controls",
        "--repeats",
        2,
    )
    cxremb("train", "text", *common, "--split", "mine")
    cxremb("train", "--preset", "medmnist-sample", *common, "--epochs", 2)
    cxremb(
        "train",
        "fusion",
        *common,
        "--split",
        "image-80-20",
        "--allow-leaky",
        "--preset",
        "cnn-llm/as-coded",
        "--epochs",
        2,
    )
    cxremb("align", *common)
    cxremb("audit", *common)


make()
kept = Path(__file__).parent / "format1"
shutil.rmtree(kept, ignore_errors=True)
found = read()
shutil.copytree(ROOT / "stores", kept, ignore=shutil.ignore_patterns("cache", "*.lock", ".*"))
kept.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
