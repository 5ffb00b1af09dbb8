"""How long commands take from nothing: `--help` beside what the libraries that draw it take to import; `sql`, `ablate`.

    python benchmarks/command_line.py [--rounds 20] [--quick] [--out benchmarks/results/command_line.json]

Each is a new process, in turns. `--help` is held to a limit. `sql` counts the films of a small store, beside DuckDB
imported and asked the same of the Parquet file; `ablate` gives a table again whose runs are all there (warm), beside
the imports of torch and scikit-learn, without which no program that trains begins.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from embed_films import drawn, save
from side_by_side import HERE, take_turns, write

from cxremb.catalog import add_collection
from cxremb.types import Collection, Image, LabelSet, Study

LIMIT = 1.25  # times what importing typer and rich takes: what this project allows itself
FILMS = 60  # of the store of `sql` and `ablate`


def call(*words: str) -> Callable[[], None]:
    """A new Python that does so."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}

    def run() -> None:
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True, env=environment)

    return run


def cxremb(*words: str) -> Callable[[], None]:
    """A command."""
    return call("-m", "cxremb", *words)


def small(root: Path) -> None:
    """A data set of films and reports, every third abnormal."""
    (films := root / "films").mkdir()
    names = [f"s{number}" for number in range(FILMS)]
    paths = [save(drawn(number, (96, 80)), films / name, "PNG, grey") for number, name in enumerate(names)]
    about = LabelSet("state", "binary", "1 = abnormal", ("abnormal",))
    studies = [
        Study(name, name, {"findings": f"Film {name}."}, labels={"state": {"abnormal": float(number % 3 == 0)}})
        for number, name in enumerate(names)
    ]
    images = [Image(name, name, name, "PA", path) for name, path in zip(names, paths, strict=True)]
    add_collection(Collection("small", studies, images, "none", "drawn", {}, label_sets=[about]), root)


def main() -> None:
    """Time all in turns and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="one round: to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "command_line.json")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:
        place = ("--root", folder)
        small(Path(folder))
        for model in ("tiny", "tiny_text"):
            cxremb("embed", "--model", model, *place)()
        ablate = cxremb("ablate", "--no-controls", *place)
        ablate()
        films = next(Path(folder, "small").glob("images-*.parquet"))
        plain = f"import duckdb; duckdb.sql(\"select count(*) from read_parquet('{films}')\").fetchall()"
        groups = {
            "--help": {
                "limit: import typer and rich": call("-c", "import typer, rich.console, typer.rich_utils"),
                "cxremb --help": cxremb("--help"),
            },
            "sql": {"DuckDB": call("-c", plain), "cxremb sql": cxremb("sql", "select count(*) from images", *place)},
            "ablate, warm": {"limit: import torch and scikit-learn": call("-c", "import torch, sklearn.linear_model"),
                             "cxremb ablate": ablate},
        }  # fmt: skip
        ways = {}
        for what, calls in groups.items():
            print(what)
            ways[what] = take_turns({name: (1, run) for name, run in calls.items()}, rounds)
    ours = ways["--help"]["cxremb --help"]
    found = {
        "benchmark": "command_line",
        "command": f"python benchmarks/command_line.py --rounds {rounds}",
        "limit": LIMIT,
        "help_times": {"wall": round(1 / ours["times"], 3), "processor": round(1 / ours["times_cpu"], 3)},
        "ways": ways,
    }
    print(found["help_times"])
    write(options.out, found, ("typer", "rich", "duckdb", "torch", "scikit-learn"))


if __name__ == "__main__":
    main()
