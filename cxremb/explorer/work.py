"""What is made beside the pages, by a process of its own that says how far it is: a map, and distances to training.

python -m cxremb.explorer.work ROOT DATASET STORE [SPLIT]
"""

import json
import sys
from pathlib import Path

from cxremb.errors import CxrembError
from cxremb.explorer.far import make_distances
from cxremb.explorer.mapping import make_map
from cxremb.store.dataset import open_dataset
from cxremb.store.maps import has_distances, has_map
from cxremb.store.reader import open_store


def main() -> None:
    """Make what is missing; each line that is JSON says how far it is."""

    def say(words: str) -> None:
        print(json.dumps({"words": words}), flush=True)  # noqa: T201 - the other process reads it

    root, name, which, *splits = sys.argv[1:]
    try:
        dataset = open_dataset(Path(root), name)
        store = open_store(dataset, which)
        if not has_map(dataset, store):
            make_map(dataset, store, say)
        for split in splits:
            if not has_distances(dataset, store, split):
                make_distances(dataset, store, split, say=say)
    except CxrembError as error:
        print(json.dumps({"failed": str(error)}), flush=True)  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
