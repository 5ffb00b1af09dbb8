"""Map and distances as a job beside the pages: a process that says how far it is, and that ends when they do."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cxremb.store.dataset import Dataset
from cxremb.store.maps import has_distances, has_map
from cxremb.store.reader import Store, list_stores

NO_VECTORS = {
    "image": "it is made of vectors of films: `cxremb embed --model efficientnet_b1` first",
    "study": "it is made of vectors of texts: `cxremb embed --model biobert` first",
}
NOT_ASKED = "start `cxremb explore` without --no-map to make one"
NICE = 10  # pages first


@dataclass
class MapJob:
    """What is being made. state: none, running, done or failed."""

    state: str = "none"
    words: str = ""  # what a page says of it
    process: "subprocess.Popen[str] | None" = None
    thread: threading.Thread | None = None
    watching: Callable[[str], None] = field(default=lambda words: None)

    def start_where_needed(self, dataset: Dataset, unit: str, split: str | None) -> None:
        """Make what is missing of the store that is shown. unit: what a row is. split: of the runs, as `name@key`."""
        store = map_store(dataset, unit)
        stored = split is not None and (dataset.paths.splits / f"{split}.parquet").is_file()
        splits = [split] if split is not None and stored else []
        if store is None:
            self.words = NO_VECTORS[unit]
            return
        if not has_map(dataset, store) or any(not has_distances(dataset, store, one) for one in splits):
            self.start(dataset, store, splits)

    def start(self, dataset: Dataset, store: Store, splits: Sequence[str] = ()) -> None:
        """Make the map of a store, and distances in these splits."""
        place = (str(dataset.paths.root), dataset.name, store.name)
        command = [sys.executable, "-m", "cxremb.explorer.work", *place, *splits]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the pages, which end it
        )
        os.setpriority(os.PRIO_PROCESS, self.process.pid, NICE)
        self.state, self.words = "running", "starting"
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self) -> None:
        """Hear what it says until it ends."""
        process = self.process
        if process is None or process.stdout is None:
            return
        failed = "it could not be made"
        with process.stdout as lines:
            for line in lines:
                if line.startswith("{"):
                    said = json.loads(line)
                    failed = said.get("failed", failed)
                    if words := said.get("words"):
                        self.words = words
                        self.watching(words)
        ended = process.wait()
        self.state, self.words = ("done", "made") if ended == 0 else ("failed", failed)
        self.watching(self.words)

    def stop(self) -> None:
        """End it; what it has not written is not there."""
        if self.process is not None and self.process.poll() is None:
            self.watching = lambda words: None  # who stops it knows
            self.process.terminate()
        if self.thread is not None:
            self.thread.join()


def map_store(dataset: Dataset, unit: str) -> Store | None:
    """The store that is mapped: the newest of films, or of texts as they are written where rows are studies."""
    modality = "image" if unit == "image" else "text"
    stores = (store for store in list_stores(dataset) if store.modality == modality and store.xxxx == "keep")
    return next(stores, None)
