"""The split that a name stands for: made here, stored before, or imported; and the gate that leaky ones must pass."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxremb.errors import SplitError, did_you_mean, name_list
from cxremb.labels import Labels, label_set_of, read_labels
from cxremb.splits.folds import classes_lacking
from cxremb.splits.spec import BUILT_IN, DEFAULT, IMAGE_SPLIT, KEY_LENGTH, METHOD, STANDARD, SplitSpec, fold_table
from cxremb.splits.stored import (
    StoredSplit,
    by_patients_of_now,
    read_about,
    read_split,
    shared_patients,
    store_once,
    stored_split,
)
from cxremb.store.dataset import Dataset
from cxremb.types import EXAMPLES, PARTS, Note

LEAKY_MEANS = "A model can then score by recognising the patient, so its figures say nothing about new patients."
LEAKY_HINT = "leave --split out for one that keeps patients apart, or add --allow-leaky: all it gives is marked leaky"


def choose_split(
    dataset: Dataset, label_set: str | None, name: str = DEFAULT.name, *, allow_leaky: bool = False
) -> StoredSplit:
    """The split to train and test on; its notes count whom it lists without a label, and whom it does not list.

    name: `patient-5fold`, `holdout` or `image-80-20`, made for `label_set` when first asked for; the name of a stored
    one, and then the newest, if possible of those made for `label_set`; or `NAME@KEY`, exactly that one.
    label_set: None for the data set's own.

    Raises `SplitError` for an unknown name, a leaky split without `allow_leaky`, and as `make_split`; `DataError`
    as `read_labels`.
    """
    label_set = label_set_of(dataset, label_set)
    if name == IMAGE_SPLIT and not allow_leaky:
        raise SplitError(f"{name} puts films of one patient into train and test. {LEAKY_MEANS}", hint=LEAKY_HINT)
    if name in STANDARD:
        split = stored_split(dataset, label_set, STANDARD[name])
    elif name == IMAGE_SPLIT:
        split = image_split(dataset, label_set)
    else:
        split = by_patients_of_now(dataset, read_split(find_split(dataset, label_set, name)))
    if split.leaky and not allow_leaky:
        share = f"{shared_patients(split.table):.0%} of its test rows are of patients who are in train too"
        raise SplitError(f"{split.title} shares patients between parts: {share}. {LEAKY_MEANS}", hint=LEAKY_HINT)
    return split if split.label_set == label_set else with_coverage(split, read_labels(dataset, label_set))


def image_split(dataset: Dataset, label_set: str, seed: int = 0) -> StoredSplit:
    """The split of the reference systems, which is leaky: train and test, 80:20, over all images of labelled studies.

    In random order, whoever is on them; images without a file count too. One fold, no val. Read if the same was
    stored before. Raises `DataError` as `read_labels`, `SplitError` with fewer than two images.
    """
    labelled = pa.array(read_labels(dataset, label_set).study_ids, pa.string())
    images = dataset.images.filter(pc.is_in(dataset.images["study_id"], value_set=labelled)).sort_by("image_id")
    n = images.num_rows
    if n < 2:
        raise SplitError(
            f"{dataset.name} lists {n} images of labelled studies", hint="choose a split of studies: leave --split out"
        )
    columns = {name: images[name] for name in ("patient_id", "study_id", "image_id")}
    record = [METHOD, IMAGE_SPLIT, seed, *(column.to_pylist() for column in columns.values())]
    key = hashlib.sha256(json.dumps(record).encode()).hexdigest()[:KEY_LENGTH]
    parts = np.full(n, "train", dtype="<U5")
    parts[np.random.default_rng(seed).permutation(n)[: -(-n // 5)]] = "test"  # the odd image is tested
    means = f"80:20 by image at random, without a validation part, seed {seed}"
    path = dataset.paths.splits / f"{IMAGE_SPLIT}@{key}.parquet"
    table = fold_table(IMAGE_SPLIT, columns, parts)
    return store_once(StoredSplit(IMAGE_SPLIT, key, path, table, means, by_image=True))


def new_split(dataset: Dataset, label_set: str | None, spec: SplitSpec) -> StoredSplit:
    """`stored_split` under a name of the user's. Raises `SplitError` if the name means another split already."""
    if spec.name in BUILT_IN and STANDARD.get(spec.name) != spec:
        raise SplitError(f"{spec.name} always means the same split", hint="give a split of your own another name")
    return stored_split(dataset, label_set_of(dataset, label_set), spec)


def split_files(dataset: Dataset) -> list[Path]:
    """The files of the splits that are stored, by name."""
    return sorted(dataset.paths.splits.glob("[!.]*@*.parquet"))


def stored_splits(dataset: Dataset) -> list[dict[str, Any]]:
    """Of each stored split what `--split` takes to get it, for whose labels it was made and whether it is leaky."""
    found = ((path, read_about(path)) for path in split_files(dataset))
    return [
        {"name": path.stem, **{key: about[key] for key in ("label_set", "leaky", "means")}} for path, about in found
    ]


def find_split(dataset: Dataset, label_set: str, name: str) -> Path:
    """The file of a stored split. Raises `SplitError`, listing the names there are."""
    stored = split_files(dataset)
    fitting = [path for path in stored if name in (path.stem, path.stem.rpartition("@")[0])]
    if not fitting:
        known = sorted({path.stem.rpartition("@")[0] for path in stored} | set(BUILT_IN))
        raise SplitError(
            f"{dataset.name} has no split called {name!r}; there is {name_list(known)}",
            hint=did_you_mean(name, known)
            or f"make it: `cxremb data split {name}`; or import it: `cxremb data split {name} --from FILE`",
        )
    about = {path: read_about(path) for path in fitting}
    made_for = [path for path in fitting if about[path]["label_set"] in (label_set, None)] or fitting
    return max(made_for, key=lambda path: about[path]["created"])


def with_coverage(split: StoredSplit, labels: Labels) -> StoredSplit:
    """The split with notes on how it fits the labels: who has none, who is not listed, which class a part lacks.

    A split that was made for these labels fits them and gets no note. Raises `SplitError` if train or test has nobody
    with a label.
    """
    listed = split.table["study_id"].unique().to_pylist()
    labelled = labels.study_ids
    unused, lost = sorted(set(listed) - set(labelled)), sorted(set(labelled) - set(listed))
    notes = [
        counted(f"studies of split {split.name} without a label of {labels.label_set}: not used", unused),
        counted(f"labelled studies that split {split.name} does not list: not used", lost),
    ]
    for part in PARTS if unused or lost or split.label_set is None else ():
        rows = split.table.filter(pc.equal(split.table["part"], part))
        here = np.asarray(pc.is_in(pa.array(labelled, pa.string()), value_set=rows["study_id"].unique()))
        if not here.any() and part != "val":
            raise SplitError(
                f"{split.title}: no study of its {part} part has a label of {labels.label_set}",
                hint="choose another label set or split",
            )
        lacking = classes_lacking(labels.values, here, labels.names, task=labels.task) if here.any() else {}
        notes.append(counted(f"classes of {labels.label_set} that nobody has in {part}", list(lacking)))
    return replace(split, notes=(*split.notes, *(note for note in notes if note.count)))


def counted(what: str, names: Sequence[str]) -> Note:
    """A note on how many there are, with the first few."""
    return Note(what, len(names), list(names[:EXAMPLES]))
