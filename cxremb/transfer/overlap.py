"""Whom two collections share: by what is known of them, by the bytes of films, by their vectors, by their looks."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.audit.overlap import HAMMING
from cxremb.audit.pixels import HASH_SIDE, PixelFacts, read_pixels
from cxremb.audit.similar import cosine_pairs
from cxremb.store.dataset import Dataset
from cxremb.store.kinship import kinship
from cxremb.transfer.gather import Collected, Together
from cxremb.types import Progress

Flags = NDArray[np.bool_]
CONTENT, VECTOR, LOOKS = "the very film", "the same vector", "a film that looks the same"


@dataclass(frozen=True)
class Shared:
    """What the tested collection has in common with those trained on."""

    kin: tuple[str, ...]  # why films of both are the same, as is known of the collections
    patients: frozenset[str]  # of the tested one, with a film that another has too
    films: dict[str, int]  # how it was seen -> films of the tested one

    @property
    def words(self) -> dict[str, int]:
        """For `left_out`."""
        return {f"films of which the training collection has {what}": n for what, n in self.films.items() if n}


def shared_with(together: Together, tested: str, trained: Sequence[str], *, looks: dict[str, PixelFacts]) -> Shared:
    """What `tested` shares with the collections `trained`. looks: name -> what pixels say; {}: nobody looked."""
    b, others = together.named(tested), [together.named(name) for name in trained]
    kin = tuple(filter(None, (kinship(one.collection, b.collection) for one in others)))
    bytes_of = same_content(b.dataset, [one.dataset for one in others])
    vectors = same_vectors(b, others)
    found = {CONTENT: bytes_of, VECTOR: vectors - bytes_of}
    if looks:
        near = set[str]().union(*(near_copies(looks[one.name], looks[tested], b.dataset) for one in others))
        found[LOOKS] = near - bytes_of - vectors
    films = set[str]().union(*found.values())
    who = pc.is_in(b.dataset.images["image_id"], value_set=pa.array(sorted(films), pa.string()))
    patients = b.dataset.images.filter(who)["patient_id"].to_pylist()
    return Shared(kin, frozenset(patients), {what: len(ids) for what, ids in found.items()})


def same_content(dataset: Dataset, others: Iterable[Dataset]) -> set[str]:
    """Ids of the films whose bytes another data set has too."""
    known = {digest for other in others for digest in other.images["sha256"].to_pylist() if digest}
    pairs = zip(dataset.images["image_id"].to_pylist(), dataset.images["sha256"].to_pylist(), strict=True)
    return {film for film, digest in pairs if digest in known}


def same_vectors(b: Collected, others: Sequence[Collected]) -> set[str]:
    """Ids of the films whose vector another collection has to the bit: the same pixels in another file.

    A vector that several films of one collection share, such as that of blank films, says nothing.
    """
    films = b.features.item_ids.tolist()
    mine: dict[bytes, list[str]] = {}
    for film, digest in zip(films, b.vector_digests, strict=False):
        mine.setdefault(digest, []).append(film)
    known = {digest for one in others for digest in one.vector_digests}
    return {own[0] for digest, own in mine.items() if len(own) == 1 and digest in known}


def looks_of(together: Together, progress: Progress) -> tuple[dict[str, PixelFacts], list[str]]:
    """(name -> the perceptual hashes of its films, what could not be looked at). Films are decoded once, and kept."""
    found, notes = {}, []
    for one in together.collected:
        facts = read_pixels(one.dataset, progress)
        if isinstance(facts, str):
            notes.append(f"near copies were not looked for: of {one.name} {facts}")
        else:
            found[one.name] = facts
    return (found if len(found) == len(together.collected) else {}), notes


def near_copies(a: PixelFacts, b: PixelFacts, dataset: Dataset) -> set[str]:
    """Ids of the films of B whose hash is within `HAMMING` bits of one of A's (see the audit, which measured it)."""
    hashes = np.concatenate([a.hashes, b.hashes])
    signs = 1 - 2 * np.unpackbits(hashes, axis=1).astype(np.float32)
    start = len(a.hashes)
    pairs = cosine_pairs(signs, 1 - 2 * HAMMING / HASH_SIDE**2, np.arange(start, len(hashes)))
    across = pairs[(pairs[:, 0] < start) & (pairs[:, 1] >= start)]
    digests = pa.array(np.unique(across[:, 1] - start))
    alike = set(b.sha256.take(digests).to_pylist())
    pairs_of = zip(dataset.images["image_id"].to_pylist(), dataset.images["sha256"].to_pylist(), strict=True)
    return {film for film, digest in pairs_of if digest in alike}


def keep_rows(
    together: Together, tested: str, shared: Shared, *, count: Callable[[NDArray[np.int64]], int]
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """(rows of the tested collection that are judged, why others are not): nobody of whom a film is shared.

    count: rows -> how many they count as.
    """
    one, rows = together.named(tested), together.rows_of(tested)
    seen = frozenset[str]().union(*(who.patients for who in one.features.seen.values()))
    patients = one.features.patient_ids.tolist()
    overlap = np.array([patient in shared.patients for patient in patients], dtype=np.bool_)
    tuned = np.array([patient in seen for patient in patients], dtype=np.bool_) & ~overlap
    left_out = dict(shared.words)
    if overlap.any():
        left_out["rows of patients with such a film"] = count(rows[overlap])
    if tuned.any():
        left_out["rows of patients whom the encoder was fine-tuned on"] = count(rows[tuned])
    return rows[~overlap & ~tuned], left_out
