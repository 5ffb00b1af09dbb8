"""How long adding a large collection takes, and how much memory: simulated rows in the layout of MIMIC-CXR-JPG.

Every row is a file of its own with a content of its own; the tables and an archive of reports are written too. Each
add runs in a process of its own, whose peak of resident memory the operating system tells. Nothing of MIMIC is in it.

    python benchmarks/add_collection.py                  # 400,000 rows; about 3 GB of small files, removed at the end
    python benchmarks/add_collection.py --rows 20000 --output /tmp/small.json
"""

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import islice
from pathlib import Path

HERE = Path(__file__).parent
ADD = """
import json, resource, sys, time
from pathlib import Path
from cxremb.catalog import add_collection
from cxremb.datasets.mimic_cxr import read
start = time.perf_counter()
added = add_collection(read(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on a Mac
print(json.dumps({
    "seconds": round(time.perf_counter() - start, 1),
    "peak_memory_mb": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
    "counts": added.counts,
    "changes": added.changes,
}))
"""


def make_tree(folder: Path, rows: int) -> Path:
    """MIMIC-CXR-JPG with so many images. Returns the archive of reports."""
    sys.path.insert(0, str(HERE.parent / "tests"))  # the generator that the adapter's tests use
    import mimic
    from PIL import Image

    bytes_of = io.BytesIO()
    Image.linear_gradient("L").resize((16, 20)).save(bytes_of, "jpeg")
    films = list(islice(mimic.films(rows), rows))
    mimic.write_tables(folder, films)
    made: set[Path] = set()
    for number, film in enumerate(films):
        path = folder / "files" / mimic.study_folder(film.patient, film.study)
        if path not in made:
            path.mkdir(parents=True)
            made.add(path)
        # what follows the end of a JPEG is not shown, but makes the file another one
        (path / f"{film.dicom_id}.jpg").write_bytes(bytes_of.getvalue() + str(number).encode())
    return Path(mimic.write_archive(folder / "mimic-cxr-reports.zip", films))


def add(*paths: Path) -> dict[str, object]:
    """What one add took, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", ADD, *map(str, paths)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout))


def commit() -> str:
    """The commit of the code that was measured."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=HERE
    ).stdout.strip()


def main() -> None:
    """Make, add, add again, write what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000, help="images")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "add_collection.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        reports = make_tree(folder / "mimic", options.rows)
        print(f"made {options.rows:,} rows in {time.perf_counter() - start:.0f} s", flush=True)
        first = add(folder / "mimic", reports, folder / "stores")
        print(f"added: {first}", flush=True)
        again = add(folder / "mimic", reports, folder / "stores")
        print(f"added again: {again}", flush=True)
        size = sum(path.stat().st_size for path in (folder / "stores").rglob("*") if path.is_file())
    found = {
        "benchmark": "add_collection",
        "command": f"python benchmarks/add_collection.py --rows {options.rows}",
        "rows": options.rows,
        "simulated": True,
        "first": first,
        "again": again,
        "store_mb": round(size / 2**20, 1),
        "machine": {"processor": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
        "load": [round(load, 1) for load in os.getloadavg()],  # of one, five and fifteen minutes: who else was at work
        "files_in": tempfile.gettempdir(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("pyarrow", "duckdb")}},
        "commit": commit(),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(options.output)


if __name__ == "__main__":
    main()
