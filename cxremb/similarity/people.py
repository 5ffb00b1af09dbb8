"""Who hangs together: the patients that have a film or a long report in common, as splits and audit see them."""

from collections.abc import Set

import pyarrow as pa

from cxremb.splits import report_texts
from cxremb.splits.group import copied_texts, group_numbers
from cxremb.splits.spec import DEFAULT
from cxremb.store.dataset import Dataset


def hanging_together(dataset: Dataset, patients: Set[str]) -> frozenset[str]:
    """These patients and all who hang together with them.

    By a copied report (`splits.group.copied_texts`) or a film of the same bytes, and so on through the next patient.
    """
    studies, images = dataset.studies, dataset.images
    whose, texts = studies["patient_id"].to_pylist(), report_texts(dataset.reports)
    written = [texts.get(study, "") for study in studies["study_id"].to_pylist()]
    copies = copied_texts(whose, written, most=max(1, len(whose) // DEFAULT.folds))
    films = [content or "" for content in images["sha256"].to_pylist()]
    everyone = [*whose, *images["patient_id"].to_pylist()]  # a line for each study, then one for each film
    columns = (everyone, [*copies, *[""] * len(films)], [*[""] * len(copies), *films])
    numbers = group_numbers(columns, len(everyone)).tolist()
    meant = {number for number, patient in zip(numbers, everyone, strict=True) if patient in patients}
    return frozenset(patient for number, patient in zip(numbers, everyone, strict=True) if number in meant)


def patients_of(dataset: Dataset, items: Set[str], modality: str) -> frozenset[str]:
    """Whose films, or studies, these are."""
    table, name = (dataset.images, "image_id") if modality == "image" else (dataset.studies, "study_id")
    return frozenset(
        patient
        for item, patient in zip(table[name].to_pylist(), table["patient_id"].to_pylist(), strict=True)
        if item in items
    )


def owners(dataset: Dataset, modality: str) -> pa.Table:
    """Columns item_id, study_id, patient_id: of each film, or of each study, which is the item of its texts."""
    if modality == "image":
        columns = [dataset.images[name] for name in ("image_id", "study_id", "patient_id")]
    else:
        columns = [dataset.studies[name] for name in ("study_id", "study_id", "patient_id")]
    return pa.table(dict(zip(("item_id", "study_id", "patient_id"), columns, strict=True)))
