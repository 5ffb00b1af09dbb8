"""Films and texts that are in no store, encoded exactly as one was: by its recipe or not at all, rounded as it is."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxremb.embedding.asked import what_of
from cxremb.embedding.choose import embed_hint
from cxremb.embedding.encode import Log, encode_groups
from cxremb.embedding.parts import NO_VECTOR, as_stored
from cxremb.embedding.plan import Item, group_by_content
from cxremb.encoders.base import ImageEncoder, Machine, TextEncoder, load_encoder
from cxremb.errors import StoreError
from cxremb.store.manifest import Recipe
from cxremb.store.reader import Store
from cxremb.types import Progress, unwatched


@dataclass(frozen=True)
class Encoded:
    """Vectors of the store's first pooling by content, and why other contents have none."""

    vectors: dict[str, NDArray[np.float16]] = field(default_factory=dict)  # SHA-256 -> (dim,)
    failures: dict[str, str] = field(default_factory=dict)  # SHA-256 -> why
    truncated: int = 0  # texts that are longer than the encoder reads
    notes: tuple[str, ...] = ()  # of the encoder, and what was done about a film's header


class LoadedEncoders:
    """The encoders of stores, each loaded when it is first asked for and kept: for who encodes again and again."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[ImageEncoder | TextEncoder, Machine]] = {}  # by the store's key

    def of(self, store: Store) -> tuple[ImageEncoder | TextEncoder, Machine]:
        """That of a store, and where it runs. Raises as `encode_like`."""
        key = store.manifest.key
        if key not in self.kept:
            what = what_of(store)
            from cxremb.encoders.machine import choose_machine, with_precision  # torch: not for who encodes nothing

            machine = with_precision(choose_machine(), what.precision)
            encoder = load_encoder(what, machine)
            refuse_another(store, encoder.recipe)
            self.kept[key] = encoder, machine
        return self.kept[key]


def encode_like(
    store: Store,
    items: Sequence[Item],
    *,
    cache: Path,
    progress: Progress = unwatched,
    loaded: LoadedEncoders | None = None,
) -> Encoded:
    """The vectors of new items, as `store` would hold them. cache: the data set's folder of derived files.

    loaded: where its encoder is taken from and kept. Raises `StoreError`, with the command that makes a store of today,
    if its encoder would now give other vectors: the weights, the decoder or a library's transform have changed;
    `EncoderError` if its weights are not here, or if what it was made with could run code.
    """
    encoder, machine = (loaded or LoadedEncoders()).of(store)
    log, vectors = Log(progress), {}
    groups = group_by_content(items)
    for block, found in encode_groups(groups, encoder, machine, log=log, cache=cache):
        stored, there = as_stored(found)
        for row, group in enumerate(block):
            if there[row]:
                vectors[group[0].content] = stored[store.pooling][row]
            else:
                log.fail(group, "forward", NO_VECTOR)
    failures = {failure.item.content: failure.message for failure in log.failures}
    return Encoded(vectors, failures, log.counts.get("truncated", 0), (*encoder.notes, *log.film_notes))


def refuse_another(store: Store, now: Recipe) -> None:
    """Raises `StoreError` unless an encoder of recipe `now` gives the vectors that the store holds."""
    made = store.manifest.recipe
    if made.key == now.key:
        return
    before, after = ({**asdict(recipe), **recipe.input, "input": None} for recipe in (made, now))
    differs = [name.replace("_", " ") for name in {**before, **after} if before.get(name) != after.get(name)]
    raise StoreError(
        f"{store.name} was made by another {store.encoder} than is here: it differs in {', '.join(differs)}",
        hint=f"{embed_hint(store, store.xxxx)}, and name the store that it makes",
    )
