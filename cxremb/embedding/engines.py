"""Who writes the parts: this process, one process for each device, one share of a job array, or a Ray cluster.

All of them run `fill` on shares of the same plan, so they write the same vectors under the same key. None commits.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from cxremb.embedding.encode import Log, encode_groups
from cxremb.embedding.parts import PartWriter, known_blocks, written_beside
from cxremb.embedding.plan import StorePlan, current_plan, group_by_content, wanted_items
from cxremb.encoders.base import ImageEncoder, Machine, TextEncoder, What, load_encoder
from cxremb.errors import EncoderError
from cxremb.processes import Workers
from cxremb.store import remote
from cxremb.store.dataset import open_dataset
from cxremb.store.files import writing
from cxremb.store.layout import DatasetPaths
from cxremb.types import Progress, unwatched

SHARES_EACH = 4  # shares a Ray worker gets one after another: a worker that dies loses one of them

# As `fill`, called with (store folder, plan, encoder, machine=, log=): parts for all of the plan's `todo`.
Engine = Callable[..., None]


def fill(
    folder: Path,
    plan: StorePlan,
    encoder: ImageEncoder | TextEncoder,
    *,
    machine: Machine,
    log: Log,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Parts for the plan's `todo`, or for one share of it; what became of it is in the log.

    share: (number, of how many), told apart by content, so that equal contents are in one share. A content that the
    store holds under another id (a film was renamed), or of another study, is copied. Interrupted, it writes what is
    finished before it goes.
    """
    number, of = share
    groups = group_by_content([item for item in plan.todo if int(item.content[:8], 16) % of == number])
    writer = PartWriter(folder, encoder.recipe, encoder.licence, machine.part_items, log)
    known: set[str] = set()
    for copied, vectors in known_blocks(plan.there, groups, poolings=encoder.recipe.poolings):
        writer.add(copied, vectors)
        known.update(group[0].content for group in copied)
    fresh = [group for group in groups if group[0].content not in known]
    cache = DatasetPaths(folder.parents[2], folder.parents[1].name).cache
    with written_beside(writer) as put:
        for encoded, vectors in encode_groups(fresh, encoder, machine, log=log, cache=cache):
            with log.measure("write"):  # time spent waiting for it
                put(encoded, vectors)
    log.encoded += len(fresh)


def fill_share(
    root: str | Path,
    dataset: str,
    what: What,
    *,
    machine: Machine,
    share: tuple[int, int],
    progress: Progress = unwatched,
) -> Log:
    """Write one share of what is missing now; the next `embed` of the whole takes it up and commits it.

    root: a path, or an address, which another machine opens for itself.
    """
    data = open_dataset(remote.opened(root), dataset)
    encoder = load_encoder(what, machine)
    folder = data.paths.embeddings / encoder.recipe.store
    log = Log(progress)
    with writing(folder):
        _, plan = current_plan(wanted_items(data, encoder.recipe.modality), folder)
        fill(folder, plan, encoder, machine=machine, log=log, share=share)
    log.progress = unwatched  # it may go back to another process
    log.notes.extend(encoder.notes)
    return log


def fill_on_devices(
    folder: Path, plan: StorePlan, encoder: ImageEncoder | TextEncoder, *, machine: Machine, log: Log, what: What
) -> None:
    """As `fill`, by one process for each device of the machine, each with an equal share.

    An error in one of them is raised when the others have ended.
    """
    count = len(machine.devices)
    with Workers(count) as pool:
        shares = [
            pool.submit(
                fill_share,
                remote.name_of(folder.parents[2]),
                folder.parents[1].name,
                what,
                machine=replace(machine, devices=(device,)),
                share=(number, count),
            )
            for number, device in enumerate(machine.devices)
        ]
        done = (share.result() for share in shares)
        for part in log.progress(done, count, "encoding, one share for each device"):
            log.add(part)


def fill_on_ray(
    folder: Path, plan: StorePlan, encoder: ImageEncoder | TextEncoder, *, machine: Machine, log: Log, what: What
) -> None:
    """As `fill`, by Ray Data workers, each with a processor (and a GPU). A share whose worker died is run again."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report its use to its makers
    try:
        import ray
    except ImportError as error:
        raise EncoderError("--engine ray needs Ray", hint='pip install "cxremb[ray]"') from error
    count = machine.ray_workers * SHARES_EACH
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    shares = ray.data.from_items([{"number": number} for number in range(count)], override_num_blocks=count)
    fill_one = partial(fill_share, remote.name_of(folder.parents[2]), folder.parents[1].name, what, machine=machine)
    done = shares.map(
        partial(ray_share, fill_one=fill_one, count=count),
        num_cpus=1.0,
        num_gpus=1.0 if machine.device.startswith("cuda") else 0.0,
        compute=ray.data.TaskPoolStrategy(size=machine.ray_workers),
    )
    for row in log.progress(done.iter_rows(), count, f"encoding, {count} shares on Ray"):
        log.add(row["log"])


def ray_share(row: dict[str, int], fill_one: Callable[..., Log], count: int) -> dict[str, object]:
    """One share, as Ray Data wants it: a row in, a row out."""
    return {"log": fill_one(share=(int(row["number"]), count))}
