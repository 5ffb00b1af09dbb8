"""A whole embed job against its two stages, each measured alone: decoding films, and the network on decoded ones.

    python benchmarks/embed_job.py [--model efficientnet_lite1] [--films 300] [--out FILE]

Films are drawn: 512 x 624 PNGs with the grain of a detector. The ideal job takes as long as its slower stage:
`of_slower` says how near it comes. Where the network runs on the CPU both stages want the same cores, and the best that
can be is their sum: `of_both`. From the pixel cache there is one stage: `cached_of_forward` compares the job with it.
Jobs include loading the network and its check, which a longer job does once as well.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from cxremb.catalog import add_collection
from cxremb.embedding.decode import Decoders
from cxremb.embedding.start import run, settle
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.encoders.machine import choose_machine
from cxremb.store.clean import remove
from cxremb.store.dataset import Dataset
from cxremb.types import Collection, Image, Study


def make(folder: Path, films: int) -> Dataset:
    """A data set of drawn films."""
    random = np.random.default_rng(0)
    images, studies = [], []
    (folder / "films").mkdir()
    for number in range(films):
        coarse = PilImage.fromarray(random.integers(20, 230, (26, 21), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((512, 624), PilImage.Resampling.BICUBIC)).astype(np.float32)
        film = np.clip(smooth + random.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / "films" / f"{number}.png"
        PilImage.fromarray(film).save(path)
        images.append(Image(str(number), str(number), str(number), None, path))
        studies.append(Study(str(number), str(number)))
    return add_collection(Collection("films", studies, images, "none", "drawn", {}), folder / "root").dataset


def timed_job(dataset: Dataset, what: What, machine: Machine) -> float:
    """Seconds of a job that starts from nothing."""
    update = run(dataset, what, machine)
    remove(update.store.folder)
    return update.seconds


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet_lite1")
    parser.add_argument("--films", type=int, default=300)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "embed_job.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        dataset = make(Path(name), args.films)
        what, machine = What(args.model, precision=args.precision), choose_machine()
        encoder = load_encoder(*settle(dataset, what, machine))
        tasks = [
            [(path, content)]
            for path, content in zip(*(dataset.images[c].to_pylist() for c in ("path", "sha256")), strict=True)
        ]
        start = time.perf_counter()
        decoders = Decoders(encoder.frame, machine.workers, processes=True)
        films = np.stack([film.pixels for film in decoders.run(tasks, 128)])
        decode = time.perf_counter() - start
        decoders.close()
        encoder.encode(films[:32])  # builds and warms up the network
        start = time.perf_counter()
        for first in range(0, len(films), 32):
            encoder.encode(films[first : first + 32])
        forward = time.perf_counter() - start
        job = timed_job(dataset, what, machine)
        run(dataset, what, choose_machine(keep_pixels=True))
        remove(next(dataset.paths.embeddings.glob(f"{args.model}@*")))
        cached = timed_job(dataset, what, machine)
    result = {
        "model": args.model,
        "films": args.films,
        "machine": platform.processor() or platform.machine(),
        "seconds": {"decode alone": decode, "forward alone": forward, "job": job, "job from pixel cache": cached},
        "of_slower": max(decode, forward) / job,
        "of_both": (decode + forward) / job,
        "cached_of_forward": forward / cached,
    }
    result = json.loads(json.dumps(result), parse_float=lambda text: round(float(text), 3))
    print(json.dumps(result, indent=1))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
