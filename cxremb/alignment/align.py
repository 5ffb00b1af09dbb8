"""Learn the shared space, judge it on patients it has not seen, and store what it makes of every vector."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cxremb.alignment.pairs import Pairs, load_pairs
from cxremb.alignment.project import Alignment, AlignOptions, PairVectors, Reals, fit
from cxremb.alignment.publish import Derived, publish_derived
from cxremb.alignment.retrieval import Direction, retrieval
from cxremb.caveats import caveats, describe_text
from cxremb.features import Inputs
from cxremb.splits import LEAKY, StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.store.reader import PROJECTED, Store
from cxremb.store.texts import text_role
from cxremb.types import PARTS, Progress, unwatched


@dataclass(frozen=True)
class Aligned:
    """The two stores, how they were learned, and how well a film finds its report in them."""

    image: Store
    text: Store
    reused: bool  # both stores were there, made of the same
    fitted: Alignment
    retrieval: tuple[Direction, Direction]  # image to text, text to image; on test rows
    pairs: Mapping[str, int]  # part -> films with a text
    test_patients: int
    left_out: Mapping[str, int]
    description: str  # which text, which split
    caveats: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float

    def record(self) -> dict[str, Any]:
        """All but the weights, as plain data."""
        kept = ("reused", "pairs", "test_patients", "left_out", "caveats", "notes", "seconds")
        return {
            "stores": {"image": self.image.name, "text": self.text.name},
            **{name: getattr(self, name) for name in kept},
            **learned(self.fitted, self.retrieval),
        }


def align(
    dataset: Dataset,
    split: StoredSplit,
    inputs: Inputs | None = None,
    *,
    fold: int = 0,
    options: AlignOptions | None = None,
    progress: Progress = unwatched,
) -> Aligned:
    """Both projections, learned on train, stopped by val, judged on test of one fold, and the two stores they make.

    The figures are of the vectors as stored, in float16. Raises as `load_pairs`, `fit` and `publish_derived`.
    """
    inputs, options = inputs or Inputs(), options or AlignOptions()
    start = time.perf_counter()
    pairs = load_pairs(dataset, split, inputs, fold=fold)
    vectors = PairVectors(pairs.images, pairs.reports, pairs.texts)
    fitted = fit(vectors, pairs.rows("train"), pairs.rows("val"), options=options, progress=progress)
    found = judged(pairs, fitted)
    marked = (*caveats(("image",), None, bool(dataset.descriptor["simulated"])), *((LEAKY,) if split.leaky else ()))
    role = text_role(dataset.reports, inputs.text)
    about = {
        "split": split.title,
        "fold": fold,
        "text": inputs.text,
        "text_role": role,
        "caveats": marked,
        "options": asdict(options),
        "seconds": {"align": round(time.perf_counter() - start, 2)},
        **learned(fitted, found),
    }
    decided = {
        PROJECTED: {"image": pairs.image.manifest.key, "text": pairs.text.manifest.key},
        "split": split.title,
        "fold": fold,
        "text": inputs.text,
        "seed": options.seed,
    }
    model = f"align of {pairs.image.name} and {pairs.text.name}"
    rows = {*zip(pairs.patient_ids.tolist(), pairs.study_ids.tolist(), pairs.parts.tolist(), strict=True)}
    whose = sorted((patient, study) for patient, study, part in rows if part == "train")
    whose += [(patient, None) for patient in sorted(pairs.seen)]
    columns = zip(("patient_id", "study_id"), zip(*whose, strict=True), strict=True)
    patients = pa.table({name: pa.array(column, pa.string()) for name, column in columns})
    patients = patients.replace_schema_metadata({"split": split.title, "fold": str(fold)})
    image, text = (
        publish_derived(Derived(source, projection, model, decided), patients, about)
        for source, projection in ((pairs.image, fitted.image), (pairs.text, fitted.text))
    )
    return Aligned(
        image=image.store,
        text=text.store,
        reused=not (image.changed or text.changed),
        fitted=fitted,
        retrieval=found,
        pairs={part: len(pairs.rows(part)) for part in PARTS},
        test_patients=len(pairs.patients("test")),
        left_out=pairs.left_out,
        description=f"{describe_text(inputs.text, role)}; split {split.title}, fold {fold}",
        caveats=marked,
        notes=(*pairs.notes, *val_note(pairs)),
        seconds=time.perf_counter() - start,
    )


def judged(pairs: Pairs, fitted: Alignment) -> tuple[Direction, Direction]:
    """Retrieval among the test rows, by the vectors as they are stored."""
    test = pairs.rows("test")
    image, text = (
        as_stored(projection(vectors[test]))
        for projection, vectors in ((fitted.image, pairs.images), (fitted.text, pairs.reports))
    )
    return retrieval(image, text, pairs.texts[test], patients=pairs.patient_ids[test])


def as_stored(vectors: Reals) -> Reals:
    """In the precision of a store, and of length 1 again: cosines take care of that in SQL."""
    halved = vectors.astype(np.float16).astype(np.float32)
    length = np.linalg.norm(halved, axis=1, keepdims=True)
    return np.asarray(halved / np.where(length > 0, length, 1), np.float32)


def val_note(pairs: Pairs) -> tuple[str, ...]:
    """What becomes of early stopping where there is no val."""
    return (
        () if len(pairs.rows("val")) else ("the split has no val part: nothing stopped early, the last epoch is kept",)
    )


def learned(fitted: Alignment, found: tuple[Direction, Direction]) -> dict[str, Any]:
    """How it went, as plain data."""
    return {
        "epoch": fitted.epoch,
        "temperature": fitted.temperature,
        "history": [asdict(epoch) for epoch in fitted.history],
        "retrieval": [asdict(direction) for direction in found],
    }
