"""Encoders whose weights can be had from packages, side by side on Kermany's films, patients kept whole.

    python benchmarks/leaderboard.py chest_xray/ [--work DIR] [--out FILE]

EfficientNet-Lite0, -Lite1 and -Lite2 (ImageNet weights, each from a Python package of its own: what is not installed
is left out and named), the same Lite0 with random weights, and `tiny`, a few numbers of the pixels: what an encoder
must beat. Logistic regression on each, five folds by patient, as `cxremb ablate --encoders all` has it; and few films
of each class, five draws a fold.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import timm
import torch

from cxremb.ablation import Ablation, compare_encoders
from cxremb.ablation.headline import table_of
from cxremb.ablation.trial import Trial
from cxremb.catalog import add_collection
from cxremb.datasets.kermany import read
from cxremb.embedding.start import run
from cxremb.encoders.base import What
from cxremb.errors import EncoderError
from cxremb.features import Inputs
from cxremb.store.reader import Store
from cxremb.table import as_markdown
from cxremb.version import VERSION

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
SHOTS = (1, 4, 16, 64)
INPUTS = Inputs("pneumonia")


def random_weights(folder: Path) -> Path:
    """Lite0 as it is before training."""
    torch.manual_seed(0)
    path = folder / "random_lite0.pth"
    torch.save(timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict(), path)
    return path


def rows_of(found: Ablation) -> list[dict[str, Any]]:
    """What is kept of each arm."""
    kept = ("arm", "auroc", "auroc_low", "auroc_high", "difference", "difference_low", "difference_high", "mean_rank")
    more = ("tied_with_best", "detectable", "accuracy", "f1", "dim", "films_per_second", "bytes_per_film", "seen")
    return [{name: row.get(name) for name in (*kept, *more)} for row in found.to_arrow().to_pylist()]


def main() -> None:
    """Encode what is not encoded yet, compare, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, help="a store root that is kept; else a temporary one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "leaderboard.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.work or Path(folder) / "stores"
        dataset = add_collection(read(options.folder), root).dataset
        stores: dict[str, Store] = {}
        missing, seconds = {}, {}
        for title, what in (
            *((name, What(name, precision="auto")) for name in LITE),
            ("random", What("efficientnet_lite0", weights=random_weights(Path(folder)), precision="auto")),
            ("tiny", What("tiny")),
        ):
            try:
                stores[title] = run(dataset, what).store
            except EncoderError as error:
                missing[title] = str(error)
                continue
            seconds[title] = round(sum(stores[title].manifest.provenance["seconds"].values()), 1)  # when it was made
            print(f"{title}: {seconds[title]} s", flush=True)
        names = [store.name for store in stores.values()]
        started = time.perf_counter()
        found = compare_encoders(dataset, names, ["image[head=linear]"], inputs=INPUTS, trial=Trial(controls=False))
        compared = time.perf_counter() - started
        shots = "|".join(map(str, SHOTS))
        few = compare_encoders(
            dataset, names, [f"image[head=linear,shots={shots}]"], inputs=INPUTS, trial=Trial(controls=False, seeds=5)
        )
        result = {
            "benchmark": "leaderboard",
            "collection": f"{dataset.name}: {found.n:,} films of {found.patients:,} patients",
            "split": found.split,
            "stores": {title: store.name for title, store in stores.items()},
            "not_here": missing,
            "encode_seconds": seconds,
            "compare_seconds": round(compared, 1),
            "rows": rows_of(found),
            "caption": list(found.caption),
            "shots": rows_of(few),
            "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "versions": {"cxremb": VERSION, "torch": torch.__version__, "timm": timm.__version__},
            "command": "python benchmarks/leaderboard.py chest_xray/",
        }
        options.out.write_text(json.dumps(result, indent=2) + "\n")
        print(as_markdown(table_of(found)))
        print("\n".join(found.caption))
        print(as_markdown(table_of(few)))


if __name__ == "__main__":
    main()
