"""A split from its spec: labelled studies grouped, shared out into equal bins, and refused where no folds can be made.

Groups go whole into bins, each label spread alike; parts are made of bins.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.errors import DataError, SplitError
from cxremb.labels import Labels
from cxremb.splits.group import TOGETHER, Numbers, copied_texts, group_numbers
from cxremb.splits.spec import DEFAULT, KEY_LENGTH, LINKS, METHOD, SplitSpec, fold_table
from cxremb.types import EXAMPLES, PARTS, Note

FEWER = "ask for fewer folds: `cxremb data split NAME --folds 2`, then --split NAME"
CEILING = 2**61  # whole numbers below it add up without overflow


@dataclass(frozen=True)
class Cohort:
    """The n studies that take part, by study_id, so that no other order of the input makes other folds."""

    study_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    groups: Numbers  # (n,) studies of one number stay together
    copies: tuple[str, ...]  # (n,) the text of a copied report, else ""; all of them "" where reports do not link
    values: NDArray[np.float64]  # (n, k) 0, 1 or NaN
    names: tuple[str, ...]  # (k,)
    task: str
    apart: tuple[str, ...] = ()  # studies with a copied report that folds of so few studies cannot keep together


def form_cohort(
    studies: Mapping[str, str], texts: Mapping[str, str], labels: Labels, *, spec: SplitSpec = DEFAULT
) -> Cohort:
    """The labelled studies and their groups: the connected components of what `spec` groups by.

    studies: study_id -> patient_id. texts: study_id -> report; missing or empty links nobody. A study all of whose
    labels are missing takes no part. Raises `DataError` for a label of an unknown study.
    """
    order = np.argsort(np.array(labels.study_ids, dtype=np.str_), kind="stable")
    order = order[np.isfinite(labels.values[order]).any(axis=1)]
    study_ids = [labels.study_ids[row] for row in order.tolist()]
    if lost := [study for study in study_ids if study not in studies]:
        raise DataError(
            f"{len(lost)} labels are of no known study, such as {lost[0]!r}", hint="add the collection again"
        )
    patients = [studies[study] for study in study_ids]
    copies = [""] * len(study_ids)
    if "report" in spec.group:
        written = [texts.get(study) or "" for study in study_ids]
        together = min(TOGETHER, len(set(patients)) // spec.bins)  # so that there are as many groups as bins
        copies = copied_texts(patients, written, together=together, most=len(study_ids) // spec.folds)
    links = [patients, copies] if "patient" in spec.group else [copies]
    groups = group_numbers(links, len(study_ids))
    values, ids = labels.values[order], (tuple(study_ids), tuple(patients))
    return Cohort(*ids, groups, tuple(copies), values, labels.names, labels.task)


def feasible(cohort: Cohort, spec: SplitSpec) -> Cohort:
    """The cohort, or where copies leave no folds the same by patient, with their studies in `apart`.

    Only a class that few studies have may lack in a part for copies, so only then folds are tried out.
    """
    positives, negatives = ((cohort.values == value).sum(axis=0) for value in (1, 0))
    counts = np.append(positives, negatives if cohort.task == "binary" else [])
    if cohort.task == "multilabel" or not any(cohort.copies) or counts.min() >= 4 * spec.bins:
        return cohort
    try:
        make_split(cohort, spec)
    except SplitError:
        n, of_patient = len(cohort.study_ids), [cohort.patient_ids] if "patient" in spec.group else []
        apart = tuple(study for study, copy in zip(cohort.study_ids, cohort.copies, strict=True) if copy)
        return replace(cohort, groups=group_numbers(of_patient, n), copies=("",) * n, apart=apart)
    return cohort


def split_key(cohort: Cohort, spec: SplitSpec) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of all that decides the folds, and of what describes them."""
    record = [METHOD, spec.record, cohort.study_ids, cohort.patient_ids, cohort.names, cohort.task]
    digest = hashlib.sha256(json.dumps(record).encode())
    digest.update(cohort.groups.astype("<i8").tobytes())
    digest.update(np.where(np.isnan(cohort.values), -1, cohort.values).astype("<f8").tobytes())
    return digest.hexdigest()[:KEY_LENGTH]


def make_split(cohort: Cohort, spec: SplitSpec) -> tuple[pa.Table, tuple[Note, ...]]:
    """(one row per repeat, fold and study, in that order, with the columns of `SPLITS`; notes).

    Groups go whole into 2 x folds bins of equal size and label shares; fold k tests on bins 2k and 2k + 1, chooses
    on bin 2k + 2 and trains on the others, so each study is tested once a repeat. A hold-out is fold 0 alone. Repeat r
    is seeded with seed + r. Where a label of a multilabel set has no positive in some part, a note names it.

    Raises `SplitError` when no such folds exist: nothing to tell apart, fewer groups than bins, a group larger than a
    fold, a class that some part would lack.
    """
    marks = indicators(cohort.values, cohort.task)
    refuse_impossible(cohort, marks, spec)
    ids = {"patient_id": cohort.patient_ids, "study_id": cohort.study_ids}
    tables, lacking = [], set()
    for repeat in range(spec.repeats):
        bins = balanced_bins(cohort.groups, marks, spec.bins, seed=spec.seed + repeat)
        for fold in spec.fold_numbers:
            parts = part_names(bins, fold, spec.bins)
            lacking |= labels_lacking(cohort, parts, f"repeat {repeat}, fold {fold}")
            tables.append(fold_table(spec.name, ids, parts, repeat=repeat, fold=fold))
    notes = []
    if cohort.apart:
        what = "studies with a copied report that folds of so few studies cannot keep together"
        notes.append(Note(what, len(cohort.apart), list(cohort.apart[:EXAMPLES])))
    if rare := [name for name in cohort.names if name in lacking]:
        hint = "they have no figure where that part is judged: leave rare labels out, or ask for fewer folds"
        notes.append(Note("labels without a positive study in some part", len(rare), rare[:EXAMPLES], hint))
    return pa.concat_tables(tables), tuple(notes)


