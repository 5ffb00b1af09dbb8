"""Bring a store up to date: plan, let somebody write what is missing, commit one new version."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from cxremb.embedding.encode import Failure, Log
from cxremb.embedding.engines import Engine, fill
from cxremb.embedding.parts import PartWriter, salvage
from cxremb.embedding.plan import Item, StorePlan, current_plan, refuse_newer, wanted_items
from cxremb.encoders.base import ImageEncoder, Machine, TextEncoder
from cxremb.errors import StoreError, VersionTaken
from cxremb.store.dataset import Dataset, locations_of, terms_of_collection
from cxremb.store.files import replace_table, writing
from cxremb.store.layout import FAILURES
from cxremb.store.locations import Locations
from cxremb.store.manifest import Manifest, Recipe, publish
from cxremb.store.reader import Store
from cxremb.types import Progress, unwatched
from cxremb.version import VERSION

TRIES = 5  # versions that other writers may publish before this one gives up


@dataclass(frozen=True)
class Update:
    """What became of a store, in items: asked = reused + added + failed."""

    store: Store
    asked: int
    reused: int
    added: int
    encoded: int  # contents that went through the network
    failures: Sequence[Failure] = field(repr=False)
    seconds: float
    stages: Mapping[str, float]  # seconds by stage
    counts: Mapping[str, int]
    changed: bool  # whether a new version was written
    notes: Sequence[str] = ()  # what the user should know of this run


def embed(
    dataset: Dataset,
    encoder: ImageEncoder | TextEncoder,
    machine: Machine | None = None,
    *,
    progress: Progress = unwatched,
    about: Mapping[str, Any] | None = None,
    engine: Engine = fill,
) -> Update:
    """Bring the store of `encoder` over `dataset` up to date. `about` goes into the version's provenance.

    Stopped at any moment it leaves the old version in force, and finished parts for the next run to take up.
    Raises `StoreError` if nothing could be encoded at all; the failures are committed first, as rows.
    """
    folder = dataset.paths.embeddings / encoder.recipe.store
    log = Log(progress)
    update = update_store(
        folder,
        wanted_items(dataset, encoder.recipe.modality),
        lambda plan: engine(folder, plan, encoder, machine=machine or Machine(), log=log),
        recipe=encoder.recipe,
        licence=encoder.licence,
        log=log,
        about=about or {},
        notes=encoder.notes,
    )
    if not update.store.manifest.written:
        raise StoreError(
            f"none of {update.asked} items could be encoded; the first: {update.failures[0].message}",
            hint='mend the files and embed again; every failure: `cxremb sql "from failures"`',
        )
    return update


def update_store(
    folder: Path,
    items: Sequence[Item],
    write: Callable[[StorePlan], None],
    *,
    recipe: Recipe,
    licence: str,
    log: Log,
    about: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Update:
    """The store in `folder` with a vector or a failure for each of `items`: every version of a store comes from here.

    write: writes parts for a plan's `todo`, and logs what it could not do. about: goes into the provenance; a version
    that was made of another `source_version` than the one in force is published even if its parts are the same.
    If another writer publishes first, its version is read and this one's parts are taken up on top of it.
    Raises `VersionTaken` if that happens again and again, `StoreError` if the folder cannot be written.
    """
    start = time.perf_counter()
    attempt = partial(attempt_update, folder, items, write, recipe=recipe, licence=licence, log=log, about=about)
    with writing(folder):
        for _ in range(TRIES - 1):
            with suppress(VersionTaken):
                manifest, todo, changed = attempt()
                break
        else:
            manifest, todo, changed = attempt()
    return Update(
        store=Store(folder, manifest),
        asked=len(items),
        reused=len(items) - todo,
        added=todo - len(log.failures),
        encoded=log.encoded,
        failures=tuple(log.failures),
        seconds=time.perf_counter() - start,
        stages=log.seconds,
        counts=log.counts,
        changed=changed,
        notes=tuple(dict.fromkeys((*log.notes, *notes, *film_notes(log)))),
    )


def film_notes(log: Log) -> list[str]:
    """What was noted of films, with how many there are and one of them; the version's provenance has them all."""
    return [
        f"{len(items):,} film{'s' if len(items) > 1 else ''}, such as {items[0]}: {text}"
        for text, items in sorted(log.film_notes.items())
    ]


