"""A store whose vectors lie in another type: the same numbers, the same key, nothing encoded again."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from cxremb.embedding.plan import describe_part, refuse_newer
from cxremb.store.files import read_part, replace_table, writing
from cxremb.store.manifest import Manifest, Part, latest_manifest, publish
from cxremb.store.matrices import with_values
from cxremb.store.reader import Store
from cxremb.types import Progress, unwatched

OF_ENCODING = ("seconds", "counts", "film_notes")  # of the version that encoded, which still says them


def convert(store: Store, values: pa.DataType, progress: Progress = unwatched) -> Store:
    """The store in a new version whose parts hold `values`, float32 or float16; itself where all of them do already.

    Older versions stay until `store gc`. Raises `VersionTaken` if another writer was first, `StoreError` if a part is
    damaged or the folder cannot be written.
    """
    with writing(store.folder):
        before = latest_manifest(store.folder) or store.manifest
        listed = progress(before.parts, len(before.parts), f"convert {store.name}")
        parts = tuple(converted(store.folder, part, values) for part in listed)
        if parts == before.parts:
            return Store(store.folder, before)
        refuse_newer(store.folder, before)
        manifest = replace(
            before,
            version=before.version + 1,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            parts=parts,
            provenance=without_encoding(before),
        )
        publish(manifest, store.folder)
    return Store(store.folder, manifest)


def converted(folder: Path, part: Part, values: pa.DataType) -> Part:
    """A part of the same rows whose vectors lie as `values`; the same part if they do."""
    rows = read_part(folder / part.file)
    changed = with_values(rows, values)
    if changed is rows:
        return part
    return describe_part(replace_table(folder / f"part-{uuid4().hex}.parquet", changed))


def without_encoding(before: Manifest) -> Mapping[str, Any]:
    """What the new version says of where it comes from: no time was spent on encoding it."""
    return {name: said for name, said in before.provenance.items() if name not in OF_ENCODING}
