"""How many studies a second `cxremb serve` judges: from one client that waits for each answer, and from several.

    python benchmarks/service.py --root stores [--run RUN] [--films 24] [--clients 8] [--rounds 5]

A real process on loopback; each request is one film that is in no collection (512 x 620, PNG), so each is encoded.
Both ways take turns, and send the same films: the probabilities are compared too.
"""

import argparse
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image
from side_by_side import take_turns, write

SIZE = 512, 620
PACKAGES = ("torch", "openvino", "fastapi", "starlette", "uvicorn")


def film(seed: int) -> bytes:
    """A PNG of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (20, 20), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC).save(written, "PNG")
    return written.getvalue()


@contextmanager
def service(words: list[str]) -> Iterator[str]:
    """The address of `cxremb serve` in a process of its own."""
    script = [sys.executable, "-m", "cxremb", "serve", "--port", "0", "--per-minute", "1000000", *words]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as running:
        said = "" if running.stdout is None else running.stdout.readline()
        found = re.match(r"(http://\S+) judges by", said)
        if found is None:
            raise SystemExit(f"the service did not start: {said}")
        try:
            yield found[1]
        finally:
            running.send_signal(signal.SIGINT)


def probability(address: str, content: bytes) -> float:
    """What the service says of a film: the probability of the first label."""
    head = b'--7f3a\r\nContent-Disposition: form-data; name="films"; filename="film.png"\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=7f3a"}
    with urlopen(Request(f"{address}predict", head + content + b"\r\n--7f3a--\r\n", form)) as answer:
        return float(json.load(answer)["studies"][0]["labels"][0]["probability"])


def counts(address: str) -> dict[str, float]:
    """What /metrics says."""
    with urlopen(f"{address}metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.split(" ") for line in lines if not line.startswith("#"))}


def main() -> None:
    """Time both ways in turns and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("stores"))
    parser.add_argument("--run")
    parser.add_argument("--films", type=int, default=24)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/service.json"))
    options = parser.parse_args()
    films = [film(seed) for seed in range(options.films)]
    said: dict[str, list[float]] = {}
    calls: dict[str, list[float]] = {"one at a time": [], f"{options.clients} clients": []}
    words = ["--root", str(options.root), *(["--run", options.run] if options.run else [])]
    with service(words) as address, ThreadPoolExecutor(options.clients) as clients:

        def ask(name: str, together: bool) -> None:
            before = counts(address)["cxremb_batches_total"]
            answers = (clients.map if together else map)(lambda one: probability(address, one), films)
            said[name] = list(answers)
            calls[name].append(counts(address)["cxremb_batches_total"] - before)

        alone, several = calls
        ways = {
            alone: (options.films, lambda: ask(alone, together=False)),
            several: (options.films, lambda: ask(several, together=True)),
        }
        rates = take_turns(ways, options.rounds)
        with urlopen(f"{address}health") as answer:
            about = json.load(answer)
    found = {
        "command": f"python benchmarks/service.py --films {options.films} --clients {options.clients}",
        "data": f"arm {about['arm']} of {about['dataset']}, films of {SIZE[0]} x {SIZE[1]} that are in no collection",
        "rows": rates,
        "studies_in_one_call": {name: round(options.films * len(its) / sum(its), 2) for name, its in calls.items()},
        "largest_difference": max(abs(a - b) for a, b in zip(said[alone], said[several], strict=True)),
    }
    write(options.out, found, PACKAGES)


if __name__ == "__main__":
    main()
