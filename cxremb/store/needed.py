"""What a query needs of a root in object storage: vectors and predictions are fetched when it names a view of them."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from cxremb.store import remote
from cxremb.store.layout import TABLES
from cxremb.store.reader import Store

OF_VECTORS = {"embeddings", "nearest", "stores", "zero_shot", "meta"}  # `stores` says what is stale
OF_ANY = {"query_table", "read_parquet", "parquet_metadata", "glob"}  # what a name is made for only as it runs
VIEWS = {*TABLES, "splits", "audits", "notes", "maps", "distances", "stores", "embeddings", "failures", "concepts"}
VIEWS |= {"external", "patients", "prior", "runs", "history", "predictions", "metrics", "prompts", "zero_shot"}


def encoder_view(encoder: str) -> str:
    """A name for the encoder's view that needs no quotes and hides no other view."""
    name = re.sub(r"\W", "_", encoder.lower())
    return f"encoder_{name}" if name in VIEWS or name[:1].isdigit() else name


def unread(stores: Iterable[tuple[str, Store]], runs: Sequence[Path], text: str | None) -> set[str]:
    """Which of `vectors` and `predictions` stay in the bucket for this query, all else having been fetched.

    text: the query; None: whatever may be asked. Of a root on this machine nothing stays.
    """
    places = [*(store.folder for _, store in stores), *runs]
    if text is None or not places or not remote.is_remote(places[0]):
        fetch(stores, runs, {"vectors", "predictions"})
        return set()
    words = set(re.findall(r"\w+", text.lower()))
    of_encoders = {encoder_view(store.encoder) for _, store in stores}
    named = {word for word in words if any(word == one or word.startswith(f"{one}_") for one in of_encoders)}
    needed = {"vectors"} if words & (OF_VECTORS | OF_ANY) or named else set()
    needed |= {"predictions"} if words & {"predictions", *OF_ANY} else set()
    fetch(stores, runs, needed)
    return {"vectors", "predictions"} - needed


def fetch(stores: Iterable[tuple[str, Store]], runs: Sequence[Path], needed: set[str]) -> None:
    """Have them here, at once. Raises `StoreError`."""
    files: dict[Path, str] = {}
    if "vectors" in needed:
        files |= {store.folder / part.file: part.sha256 for _, store in stores for part in store.manifest.parts}
    if "predictions" in needed:
        files |= {folder / "predictions.parquet": "" for folder in runs}
    remote.all_there(files)
