"""A real pair of collections: Kermany's films, and PneumoniaMNIST, which is the same films at 28 x 28.

    python benchmarks/external.py chest_xray/ pneumoniamnist.npz [--work DIR] [--out FILE]

Of such a pair nothing can be learnt about another hospital: first that is what `cxremb external` must say; then, with
`--allow-overlap`, the figures and their mark, and how well a vector tells the two apart (a film of 28 pixels is known
by its blur). The encoder is EfficientNet-Lite1 (ImageNet weights from a Python package), the head that of one layer.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import cxremb
from cxremb.errors import DataError
from cxremb.store.dataset import list_datasets
from cxremb.version import VERSION

ENCODER = "efficientnet_lite1"


def prepare(kermany: Path, medmnist: Path, root: Path) -> dict[str, int]:
    """Both collections and their stores, as far as they are not there yet; how many films each store has."""
    there = {dataset.name for dataset in list_datasets(root)}
    for kind, path in (("kermany", kermany), ("medmnist", medmnist)):
        name = path.stem if kind == "medmnist" else kind
        if name not in there:
            cxremb.add(kind, path, root=root)
    films = {}
    for dataset in list_datasets(root):
        films[dataset.name] = cxremb.embed(ENCODER, dataset=dataset.name, root=root).store.rows
    return films


def main() -> None:
    """Encode what is not encoded yet, ask, write what was said."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kermany", type=Path)
    parser.add_argument("medmnist", type=Path)
    parser.add_argument("--work", type=Path, help="a store root that is kept; else a temporary one")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "external.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = (given.work or Path(folder)) / "stores"
        films = prepare(given.kermany, given.medmnist, root)
        refused = ""
        try:
            cxremb.external(head="linear-image", root=root)
        except DataError as error:
            refused = str(error)
        began = time.perf_counter()
        found = cxremb.external(head="linear-image", allow_overlap=True, root=root)
        seconds = time.perf_counter() - began
        rows: list[dict[str, Any]] = found.to_arrow().to_pylist()
    result = {
        "command": "python benchmarks/external.py chest_xray/ pneumoniamnist.npz",
        "cxremb": VERSION,
        "torch": torch.__version__,
        "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
        "films": films,
        "refused": refused,
        "seconds": round(seconds, 1),
        "pairs": rows,
        "caption": list(found.caption),
    }
    given.out.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1, default=str))


if __name__ == "__main__":
    main()
