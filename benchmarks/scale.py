"""A plan for MIMIC-CXR, and for a hundred times that, from measured rates: what is read, how long, what is the limit.

    python benchmarks/scale.py [--out FILE]

Measured here, on one core by processor time (the least of several rounds, so that a busy machine counts little): a film
as MIMIC-CXR-JPG has them, hashed and decoded; and the bytes of a vector in a part. Rates of a GPU are those of
`gpu-nvidia-h200.json`, memory and time of planning those of `growth.json`. The rest is arithmetic: cores add up, what
works side by side takes as long as its slowest, and a job reaches the share of its limit that it reached there.
"""

import argparse
import hashlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from decode import film, ours
from side_by_side import HERE, write

from cxremb.store import layout
from cxremb.store.files import replace_table

FILMS, REPORTS, BYTES = 377_110, 227_827, 0.57e12  # of MIMIC-CXR-JPG 2.1.0 and MIMIC-CXR
TEXTS = 5  # of a report: its sections, and the joined ones
SIZE = 2544, 3056  # of most of its films
DIM = 1280
ROUNDS = 15
GROWN = 7470  # films at 1x of `growth.json`
PACKAGES = ("numpy", "opencv-python-headless", "simplejpeg", "pyarrow")


@dataclass(frozen=True)
class Place:
    """Where a job runs."""

    name: str
    gpus: int
    cores: int  # that decode
    read: float  # bytes a second of storage, all nodes together


PLACES = (
    Place("one node: a GPU, 16 cores, a file system of 1 GB/s", 1, 16, 1e9),
    Place("Slurm array of 8: each a GPU and 8 cores, 4 GB/s together", 8, 64, 4e9),
    Place("Ray, 16 nodes of 16 cores without GPUs, 1 GB/s each", 0, 256, 16e9),
)


def main() -> None:
    """Measure, work out, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scale.json")
    args = parser.parse_args()
    measured = {**of_a_film(), "forward_ms": forward_ms(), "vector_bytes": vector_bytes()}
    print(json.dumps(measured, indent=1))
    write(args.out, {"benchmark": "scale", "measured": measured}, PACKAGES)
    for line in table(measured):
        print(line)


def of_a_film() -> dict[str, float]:
    """Bytes of a film, and milliseconds of one core for each thing that a job does with it."""
    picture, made = film(*reversed(SIZE)), {}
    for quality in range(85, 99):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        made[quality] = buffer.getvalue()
    content = min(made.values(), key=lambda one: abs(len(one) - BYTES / FILMS))
    return {
        "film_bytes": len(content),
        "hash_ms": least(lambda: hashlib.sha256(content).hexdigest()),
        "decode_ms": least(lambda: ours(content)),
        "decode_scaled_ms": least(lambda: ours(content, scaled=True)),
    }


def forward_ms() -> float:
    """Of one core for a film through EfficientNet-Lite1, by the engine that `auto` takes."""
    from cxremb.encoders.base import What, load_encoder
    from cxremb.encoders.machine import choose_machine

    encoder = load_encoder(What("efficientnet_lite1"), choose_machine())
    films = np.random.default_rng(0).integers(0, 255, (32, encoder.frame.side, encoder.frame.side), dtype=np.uint8)
    return least(lambda: encoder.encode(films)) / len(films)


def least(work: Callable[[], object]) -> float:
    """Milliseconds of processor time, the least of some rounds."""
    spent = []
    work()
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return round(1000 * min(spent), 3)


def vector_bytes(rows: int = 8192) -> float:
    """What a row of a store of EfficientNet-B1 takes in a part; of random numbers, which nothing compresses."""
    random = np.random.default_rng(0).standard_normal((rows, DIM)).astype(np.float16).astype(np.float32)
    schema = layout.embedding_schema(DIM, {})
    names = [f"{number:032x}" for number in range(rows)]
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(random.ravel()), type=schema.field("embedding").type)
    columns = [names, names, ["image"] * rows, ["avg"] * rows, digests]
    table = pa.Table.from_arrays([*map(pa.array, columns), vectors], schema=schema)
    with tempfile.TemporaryDirectory() as folder:
        return round(replace_table(Path(folder) / "part.parquet", table).stat().st_size / rows, 1)


def table(measured: dict[str, Any]) -> list[str]:
    """The plan as lines of a table, as docs/scale.md has them; a test compares the two."""
    gpu = json.loads((HERE / "results" / "gpu-nvidia-h200.json").read_text(encoding="utf-8"))["steps"]
    films = gpu["embed films"]["findings"]["bf16, job"]["a_second"]
    texts = gpu["embed texts"]["findings"]["bf16, job"]["a_second"]
    share = gpu["embed files"]["findings"]["jpeg"]["of_limit"]
    lines = ["| | films | read | decode | network | texts | in all | the limit |", "| --- " * 8 + "|"]
    for times in (1, 100):
        for place in PLACES:
            core = measured["hash_ms"] + measured["decode_scaled_ms"] + (0 if place.gpus else measured["forward_ms"])
            steps = {
                "reading": times * BYTES / place.read,
                "decoding" if place.gpus else "processors": times * FILMS * core / 1000 / place.cores / share,
                "the network": times * FILMS / films / place.gpus if place.gpus else 0.0,
            }
            of_texts = times * REPORTS * TEXTS / texts / place.gpus if place.gpus else None
            whole = max(steps.values()) + (of_texts or 0)
            limit = max(steps, key=lambda name: steps[name])
            own = [lasting(seconds) if seconds else "in decode" for seconds in steps.values()]
            said = lasting(of_texts) if of_texts else "elsewhere"
            cells = [place.name, f"{times * FILMS:,}", *own, said, lasting(whole), limit]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def sizes(measured: dict[str, Any], growth: dict[str, Any]) -> list[str]:
    """What a data set of either size takes, as lines of a table. growth: the steps of `growth.json`."""
    largest = max((key for key in growth["embed, nothing new"] if key.endswith("x")), key=lambda key: int(key[:-1]))

    def of(step: str) -> float:
        return float(growth[step][largest]["more_mb"]) * 2**20 / (int(largest[:-1]) * GROWN)

    rows = {
        "a store of 1,280 numbers, on disk": measured["vector_bytes"],
        "its matrix in `cache/`": 2.0 * DIM,
        "`embed`: what is wanted, and what is there, in memory": of("embed, nothing new"),
        "a fusion's vectors, in memory while it is trained": of("features, warm"),
    }
    lines = [f"| | a film | {FILMS:,} films | {100 * FILMS:,} films |", "| --- " * 4 + "|"]
    for name, each in rows.items():
        cells = [f"{each / 1000:.1f} kB", *(f"{each * count / 1e9:,.1f} GB" for count in (FILMS, 100 * FILMS))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def lasting(seconds: float) -> str:
    """Seconds, minutes or hours, to two digits."""
    units = ((3600, "h"), (60, "min"), (0, "s"))
    size, unit = next((max(size, 1), unit) for size, unit in units if seconds >= 2 * size)
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


if __name__ == "__main__":
    main()
