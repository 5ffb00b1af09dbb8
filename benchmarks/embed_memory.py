"""Peak memory of an embed job for few and for many films: it must not grow with the job.

    python benchmarks/embed_memory.py [--model tiny] [--sizes 1000 20000] [--out FILE]

Films are small PNGs of noise, every one different. Each job runs in a process of its own, which reports its peak
resident set, without its decoding workers, which hold a film each.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from cxremb.catalog import add_collection
from cxremb.types import Collection, Image, Study

# everything inside the guard: a decoding worker imports this script again, and must not load the network with it
JOB = """
if __name__ == "__main__":
    import json, resource, sys
    from pathlib import Path
    from cxremb.encoders.base import What
    from cxremb.embedding.start import run
    from cxremb.store.dataset import open_dataset
    outcome = run(open_dataset(Path(sys.argv[1])), What(sys.argv[2]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    seconds = {stage: round(spent, 1) for stage, spent in outcome.stages.items()}
    told = {"films": outcome.asked, "job_mb": peak, "seconds": seconds}
    print(json.dumps(told))
"""


def make(folder: Path, films: int) -> Path:
    """A store root with a data set of so many films."""
    random = np.random.default_rng(0)
    images, studies = [], []
    for number in range(films):
        path = folder / "films" / f"{number // 1000}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PilImage.fromarray(random.integers(0, 256, (48, 48), dtype=np.uint8)).save(path, compress_level=1)
        images.append(Image(str(number), str(number), str(number), None, path))
        studies.append(Study(str(number), str(number)))
    add_collection(Collection("films", studies, images, "none", "drawn", {}), folder / "root")
    return folder / "root"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 20_000])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "embed_memory.json")
    args = parser.parse_args()
    rows = []
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            root = make(Path(folder), size)
            script = Path(folder) / "job.py"
            script.write_text(JOB)
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, script, root, args.model], check=True, capture_output=True, text=True
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]) | {"wall": round(time.perf_counter() - start, 1)})
            print(rows[-1])
    result = {
        "model": args.model,
        "machine": platform.processor() or platform.machine(),
        "jobs": rows,
        "job_memory_ratio": round(rows[-1]["job_mb"] / rows[0]["job_mb"], 3),
    }
    print(json.dumps(result["job_memory_ratio"]))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
