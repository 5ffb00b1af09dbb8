"""Projected vectors as a store like any other: every row of the store they come from, and how they were made."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxremb.alignment.project import ROWS_AT_ONCE, Projection
from cxremb.embedding.encode import Block, Options
from cxremb.embedding.job import failure_table
from cxremb.embedding.parts import PartWriter
from cxremb.embedding.plan import Item
from cxremb.errors import StoreError
from cxremb.store.files import replace_file, replace_table, writing
from cxremb.store.layout import FAILURES
from cxremb.store.manifest import Manifest, Recipe, latest_manifest, publish
from cxremb.store.reader import Store, halves
from cxremb.store.texts import MARKS
from cxremb.version import VERSION

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


def publish_derived(derived: Derived, patients: pa.Table, about: Mapping[str, Any]) -> tuple[Store, bool]:
    """(the store, whether a version was written): none is where the same was made of the same version before.

    patients: those that may not be evaluated on, as column `patient_id`. about: goes into the provenance. What had no
    vector in the source has none here, and its failure is carried over. Raises `StoreError` if it cannot be written.
    """
    folder, source = derived.folder, derived.source
    made_of = {"source": source.name, "source_version": source.version, "source_created": source.created}
    with writing(folder):
        before = latest_manifest(folder)
        if before and made_of.items() <= before.provenance.items():
            return Store(folder, before), False
        replace_file(folder / WEIGHTS, lambda draft: put(draft, derived.projection.to_bytes()))
        replace_table(folder / PATIENTS, patients)
        writer = PartWriter(folder, derived.recipe, source.manifest.licence, Options().part_items)
        for block in projected(derived):
            writer.add(block)
        writer.flush()
        failed = pa.concat_tables([failures_of(source), failure_table(writer.failures)])
        name = f"failures-{uuid4().hex}.parquet" if failed.num_rows else None
        if name:
            replace_table(folder / name, failed)
        manifest = Manifest(
            version=before.version + 1 if before else 1,
            key=derived.recipe.key,
            recipe=derived.recipe,
            licence=source.manifest.licence,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            parts=tuple(writer.parts),
            asked=source.manifest.asked,
            written=source.manifest.asked - failed.num_rows,
            failed=failed.num_rows,
            failures=name,
            provenance={
                "machine": f"{platform.machine()} {platform.system()}",
                "cxremb": VERSION,
                "trained_on": PATIENTS,
                "projection": WEIGHTS,
                **made_of,
                **about,
            },
        )
        publish(manifest, folder)
    return Store(folder, manifest), True


def projected(derived: Derived) -> Iterator[Block]:
    """Every row of the source in its first pooling, of all texts and not only of the one that was aligned."""
    source = derived.source
    rows = source.table()
    rows = rows.filter(pc.equal(rows["pooling"], source.pooling))
    for start in range(0, rows.num_rows, ROWS_AT_ONCE):
        block = rows.slice(start, ROWS_AT_ONCE)
        columns = (block[name].to_pylist() for name in ("item_id", "study_id", "section", "content"))
        groups = [
            (Item(item, study, section, content, ""),) for item, study, section, content in zip(*columns, strict=True)
        ]
        yield Block(groups, {POOLING: derived.projection(halves(block["embedding"], source.dim))})


def failures_of(source: Store) -> pa.Table:
    """What the source could not encode. Raises `StoreError` if its list is gone."""
    if source.failure_path is None:
        return FAILURES.empty_table()
    try:
        return pq.ParquetFile(source.failure_path).read()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"{source.failure_path}: cannot be read ({error})",
            hint=f"run `cxremb embed --model {source.encoder}` again",
        ) from error


def put(draft: Path, content: bytes) -> None:
    """Write it."""
    draft.write_bytes(content)
