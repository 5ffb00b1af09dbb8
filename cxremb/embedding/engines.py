"""Who writes the parts: this process, one process for each device, one share of a job array, or a Ray cluster.

All of them run `fill` on shares of the same plan, so they write the same vectors under the same key.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cxremb.embedding.encode import Clock, Options, Work
from cxremb.embedding.fill import Filled, Shard, fill
from cxremb.embedding.jobfile import Encode
from cxremb.embedding.plan import Plan, make_plan, wanted_items
from cxremb.encoders.base import ImageEncoder, Runtime, TextEncoder, load_encoder
from cxremb.errors import EncoderError
from cxremb.processes import Workers
from cxremb.store.dataset import open_dataset
from cxremb.store.files import writing
from cxremb.store.manifest import latest_manifest
from cxremb.types import Progress, unwatched

SHARES_EACH = 4  # shares a Ray worker gets one after another: a worker that dies loses one of them


@dataclass(frozen=True)
class Call:
    """All that another process needs to encode its share."""

    root: Path
    dataset: str
    encode: Encode
    runtime: Runtime
    options: Options

    def load(self) -> ImageEncoder | TextEncoder:
        """The encoder, its weights found and not yet loaded."""
        encode = self.encode
        how = encode.aspect, encode.scaled_jpeg, encode.xxxx
        return load_encoder(encode.model, encode.weights, self.runtime, *how)


def fill_share(call: Call, shard: Shard, progress: Progress = unwatched) -> Filled:
    """Write one share of what is missing now; the next `embed` of the whole takes it up and commits it."""
    dataset = open_dataset(call.root, call.dataset)
    encoder = call.load()
    folder = dataset.paths.embeddings / encoder.recipe.store
    with writing(folder):
        plan = make_plan(wanted_items(dataset, encoder.recipe.modality), folder, latest_manifest(folder))
        work = Work(call.options, Clock(), dataset.paths.cache, progress)
        return fill(folder, plan, encoder, work, shard)


@dataclass(frozen=True)
class Devices:
    """One process for each device of this machine, each with an equal share."""

    call: Call
    devices: Sequence[str]

    def __call__(self, folder: Path, plan: Plan, encoder: ImageEncoder | TextEncoder, work: Work) -> Filled:
        """As `fill`, by several processes. An error in one of them is raised when the others have ended."""
        calls = [replace(self.call, runtime=replace(self.call.runtime, device=device)) for device in self.devices]
        shards = [Shard(number, len(calls)) for number in range(len(calls))]
        with Workers(len(calls)) as pool:
            done = work.progress(pool.map(fill_share, calls, shards), len(calls), "encoding, one share for each device")
            return together(list(done), work)


@dataclass(frozen=True)
class RayCluster:
    """Ray Data workers, as many as asked for, each with its own processors (and GPUs)."""

    call: Call
    workers: int
    cpus: float = 1.0
    gpus: float = 0.0

    def __call__(self, folder: Path, plan: Plan, encoder: ImageEncoder | TextEncoder, work: Work) -> Filled:
        """As `fill`, on a cluster. A share whose worker died is run again by Ray."""
        try:
            import ray
        except ImportError as error:
            raise EncoderError("--engine ray needs Ray", hint='pip install "cxremb[ray]"') from error
        count = self.workers * SHARES_EACH
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        shares = ray.data.from_items([{"number": number} for number in range(count)], override_num_blocks=count)
        done = shares.map(
            partial(ray_share, call=self.call, of=count),
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            compute=ray.data.TaskPoolStrategy(size=self.workers),
        )
        rows = work.progress(done.iter_rows(), count, f"encoding, {count} shares on Ray")
        return together([row["filled"] for row in rows], work)


def ray_share(row: dict[str, int], call: Call, of: int) -> dict[str, object]:
    """One share, as Ray Data wants it: a row in, a row out."""
    return {"filled": fill_share(call, Shard(int(row["number"]), of))}


def together(shares: Sequence[Filled], work: Work) -> Filled:
    """The shares as one. Seconds are summed over workers: they are work, not waiting."""
    for share in shares:
        for stage, seconds in share.clock.seconds.items():
            work.clock.seconds[stage] = work.clock.seconds.get(stage, 0.0) + seconds
        for what, count in share.clock.counts.items():
            work.clock.count(what, count)
    failures = tuple(failure for share in shares for failure in share.failures)
    notes = tuple(dict.fromkeys(note for share in shares for note in share.notes))
    return Filled(failures, sum(share.encoded for share in shares), work.clock, notes)