def refuse_impossible(cohort: Cohort, marks: Numbers, spec: SplitSpec) -> None:
    """Raises `SplitError` when no folds can keep what `spec` promises."""
    n, held = len(cohort.study_ids), " and ".join(LINKS[link] for link in LINKS if link in spec.group)
    if n == 0 or marks.shape[1] < 2:
        raise SplitError(
            f"{n} labelled studies, all of one class" if n else "no study has a label",
            hint="choose another label set, or add studies of the other class",
        )
    sizes = np.bincount(cohort.groups)
    if len(sizes) < spec.bins:
        raise SplitError(
            f"{n} studies make {len(sizes)} groups that must stay whole; {spec.folds} folds need {spec.bins}",
            hint=f"add patients, or {FEWER}",
        )
    if sizes.max() > n / spec.folds:
        raise SplitError(
            f"{sizes.max()} of {n} studies hang together by {held}; a fold is {n // spec.folds}",
            hint=f"check the patient ids, or {FEWER}",
        )


def labels_lacking(cohort: Cohort, parts: NDArray[np.str_], where: str) -> set[str]:
    """The labels of a multilabel set without a positive in some part.

    Raises `SplitError` if a part lacks a class of a binary or multiclass set.
    """
    found = set()
    for part in PARTS:
        lacking = classes_lacking(cohort.values, parts == part, cohort.names, task=cohort.task)
        if lacking and cohort.task != "multilabel":
            name, total = next(iter(lacking.items()))
            raise SplitError(
                f"{where}: no study of class {name} is in {part}; there are {total} in all",
                hint=f"add studies of that class, choose another label set, or {FEWER}",
            )
        found |= set(lacking)
    return found


def classes_lacking(
    values: NDArray[np.float64], rows: NDArray[np.bool_], names: Sequence[str], *, task: str
) -> dict[str, int]:
    """Class -> its studies in all, for each that `rows` has none of; 0 and 1 are the classes of a binary set.

    values: (n, k). rows: (n,) mask. For a multilabel set a class is the positives of a label, and one that nobody has
    counts too; in the others it is no class of this collection.
    """
    classes = {"0": values[:, 0] == 0, "1": values[:, 0] == 1} if task == "binary" else {}
    classes = classes or {name: values[:, column] == 1 for column, name in enumerate(names)}
    return {
        name: int(mask.sum())
        for name, mask in classes.items()
        if not mask[rows].any() and (task == "multilabel" or mask.any())
    }


def indicators(values: NDArray[np.float64], task: str) -> Numbers:
    """(n, c) 0 or 1, the columns to spread: a class each, or a yes and a no for each label of a multilabel set.

    values: (n, k) 0, 1 or NaN. A missing value is neither yes nor no. Columns that nobody has are left out.
    """
    marks = values == 1 if task == "multiclass" else np.hstack([values == 1, values == 0])
    return marks[:, marks.any(axis=0)].astype(np.int64)


def balanced_bins(groups: Numbers, marks: Numbers, bins: int, *, seed: int) -> Numbers:
    """(n,) the bin of each row: large groups first, each where it adds least to the imbalance.

    groups: (n,) from 0. marks: (n, c) of `indicators`. Imbalance is the sum over bins of squared shares, of every
    column and of all rows, so that what is rare weighs most. A greedy choice in the spirit of iterative stratification
    (Sechidis et al. 2011) and of scikit-learn's StratifiedGroupKFold. Dealing groups with something rare first gained
    nothing on the real labels, and left the classes of a binary set less even.
    """
    columns = [*marks.T, np.ones(len(groups), dtype=np.int64)]
    counts = np.stack([np.bincount(groups, column) for column in columns], axis=1).astype(np.int64)
    # 1 / total**2 as whole numbers: ties then break alike on every machine
    weighted = counts * (CEILING // len(columns) // counts.sum(axis=0) ** 2)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    load = np.zeros((bins, counts.shape[1]), dtype=np.int64)
    chosen = np.empty(len(counts), dtype=np.int64)
    for number in np.lexsort((shuffled, -counts[:, -1])).tolist():  # by size, equals in random order
        # half the growth of the imbalance, less what is the same for every bin
        best = int(np.argmin(load @ weighted[number]))
        load[best] += counts[number]
        chosen[number] = best
    return chosen[groups]


def part_names(bins: Numbers, fold: int, count: int) -> NDArray[np.str_]:
    """(n,) train, val or test. Every bin is tested once and, over the folds, half of them serve as val."""
    parts = np.full(len(bins), "train", dtype="<U5")
    parts[bins // 2 == fold] = "test"
    parts[bins == (2 * fold + 2) % count] = "val"
    return parts
