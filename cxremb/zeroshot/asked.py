"""Prompts through the tower of a store that reads texts: encoded once, and kept as rows beside its films."""

import fcntl
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.embedding.fresh import LoadedEncoders
from cxremb.encoders.base import TextTower
from cxremb.errors import EncoderError, StoreError
from cxremb.store.dataset import Dataset
from cxremb.store.files import held
from cxremb.store.matrices import halves
from cxremb.store.prompts import PROMPTS, prompt_schema, read_prompt_rows, write_prompt_rows
from cxremb.store.reader import Store
from cxremb.zeroshot.prompts import Prompt


def ask(dataset: Dataset, store: Store, prompts: Sequence[Prompt], *, name: str, label_set: str) -> NDArray[np.float32]:
    """(n, dim) the vectors of the prompts as the store has them; view `prompts` then lists these for the label set.

    A sentence that was asked before is not encoded again. Raises as `LoadedEncoders.of` for a store whose encoder is
    not here or is another by now, and `EncoderError` for a prompt that is longer than it reads, or has no vector.
    """
    with held(dataset.paths.prompts, fcntl.LOCK_EX, create=True, wait=True):
        rows = read_prompt_rows(store)
        known = dict(zip(rows["digest"].to_pylist(), halves(rows["embedding"], store.dim), strict=True))
        lacking = {one.digest: one.text for one in prompts if one.digest not in known}
        if lacking:
            known |= dict(zip(lacking, encoded(store, list(lacking.values())), strict=True))
        vectors = np.stack([known[one.digest] for one in prompts])
        table = rows_of(prompts, vectors, name=name, label_set=label_set)
        same = pc.and_(pc.equal(rows["prompts"], name), pc.equal(rows["label_set"], label_set))
        if not rows.filter(same).equals(table):
            write_prompt_rows(store, pa.concat_tables([rows.filter(pc.invert(same)), table]))
    return vectors.astype(np.float32)


def encoded(store: Store, texts: Sequence[str]) -> NDArray[np.float16]:
    """(n, dim) as they are stored."""
    encoder, _ = LoadedEncoders().of(store)
    tower: TextTower | None = getattr(encoder, "texts", None)
    if tower is None:
        raise StoreError(
            f"{store.name}: its encoder reads no prompts", hint="make one that does: `cxremb embed --model clip`"
        )
    for text, tokens in zip(texts, tower.lengths(texts), strict=True):
        if tokens > tower.max_tokens:
            raise EncoderError(
                f"{store.encoder} reads {tower.max_tokens} tokens, and this prompt has {tokens}: {text!r}",
                hint="write a shorter one",
            )
    found = tower.encode(texts).astype(np.float16)
    for text, vector in zip(texts, found, strict=True):
        if not (np.isfinite(vector).all() and vector.any()):
            raise EncoderError(f"{store.encoder} has no vector of the prompt {text!r}", hint="write another one")
    return found


def rows_of(prompts: Sequence[Prompt], vectors: NDArray[np.float16], *, name: str, label_set: str) -> pa.Table:
    """Columns `prompt_schema`. vectors: (n, dim)."""
    n, dim = vectors.shape
    schema = prompt_schema(dim)
    columns = {
        "prompts": [name] * n,
        "label_set": [label_set] * n,
        "label": [one.label for one in prompts],
        "class": [int(one.positive) for one in prompts],
        "template": [one.template for one in prompts],
        "prompt": [one.text for one in prompts],
        "digest": [one.digest for one in prompts],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in PROMPTS]
    values = pa.array(vectors.reshape(-1).astype(np.float32))
    flat = pa.FixedSizeListArray.from_arrays(values, type=schema.field("embedding").type)
    return pa.Table.from_arrays([*arrays, flat], schema=schema)
