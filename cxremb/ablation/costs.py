"""What stands beside an arm of a leaderboard: what its encoder costs, and whether it has seen the collection."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cxremb.encoders.pretrained import seen_before
from cxremb.store.dataset import Dataset
from cxremb.store.manifest import manifest_paths, read_manifest
from cxremb.store.reader import Store

HEADINGS = ("rank", "films/s", "B/film")


@dataclass(frozen=True)
class EncoderLine:
    """Of one arm."""

    arm: str
    store: str  # its title
    dim: int
    films_per_second: float | None  # as the store was made, by whatever machine; None where nobody knows
    bytes_per_film: float
    seen: str | None = None  # what its weights have seen of this collection, in words

    @property
    def cells(self) -> list[str]:
        """Films a second and bytes a film, as tables have them."""
        pace = "-" if self.films_per_second is None else f"{self.films_per_second:,.0f}"
        return [pace, f"{self.bytes_per_film:,.0f}"]


def line_of(arm: str, store: Store, dataset: Dataset) -> EncoderLine:
    """What an encoder costs, and whether it knows the collection."""
    recipe, films = store.manifest.recipe, max(1, store.manifest.written)
    size = sum(part.size_bytes for part in store.manifest.parts)
    adapter = str(dataset.descriptor.get("source", {}).get("adapter", dataset.name))
    seen = seen_before(recipe.encoder, adapter, model=recipe.model)
    return EncoderLine(arm, store.title, store.dim, pace(store), size / films, seen)


def pace(store: Store) -> float | None:
    """Films a second: those there are over all that was spent on waiting for films, encoding and writing them.

    None where a version is gone, or does not say how long it took. Of several processes the time is their sum.
    """
    versions = [read_manifest(path) for path in manifest_paths(store.folder)]
    if [one.version for one in versions] != list(range(1, store.version + 1)):
        return None
    spent = [sum(dict[str, float](one.provenance.get("seconds", {})).values()) for one in versions]
    return store.manifest.written / sum(spent) if spent[0] else None


def costs_in_words(lines: Mapping[str, EncoderLine], models: int) -> Iterator[str]:
    """What the columns mean, and who has seen the collection."""
    if lines:
        yield f"rank: of the AUROC among the rows, 1 the best, the mean over {models} models"
        yield "films/s: as each store was made, on whatever machine; B/film: of its files"
    for line in lines.values():
        if line.seen:
            yield f"{line.arm}: {line.seen}, so its figure is not that of new films"
