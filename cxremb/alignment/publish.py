"""Projected vectors as a store like any other: every row of the store they come from, and how they were made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load

from cxremb.alignment.project import ROWS_AT_ONCE, Projection
from cxremb.embedding.encode import Failure, Log
from cxremb.embedding.job import Update, update_store
from cxremb.embedding.parts import PartWriter
from cxremb.embedding.plan import Item, StorePlan
from cxremb.encoders.base import Machine
from cxremb.errors import StoreError, reason
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_file, replace_table
from cxremb.store.manifest import Recipe
from cxremb.store.matrices import halves
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.store.texts import MARKS

POOLING = "projected"
WEIGHTS, PATIENTS = "projection.safetensors", "patients.parquet"  # beside the parts; the provenance names them


@dataclass(frozen=True)
class Derived:
    """A store to be made: from which one, by which projection, and what decides it besides."""

    source: Store
    projection: Projection
    model: str
    input: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """Its key follows from the projection, so from all that the projection was learned from."""
        base = self.source.manifest.recipe
        return Recipe(
            encoder=f"align_{base.modality}",
            model=self.model,
            weights_sha256=sha256(self.projection.to_bytes()).hexdigest(),
            modality=base.modality,
            dim=self.projection.weight.shape[1],
            poolings=(POOLING,),
            input={**self.input, **{name: base.input[name] for name in (MARKS,) if name in base.input}},
            precision=base.precision,
        )

    @property
    def folder(self) -> Path:
        return self.source.folder.parent / self.recipe.store


def publish_derived(derived: Derived, patients: pa.Table, about: Mapping[str, Any]) -> Update:
    """The store, up to date with the version of the one it comes from; no version is written if it was before.

    patients: those that may not be evaluated on, as column `patient_id`. about: goes into the provenance. What had no
    vector in the source has none here, and its failure is carried over. Raises `StoreError` if it cannot be written.
    """
    folder, source = derived.folder, derived.source
    rows = source.table()
    rows = rows.filter(pc.equal(rows["pooling"], source.pooling))  # of all texts, not only of the one that was aligned
    columns = (rows[name].to_pylist() for name in ("item_id", "study_id", "section", "content"))
    items = [Item(item, study, section, content, "") for item, study, section, content in zip(*columns, strict=True)]
    failures = list(failures_of(source))
    replace_file(folder / WEIGHTS, lambda draft: put(draft, derived.projection.to_bytes()))
    replace_table(folder / PATIENTS, patients)
    log = Log()

    def write(plan: StorePlan) -> None:
        """What the plan lacks, projected."""
        log.failures.extend(failures)
        writer = PartWriter(folder, derived.recipe, source.manifest.licence, Machine().part_items, log)
        lacking = {item.key for item in plan.todo}
        chosen = [index for index, item in enumerate(items) if item.key in lacking]
        for start in range(0, len(chosen), ROWS_AT_ONCE):
            block = chosen[start : start + ROWS_AT_ONCE]
            vectors = halves(rows["embedding"].take(pa.array(block)), source.dim)
            writer.add([(items[index],) for index in block], {POOLING: derived.projection(vectors)})
        writer.flush()

    return update_store(
        folder,
        [*items, *(failure.item for failure in failures)],
        write,
        recipe=derived.recipe,
        licence=source.manifest.licence,
        log=log,
        about={
            "trained_on": PATIENTS,
            "projection": WEIGHTS,
            "source": source.name,
            "source_version": source.version,
            "source_created": source.created,
            **about,
        },
    )


def failures_of(source: Store) -> Iterator[Failure]:
    """What the source could not encode. Raises `StoreError` if its list is gone."""
    if source.failure_path is None:
        return
    try:
        rows = pq.ParquetFile(source.failure_path).read().to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{source.failure_path}: cannot be read ({error})",
            hint=f"run `cxremb embed --model {source.encoder}` again",
        ) from error
    for row in rows:  # lists of before do not know the content: no row of a part is ever taken for it then
        item = Item(row["item_id"], row["study_id"], row["section"], row.get("content") or "", row["path"] or "")
        yield Failure(item, row["stage"], row["message"])


def put(draft: Path, content: bytes) -> None:
    """Write it."""
    draft.write_bytes(content)


def source_of(dataset: Dataset, store: Store) -> Store:
    """The store whose vectors a projected one was made of. Raises `StoreError` if it is gone."""
    return open_store(dataset, str(store.manifest.provenance.get("source")))


def read_projection(store: Store) -> Projection:
    """What makes a projected store's vectors of those of its source. Raises `StoreError` if it is not whole."""
    path = store.folder / str(store.manifest.provenance.get("projection"))
    try:
        content = path.read_bytes()
        found = load(content)
        whole = sha256(content).hexdigest() == store.manifest.recipe.weights_sha256
        projection = Projection(found["mean"], found["scale"], found["weight"])
    except (OSError, KeyError, SafetensorError) as error:
        raise StoreError(f"{path}: cannot be read ({reason(error)})", hint="make it again: `cxremb align`") from error
    if not whole:
        raise StoreError(f"{path}: not the projection that made {store.name}", hint="make it again: `cxremb align`")
    return projection


def partner(dataset: Dataset, store: Store) -> Store | None:
    """The other of two stores that one `align` made, in the same space; None if it is gone, or made anew alone."""

    def made(one: Store) -> tuple[object, ...]:
        """What is the same in both."""
        recipe, about = one.manifest.recipe, one.manifest.provenance
        given = {name: value for name, value in recipe.input.items() if name != MARKS}
        return recipe.model, recipe.dim, given, about.get("temperature"), about.get("options")

    others = (one for one in list_stores(dataset) if one.projected and one.modality != store.modality)
    return next((one for one in others if made(one) == made(store)), None)