def attempt_update(
    folder: Path,
    items: Sequence[Item],
    write: Callable[[StorePlan], None],
    *,
    recipe: Recipe,
    licence: str,
    log: Log,
    about: Mapping[str, Any],
) -> tuple[Manifest, int, bool]:
    """(the version in force, items that were to do, whether it is new). Raises `VersionTaken` if another was first."""
    log.failures.clear()
    log.film_notes.clear()
    log.encoded = 0
    before, plan = current_plan(items, folder)
    if plan.mixed:
        salvage(plan, PartWriter(folder, recipe, licence, len(items), log))
        before, plan = current_plan(items, folder)
    todo = len(plan.todo)
    if todo:
        write(plan)
        _, plan = current_plan(items, folder)
        refuse_newer(folder, before)
        refuse_unexplained(plan, log)
    locations = locations_of(folder)
    failures = failure_table(log.failures, locations)
    if locations.files:  # the names of its files may be those of people: they stand in no message either
        log.failures[:] = [replace(one, message=without_place(one, locations)) for one in log.failures]
    if before and not is_news(folder, before, plan, failures=failures, about=about):
        return before, todo, False
    version = before.version + 1 if before else 1
    manifest = Manifest(
        version=version,
        key=recipe.key,
        recipe=recipe,
        licence=licence,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        parts=plan.parts,
        asked=plan.asked,
        written=plan.asked - failures.num_rows,
        failed=failures.num_rows,
        # two writers may race for one version: each has a file of failures of its own
        failures=f"failures-{version:06d}-{uuid4().hex[:8]}.parquet" if failures.num_rows else None,
        provenance={
            "machine": f"{platform.machine()} {platform.system()}",
            "cxremb": VERSION,
            "seconds": {stage: round(seconds, 2) for stage, seconds in log.seconds.items()},
            "counts": log.counts,
            **({"film_notes": log.film_notes} if log.film_notes else {}),
            **about,
        },
        **terms_of_collection(folder),
    )
    if manifest.failures:
        replace_table(folder / manifest.failures, failures)
    publish(manifest, folder)
    return manifest, todo, True


def refuse_unexplained(plan: StorePlan, log: Log) -> None:
    """Raises `StoreError` if an item has neither a vector nor a failure: it must not go missing in silence.

    What failed here and has a vector all the same, since another writer could encode it, is no failure.
    """
    missing = {item.key for item in plan.todo}
    log.failures[:] = [failure for failure in log.failures if failure.item.key in missing]
    failed = {failure.item.key for failure in log.failures}
    if lost := [item for item in plan.todo if item.key not in failed]:
        raise StoreError(
            f"{len(lost)} of {plan.asked} items have neither a vector nor a failure, such as {lost[0].item_id}",
            hint="run the same command again: what is finished is kept",
        )


def is_news(folder: Path, before: Manifest, plan: StorePlan, *, failures: pa.Table, about: Mapping[str, Any]) -> bool:
    """Whether a new version would differ: other parts, other failures, or made of another version of its source."""
    if {part.file for part in plan.parts} != {part.file for part in before.parts}:
        return True
    if any(about.get(name) != before.provenance.get(name) for name in ("source", "source_version", "source_created")):
        return True
    old = pq.read_table(folder / before.failures) if before.failures else FAILURES.empty_table()
    return not old.equals(failures)


def without_place(failure: Failure, locations: Locations) -> str:
    """What went wrong, without where the film lies."""
    path = failure.item.source if failure.item.section == "image" else ""
    return locations.hidden(failure.message.replace(path, locations.short(path)) if path else failure.message)


def failure_table(failures: Sequence[Failure], locations: Locations) -> pa.Table:
    """The failures as rows, by item. They name films as the table `images` does, and no folder of this machine."""
    rows = [
        {
            "item_id": failure.item.item_id,
            "study_id": failure.item.study_id,
            "section": failure.item.section,
            "path": locations.short(failure.item.source) if failure.item.section == "image" else None,
            "stage": failure.stage,
            "message": without_place(failure, locations),
            "content": failure.item.content or None,
        }
        for failure in sorted(failures, key=lambda failure: failure.item.key)
    ]
    return pa.Table.from_pylist(rows, schema=FAILURES)
