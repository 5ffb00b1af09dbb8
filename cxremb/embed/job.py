"""Encode a data set once: plan, encode what is missing, commit one new version."""

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb import __version__
from cxremb.embed.encode import Block, Clock, Failure, Group, Options, encode_films, encode_texts
from cxremb.embed.parts import PartWriter, known_blocks
from cxremb.embed.plan import Item, Plan, make_plan, wanted_items, wanted_rows
from cxremb.encoders.base import ImageEncoder, TextEncoder
from cxremb.errors import StoreError
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table
from cxremb.store.layout import FAILURES
from cxremb.store.manifest import Manifest, latest_manifest, publish
from cxremb.store.reader import Store
from cxremb.types import Progress, unwatched


@dataclass(frozen=True)
class Outcome:
    """What a job did, in items: asked = reused + added + failed. `encoded` counts contents sent to the network."""

    store: Store
    asked: int
    reused: int
    added: int
    encoded: int
    failures: Sequence[Failure]
    seconds: float
    clock: Clock
    changed: bool  # whether a new version was written


def embed(
    dataset: Dataset,
    encoder: ImageEncoder | TextEncoder,
    options: Options | None = None,
    progress: Progress = unwatched,
    device: str = "cpu",
) -> Outcome:
    """Bring the store of `encoder` over `dataset` up to date.

    Stopped at any moment it leaves the old version in force, and finished parts for the next run to take up.
    Raises `StoreError` if nothing could be encoded at all; the failures are committed first, as rows.
    """
    start, clock, options = time.perf_counter(), Clock(), options or Options()
    recipe = encoder.recipe
    folder = dataset.paths.embeddings / recipe.store
    items = wanted_items(dataset, recipe.modality, recipe.sections)
    manifest = latest_manifest(folder)
    plan = make_plan(items, folder, manifest)
    writer = PartWriter(folder, recipe, encoder.licence, options.part_items)
    encoded = write_parts(plan, items, writer, encoder, (options, clock, progress))
    written = plan.asked - len(writer.failures)
    changed = manifest is None or has_changed(plan, writer, folder, manifest)
    if changed:
        provenance = {
            "device": device,
            "machine": f"{platform.machine()} {platform.system()}",
            "cxremb": __version__,
            "seconds": {stage: round(seconds, 2) for stage, seconds in clock.seconds.items()},
            "counts": clock.counts,
        }
        manifest = commit(folder, manifest, plan, writer, provenance)
    assert manifest is not None  # `changed` is true when it was
    if not written:
        raise StoreError(
            f"none of {plan.asked} items could be encoded; the first: {writer.failures[0].message}",
            hint='mend the files and embed again; every failure: cxremb sql "from failures"',
        )
    return Outcome(
        store=Store(folder, manifest),
        asked=plan.asked,
        reused=plan.asked - len(plan.todo),
        added=len(plan.todo) - len(writer.failures),
        encoded=encoded,
        failures=tuple(writer.failures),
        seconds=time.perf_counter() - start,
        clock=clock,
        changed=changed,
    )


def write_parts(
    plan: Plan,
    items: Sequence[Item],
    writer: PartWriter,
    encoder: ImageEncoder | TextEncoder,
    how: tuple[Options, Clock, Progress],
) -> int:
    """Write every missing row and rewrite stale parts without their dead ones. The number of contents encoded."""
    for part in plan.stale:
        writer.write(wanted_rows(pq.read_table(writer.folder / part.file), items))
    groups = group_by_content(plan.todo)
    held = (*plan.kept, *plan.adopted)
    known: set[str] = set()
    for block in known_blocks(writer.folder, held, groups, writer.recipe.poolings):
        writer.add(block)
        known.update(group[0].content for group in block.groups)
    fresh = [group for group in groups if group[0].content not in known]
    for block in encode_blocks(fresh, encoder, how):
        with how[1].measure("write"):
            writer.add(block)
    with how[1].measure("write"):
        writer.flush()
    return len(fresh)


def encode_blocks(
    groups: Sequence[Group], encoder: ImageEncoder | TextEncoder, how: tuple[Options, Clock, Progress]
) -> Iterable[Block]:
    """The blocks of either kind of encoder; none, and no network built, when there is nothing to do."""
    if not groups:
        return ()
    if encoder.recipe.modality == "image":
        return encode_films(groups, cast(ImageEncoder, encoder), *how)
    return encode_texts(groups, cast(TextEncoder, encoder), *how)


def group_by_content(items: Sequence[Item]) -> list[Group]:
    """Items of equal content together, in the order of their first."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.content, []).append(item)
    return [tuple(group) for group in groups.values()]


def has_changed(plan: Plan, writer: PartWriter, folder: Path, manifest: Manifest) -> bool:
    """Whether a new version would differ: new or dropped rows, or other failures than last time."""
    if plan.stale or plan.adopted or writer.parts:
        return True
    old = pq.read_table(folder / manifest.failures) if manifest.failures else FAILURES.empty_table()
    return not old.equals(failure_table(writer.failures))


def commit(
    folder: Path, manifest: Manifest | None, plan: Plan, writer: PartWriter, provenance: Mapping[str, Any]
) -> Manifest:
    """Publish the next version. Raises `VersionTaken` if another writer published it first."""
    version = manifest.version + 1 if manifest else 1
    failures = None
    if writer.failures:
        failures = f"failures-{version:06d}-{uuid4().hex[:8]}.parquet"  # two writers may race for one version
        replace_table(folder / failures, failure_table(writer.failures))
    new = Manifest(
        version=version,
        key=writer.recipe.key,
        recipe=writer.recipe,
        licence=writer.licence,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        parts=(*plan.kept, *plan.adopted, *writer.parts),
        asked=plan.asked,
        written=plan.asked - len(writer.failures),
        failed=len(writer.failures),
        failures=failures,
        provenance=provenance,
    )
    publish(new, folder)
    return new


def failure_table(failures: Sequence[Failure]) -> pa.Table:
    """The failures as rows, by item."""
    rows = [
        {
            "item_id": failure.item.item_id,
            "study_id": failure.item.study_id,
            "section": failure.item.section,
            "path": failure.item.source if failure.item.section == "image" else None,
            "stage": failure.stage,
            "message": failure.message,
        }
        for failure in sorted(failures, key=lambda failure: failure.item.key)
    ]
    return pa.Table.from_pylist(rows, schema=FAILURES)
