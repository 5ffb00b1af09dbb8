"""Encode a data set once: plan, let an engine write what is missing, commit one new version."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.embedding.encode import Clock, Failure, Options, Work
from cxremb.embedding.fill import Filled, fill, salvage
from cxremb.embedding.parts import PartWriter
from cxremb.embedding.plan import Plan, make_plan, wanted_items
from cxremb.encoders.base import ImageEncoder, TextEncoder
from cxremb.errors import StoreError, VersionTaken
from cxremb.store.dataset import Dataset
from cxremb.store.files import replace_table, writing
from cxremb.store.layout import FAILURES
from cxremb.store.manifest import Manifest, latest_manifest, publish
from cxremb.store.reader import Store
from cxremb.types import Progress, unwatched
from cxremb.version import VERSION

TRIES = 5  # versions that other writers may publish before this one gives up

# (store folder, plan, encoder, work) -> what was done. An engine writes parts for the plan's `todo`, and commits none.
Engine = Callable[[Path, Plan, ImageEncoder | TextEncoder, Work], Filled]


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
    notes: Sequence[str] = ()  # what the user should know of this run


def embed(
    dataset: Dataset,
    encoder: ImageEncoder | TextEncoder,
    options: Options | None = None,
    progress: Progress = unwatched,
    about: Mapping[str, Any] | None = None,
    engine: Engine = fill,
) -> Outcome:
    """Bring the store of `encoder` over `dataset` up to date. `about` goes into the version's provenance.

    Stopped at any moment it leaves the old version in force, and finished parts for the next run to take up. If
    another writer publishes first, its version is read and this one's parts are taken up on top of it.
    Raises `StoreError` if nothing could be encoded at all; the failures are committed first, as rows.
    """
    folder = dataset.paths.embeddings / encoder.recipe.store
    work = Work(options or Options(), Clock(), dataset.paths.cache, progress)
    with writing(folder):
        for left in reversed(range(TRIES)):
            try:
                outcome = bring_up_to_date(dataset, encoder, work, about or {}, engine)
                break
            except VersionTaken:
                if not left:
                    raise
    if not outcome.store.manifest.written:
        raise StoreError(
            f"none of {outcome.asked} items could be encoded; the first: {outcome.failures[0].message}",
            hint='mend the files and embed again; every failure: cxremb sql "from failures"',
        )
    return outcome


def bring_up_to_date(
    dataset: Dataset, encoder: ImageEncoder | TextEncoder, work: Work, about: Mapping[str, Any], engine: Engine
) -> Outcome:
    """One attempt. Raises `VersionTaken` if another writer published the version that this one had prepared."""
    start = time.perf_counter()
    folder = dataset.paths.embeddings / encoder.recipe.store
    items = wanted_items(dataset, encoder.recipe.modality)
    manifest = latest_manifest(folder)
    plan = make_plan(items, folder, manifest)
    if plan.mixed:
        salvage(plan, PartWriter(folder, encoder.recipe, encoder.licence, work.options.part_items))
        plan = make_plan(items, folder, manifest)
    todo = len(plan.todo)
    filled = engine(folder, plan, encoder, work) if todo else Filled(clock=work.clock)
    if todo:
        plan = make_plan(items, folder, manifest)
    refuse_unexplained(plan, filled)
    changed = manifest is None or has_changed(folder, manifest, plan, filled)
    if changed:
        manifest = next_version(encoder, manifest, plan, filled, about)
        manifest = commit(folder, manifest, filled.failures)
    assert manifest is not None  # `changed` is true when it was
    return Outcome(
        store=Store(folder, manifest),
        asked=plan.asked,
        reused=plan.asked - todo,
        added=todo - len(filled.failures),
        encoded=filled.encoded,
        failures=filled.failures,
        seconds=time.perf_counter() - start,
        clock=filled.clock,
        changed=changed,
        notes=tuple(dict.fromkeys((*filled.notes, *encoder.notes))),
    )


def refuse_unexplained(plan: Plan, filled: Filled) -> None:
    """Raises `StoreError` if an item has neither a vector nor a failure: it must not go missing in silence."""
    failed = {failure.item.key for failure in filled.failures}
    if lost := [item for item in plan.todo if item.key not in failed]:
        raise StoreError(
            f"{len(lost)} of {plan.asked} items have neither a vector nor a failure, such as {lost[0].item_id}",
            hint="run the same command again: what is finished is kept",
        )


def has_changed(folder: Path, manifest: Manifest, plan: Plan, filled: Filled) -> bool:
    """Whether a new version would differ: other parts, or other failures than last time."""
    if {part.file for part in plan.parts} != {part.file for part in manifest.parts}:
        return True
    old = pq.read_table(folder / manifest.failures) if manifest.failures else FAILURES.empty_table()
    return not old.equals(failure_table(filled.failures))


def next_version(
    encoder: ImageEncoder | TextEncoder,
    manifest: Manifest | None,
    plan: Plan,
    filled: Filled,
    about: Mapping[str, Any],
) -> Manifest:
    """The version after `manifest`, not yet published."""
    version = manifest.version + 1 if manifest else 1
    # two writers may race for one version: each has a file of failures of its own
    failures = f"failures-{version:06d}-{uuid4().hex[:8]}.parquet" if filled.failures else None
    provenance = {
        "machine": f"{platform.machine()} {platform.system()}",
        "cxremb": VERSION,
        "seconds": {stage: round(seconds, 2) for stage, seconds in filled.clock.seconds.items()},
        "counts": filled.clock.counts,
        **about,
    }
    return Manifest(
        version=version,
        key=encoder.recipe.key,
        recipe=encoder.recipe,
        licence=encoder.licence,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        parts=plan.parts,
        asked=plan.asked,
        written=plan.asked - len(filled.failures),
        failed=len(filled.failures),
        failures=failures,
        provenance=provenance,
    )


def commit(folder: Path, manifest: Manifest, failures: Sequence[Failure]) -> Manifest:
    """Publish the version. Raises `VersionTaken` if another writer published it first."""
    if manifest.failures:
        replace_table(folder / manifest.failures, failure_table(failures))
    publish(manifest, folder)
    return manifest


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
