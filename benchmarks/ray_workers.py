"""Films a second of one and of two local Ray workers, beside the plain job on one core, in turns; the stores are equal.

    python benchmarks/ray_workers.py [--films 600] [--rounds 2] [--out FILE]

Films are drawn, as those of `embed_films.py`; the encoder is EfficientNet-Lite1 in float32. Ray is up before the
clock runs. What a worker needs once, its process and the network, is part of its time, four times over for its four
shares: a job of hours does not notice. Believe the wall: workers are no children of this process, so their processor
time is not in its own.
"""

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from embed_films import SMALL, made
from side_by_side import HERE, take_turns, write

from cxremb.embedding.engines import fill_on_ray
from cxremb.embedding.job import embed
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.store.clean import remove
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store, open_store

WHAT = What("efficientnet_lite1", precision="fp32")
PACKAGES = ("ray", "torch", "timm", "numpy", "pyarrow")


def job(dataset: Dataset, workers: int) -> Store:
    """The store, made from nothing. workers: of Ray; 0 is the plain job."""
    for store in dataset.paths.embeddings.glob(f"{WHAT.model}@*"):
        remove(store)
    machine = Machine(workers=1, ray_workers=workers)
    engine = {"engine": partial(fill_on_ray, what=WHAT)} if workers else {}
    embed(dataset, load_encoder(WHAT, machine), machine, **engine)
    return open_store(dataset, WHAT.model)


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "ray_workers.json")
    args = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    import ray
    import torch

    torch.set_num_threads(1)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        dataset = made(Path(folder), args.films, SMALL, "PNG, grey")
        ids, vectors = job(dataset, 0).vectors()
        for workers in (1, 2):
            if not np.array_equal(job(dataset, workers).matrix(ids), vectors):
                raise SystemExit(f"{workers} workers made another store")
        ways = {
            "one worker": (args.films, partial(job, dataset, 1)),
            "two workers": (args.films, partial(job, dataset, 2)),
            "without Ray, one core": (args.films, partial(job, dataset, 0)),
        }
        rows = take_turns(ways, args.rounds)
    ray.shutdown()
    write(args.out, {"benchmark": "ray_workers", "films": args.films, "rounds": args.rounds, "ways": rows}, PACKAGES)


if __name__ == "__main__":
    main()
