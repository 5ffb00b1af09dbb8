"""Films and the reports of their studies as pairs: which there are, in which part, and what must not be aligned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxremb.caveats import outdated_note
from cxremb.embedding.choose import choose_stores
from cxremb.embedding.trained_on import store_trained_on
from cxremb.errors import TrainError
from cxremb.features import Ids, Inputs, as_text, find_vectors, rows_kept
from cxremb.splits import StoredSplit, fold_parts, normalised
from cxremb.store.dataset import Dataset
from cxremb.store.matrices import Matrix
from cxremb.store.outdated import outdated, rows_with, text_contents
from cxremb.store.reader import Store
from cxremb.store.stored_rows import Places, gather
from cxremb.store.texts import KEEP, edited, report_texts

FEWEST_PAIRS = 20  # training pairs below which a projection learns them by heart and nothing else


@dataclass(frozen=True)
class Pairs:
    """n films with the text of their study, in the order of the table of images."""

    image: Store
    text: Store
    study_ids: Ids  # (n,)
    patient_ids: Ids  # (n,)
    texts: Places  # (n,) equal where the texts are equal after `splits.normalised`
    parts: NDArray[np.str_]  # (n,) train, val or test
    images: NDArray[np.float32]  # (n, image dim)
    reports: NDArray[np.float32]  # (n, text dim): the report of the study, once for each of its films
    seen: frozenset[str]  # patients that either encoder was fine-tuned on
    left_out: Mapping[str, int]  # reason -> films
    notes: Sequence[str]

    def rows(self, part: str) -> Places:
        """The rows of one part."""
        return np.flatnonzero(self.parts == part)

    def patients(self, *parts: str) -> frozenset[str]:
        """Who is in these parts."""
        return frozenset(self.patient_ids[np.isin(self.parts, parts)].tolist())


def load_pairs(dataset: Dataset, split: StoredSplit, inputs: Inputs, *, fold: int = 0) -> Pairs:
    """The films that have a vector, a text with a vector, and a part in this fold (of repeat 0); no label is needed.

    Raises `StoreError` where a store or a text is not there, `SplitError` for an unknown fold, `TrainError` for fewer
    than 20 training pairs, a single training text, no test pair, vectors that are no numbers, or patients in val or
    test that an encoder was fine-tuned on.
    """
    models = {"image": inputs.image_model, "text": inputs.text_model}
    stores, notes = choose_stores(dataset, ("image", "text"), models)
    table = dataset.images
    found = {name: find_vectors(dataset, store, inputs, table=table) for name, store in stores.items()}
    (images, film), (reports, report) = found.values()
    study_ids, patient_ids = as_text(table["study_id"]), as_text(table["patient_id"])
    place = fold_parts(split.table, 0, fold)
    items = as_text(table["image_id"]) if split.by_image else study_ids
    parts = np.array([place.get(item, "") for item in items.tolist()], dtype=np.str_)
    texts = text_numbers(dataset, inputs.text, study_ids, xxxx=stores["text"].xxxx)
    missing = {
        "no image embedding": film < 0,
        f"no {inputs.text} text": report < 0,
        f"{inputs.text} text without a word": texts < 0,
        "not in the split": parts == "",
    }
    kept, left_out = rows_kept(missing)
    pairs = Pairs(
        image=stores["image"],
        text=stores["text"],
        study_ids=study_ids[kept],
        patient_ids=patient_ids[kept],
        texts=texts[kept],
        parts=parts[kept],
        images=gather(images, film[kept]),
        reports=gather(reports, report[kept]),
        seen=frozenset[str]().union(
            *(whom.patients for store in stores.values() if (whom := store_trained_on(dataset, store)))
        ),
        left_out=left_out,
        notes=[*notes, *old_vectors(dataset, stores, inputs.text, found=found, kept=kept)],
    )
    where = f"fold {fold} of split {split.title}"
    refuse_few(pairs, where)
    refuse_unfit(pairs, where)
    return pairs


def old_vectors(
    dataset: Dataset,
    stores: Mapping[str, Store],
    text: str,
    *,
    found: Mapping[str, tuple[Matrix, Places]],
    kept: NDArray[np.bool_],
) -> list[str]:
    """A note on either store, if films or texts of rows that are kept have changed since they were encoded."""
    now = text_contents(dataset.reports, text)
    flags = {
        name: rows_with(outdated(dataset, name, now, matrix=matrix), places[kept])
        for name, (matrix, places) in found.items()
    }
    return [
        outdated_note(name, its, stores[name].title, imported=stores[name].imported)
        for name, its in flags.items()
        if its.any()
    ]


def text_numbers(dataset: Dataset, name: str, study_ids: Ids, *, xxxx: str = KEEP) -> Places:
    """(n,) the number of each study's text among the normalised ones; -1 without a text, or for one without a word."""
    numbers: dict[str, int] = {}
    of_study = {
        study: numbers.setdefault(text, len(numbers))
        for study, section, raw in report_texts(dataset.reports)
        if section == name and (text := normalised(edited(raw, xxxx)))
    }
    return np.array([of_study.get(study, -1) for study in study_ids.tolist()], dtype=np.int64)


def refuse_few(pairs: Pairs, where: str) -> None:
    """Raises `TrainError` if there is too little to learn from, or nothing to test on."""
    train = pairs.rows("train")
    if len(train) < FEWEST_PAIRS:
        reasons = "".join(f"; {count:,} {reason}" for reason, count in pairs.left_out.items())
        raise TrainError(
            f"{where} has {len(train)} training pairs of a film and a text, {FEWEST_PAIRS} are the least{reasons}",
            hint='embed more of the data set; see: `cxremb sql "select store, section, count(*) from embeddings '
            'group by all"`',
        )
    if len(np.unique(pairs.texts[train])) < 2:
        raise TrainError(f"all training texts of {where} are the same", hint="name another text with --text")
    if not len(pairs.rows("test")):
        raise TrainError(f"{where} has no test pair", hint="embed more of the data set, or choose another --split")


def refuse_unfit(pairs: Pairs, where: str) -> None:
    """Raises `TrainError` for vectors that are no numbers, and if an encoder has seen who is to be judged."""
    for store, vectors in ((pairs.image, pairs.images), (pairs.text, pairs.reports)):
        if bad := int((~np.isfinite(vectors)).any(axis=1).sum()):
            raise TrainError(
                f"{bad:,} of {len(vectors):,} vectors of {store.name} hold a value that is no number",
                hint=f"run `cxremb store check {store.name}`, and embed again",
            )
    if shared := len(pairs.seen & (judged := pairs.patients("val", "test"))):
        raise TrainError(
            f"{shared:,} of the {len(judged):,} patients in val and test of {where} are among those that "
            f"{pairs.image.name} or {pairs.text.name} was fine-tuned on: their figures would be too good",
            hint="use the split and fold it was fine-tuned with, or name another store with --image-model",
        )
