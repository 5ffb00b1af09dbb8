"""A store root of any size for `benchmarks/growth.py`: made-up studies with two films, a report and a label each."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from explorer_root import text

from cxremb.store import layout
from cxremb.store.commit import commit_dataset, drafting, writing_tables
from cxremb.store.files import replace_table, sha256_of
from cxremb.store.manifest import Manifest, Part, Recipe, publish

PART_ROWS = 25_000
STORES = {  # modality -> encoder, pooling, section, numbers, how far the label shifts them
    "image": ("efficientnet_b1", "avg", "image", 1280, 1.5),
    "text": ("biobert", "cls", "findings", 768, 3.0),
}


def make_root(root: Path, films: int) -> None:
    """One data set with two stores; two films a study, the first has 11; two studies a patient."""
    rng = np.random.default_rng(0)
    paths = layout.DatasetPaths(root, "made_up")
    study = np.maximum(np.arange(films) - 9, 0) // 2
    studies = np.arange(study[-1] + 1)
    n = len(studies)
    y = (rng.random(n) < 0.4).astype(float)
    texts = [f"The heart is normal in size. Report {number}." for number in range(n)]
    tables = {
        "studies": {"study_id": text(studies, "s"), "patient_id": text(studies // 2, "p")},
        "images": {
            "image_id": text(np.arange(films), "f"),
            "study_id": text(study, "s"),
            "patient_id": text(study // 2, "p"),
            "view": pa.array(np.array(["PA", "Lateral"])[np.arange(films) % 2]),
            "path": text(np.arange(films), "films/f"),
            "sha256": pa.array([f"{number:064x}" for number in range(films)]),
            "width": pa.array(np.full(films, 512, np.int32)),
            "height": pa.array(np.full(films, 624, np.int32)),
            "view_raw": pa.nulls(films, pa.string()),
        },
        "reports": {
            "study_id": text(studies, "s"),
            "section": pa.array(["findings"] * n),
            "role": pa.array([layout.ROLES["findings"]] * n),
            "text": pa.array(texts),
        },
        "labels": {
            "study_id": text(studies, "s"),
            "label_set": pa.array(["normal_abnormal"] * n),
            "label": pa.array(["abnormal"] * n),
            "value": pa.array(y),
        },
    }
    about = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": True}
    one = {"task": "binary", "means": "made up", "labels": ["abnormal"], "policy": "", "version": "0"}
    about |= {"label_sets": {"normal_abnormal": one}, "default_label_set": "normal_abnormal"}
    with writing_tables(paths), drafting(paths) as drafts:
        for name, columns in tables.items():
            drafts[name].extend(pa.table(columns, schema=layout.TABLES[name]))
        commit_dataset(paths, drafts, about)
    images, digests = tables["images"], [hashlib.sha256(words.encode()).hexdigest() for words in texts]
    add_store(paths, "image", [images[name] for name in ("image_id", "study_id", "sha256")], label=y[study], rng=rng)
    add_store(paths, "text", [*[tables["studies"]["study_id"]] * 2, pa.array(digests)], label=y, rng=rng)


def add_store(
    paths: layout.DatasetPaths, modality: str, items: list[pa.Array], *, label: np.ndarray, rng: np.random.Generator
) -> None:
    """Vectors of noise that the label shifts along one direction, in parts as a job writes them.

    items: ids, studies and digests of contents.
    """
    encoder, pooling, section, dim, shift = STORES[modality]
    direction = rng.standard_normal(dim).astype(np.float32)
    direction *= shift / np.linalg.norm(direction)
    recipe = Recipe(encoder, encoder, "0", modality, dim, (pooling,), {}, "full")
    folder, parts, n = paths.embeddings / recipe.store, [], len(label)
    folder.mkdir(parents=True)
    schema = layout.embedding_schema(dim, {"key": recipe.key})
    for start in range(0, n, PART_ROWS):
        part = slice(start, min(start + PART_ROWS, n))
        rows = part.stop - start
        vectors = rng.standard_normal((rows, dim), dtype=np.float32) + label[part, None].astype(np.float32) * direction
        rounded = pa.array(vectors.astype(np.float16).astype(np.float32).ravel())
        ids, studies, contents = (column[part] for column in items)
        columns = [ids, studies, pa.array([section] * rows), pa.array([pooling] * rows), contents]
        columns.append(pa.FixedSizeListArray.from_arrays(rounded, type=schema.field("embedding").type))
        path = folder / f"part-{start // PART_ROWS}.parquet"
        replace_table(path, pa.Table.from_arrays(columns, schema=schema))
        parts.append(Part(path.name, rows, path.stat().st_size, sha256_of(path)))
    publish(
        Manifest(1, recipe.key, recipe, "none", "2026-11-01T12:00:00+00:00", tuple(parts), n, n, 0, None, {}), folder
    )
