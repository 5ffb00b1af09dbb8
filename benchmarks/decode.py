"""Films decoded and squashed to 240 px: this package against plain Pillow, side by side.

    python benchmarks/decode.py [--films DIR] [--seconds 3] [--out benchmarks/results/decode.json]

Without --films: a drawn film of 2048 x 2496 in each format. Every round runs both ways one after the other, so that a
busy machine slows both; the ratio is the median over the rounds.
"""

import argparse
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from cxremb.images import Frame, decode_bytes, resize

SIDE = 240
WAYS = ("pillow", "cxremb", "cxremb, scaled JPEG")


def pillow(content: bytes) -> None:
    """As a notebook does it: open, convert, resize."""
    picture = PilImage.open(io.BytesIO(content)).convert("L")
    np.asarray(picture.resize((SIDE, SIDE), PilImage.Resampling.BICUBIC))


def ours(content: bytes, scaled: bool = False) -> None:
    """As an embed job does it."""
    frame = Frame(SIDE, scaled_jpeg=scaled)
    resize(decode_bytes(content, "film", frame.least), frame)


def film(height: int = 2496, width: int = 2048) -> PilImage.Image:
    """A drawn film: smooth anatomy and the grain of a detector, so that it compresses as a radiograph does."""
    random = np.random.default_rng(0)
    coarse = PilImage.fromarray(random.integers(20, 230, (26, 21), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), PilImage.Resampling.BICUBIC)).astype(np.float32)
    return PilImage.fromarray(np.clip(smooth + random.normal(0, 2, smooth.shape), 0, 255).astype(np.uint8))


def drawn() -> dict[str, bytes]:
    """One film in each of the formats that collections come in."""
    picture, kinds = film(), {}
    for name, mode, style, size in (
        ("PNG grey 2048x2496", "L", "PNG", None),
        ("PNG grey as RGB 512x624", "RGB", "PNG", (512, 624)),
        ("JPEG grey 2048x2496", "L", "JPEG", None),
    ):
        buffer = io.BytesIO()
        (picture.resize(size) if size else picture).convert(mode).save(buffer, style, quality=92)
        kinds[name] = buffer.getvalue()
    return kinds


def found(folder: Path) -> dict[str, bytes]:
    """Every film in a folder, at most ten."""
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.*"))[:10]}


def rounds(content: bytes, seconds: float) -> dict[str, list[float]]:
    """Way -> seconds of each round."""
    ways: dict[str, Callable[[], None]] = {
        "pillow": lambda: pillow(content),
        "cxremb": lambda: ours(content),
        "cxremb, scaled JPEG": lambda: ours(content, scaled=True),
    }
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(spent["pillow"]) < 3:
        for way, run in ways.items():
            start = time.perf_counter()
            run()
            spent[way].append(time.perf_counter() - start)
    return spent


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "decode.json")
    args = parser.parse_args()
    rows = []
    for name, content in (found(args.films) if args.films else drawn()).items():
        spent = rounds(content, args.seconds)
        row = {"film": name, "rounds": len(spent["pillow"])}
        for way in WAYS:
            ratios = [a / b for a, b in zip(spent["pillow"], spent[way], strict=True)]
            row[way] = {"ms": round(1000 * min(spent[way]), 2), "times pillow": round(statistics.median(ratios), 2)}
        rows.append(row)
        print(name, *(f"{way} {row[way]['ms']} ms ({row[way]['times pillow']}x)" for way in WAYS), sep="; ")
    about = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"side": SIDE, **about, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
