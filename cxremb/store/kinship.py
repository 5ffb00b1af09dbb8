"""Which collections have the same films: what a data set was made of, and who is known to contain whom."""

from pathlib import Path

from cxremb.store.dataset import Dataset

# (part, whole, what is known of it): the films of `part` are films of `whole`.
CONTAINED = (
    ("rsna", "nih", "films of NIH ChestX-ray14, read again"),
    ("siim", "nih", "films of NIH ChestX-ray14, as its authors say"),
    ("chestmnist", "nih", "films of NIH ChestX-ray14, made small"),
    ("chexpert_plus", "chexpert", "the films of CheXpert, with reports"),
    ("pneumoniamnist", "kermany", "films of Kermany, made small"),
)
TABLE = "table"  # the adapter of any collection that has none of its own: two of them have nothing in common


def collection_of(dataset: Dataset) -> str:
    """What a data set was made of: its adapter, of MedMNIST the set; else, as of tables and folders, its own name."""
    source = dataset.descriptor.get("source", {})
    if (adapter := source.get("adapter")) and adapter != TABLE:
        return str(adapter)
    file = Path(str(source.get("file") or ""))
    return file.stem.partition("_")[0] if file.suffix == ".npz" else dataset.name


def wholes(collection: str) -> set[str]:
    """The collection and those that contain it."""
    return {collection, *(whole for part, whole, _ in CONTAINED if part == collection)}


def kinship(a: str, b: str) -> str | None:
    """What two collections have in common, in words; None if nothing is known."""
    shared = wholes(a) & wholes(b)
    if not shared:
        return None
    known = [f"{part} has {why}" for part, whole, why in CONTAINED if part in (a, b) and whole in shared]
    return "; ".join(known) or f"both are {a}"
