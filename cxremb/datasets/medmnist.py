"""MedMNIST v2: any two-dimensional .npz, its arrays unpacked once into PNG files; and its download."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxremb.datasets.download import OnBytes, download, md5_of, unwatched_bytes
from cxremb.datasets.medmnist_arrays import Arrays, open_arrays, unpack
from cxremb.datasets.tree import unknown_patients
from cxremb.errors import DataError, FetchError, reason
from cxremb.types import PARTS, Collection, Image, LabelSet, Note, Progress, Study, unwatched

CITATION = (
    "Yang J, Shi R, Wei D, et al. MedMNIST v2: A large-scale lightweight benchmark for 2D and 3D biomedical image "
    "classification. Sci Data 2023;10:41. doi:10.1038/s41597-022-01721-8"
)
ZIP_MAGIC = b"PK"
INSTALL = 'pip install "cxremb[medmnist]"'
MEANS = {
    "binary": "1 = {1}, 0 = {0}",
    "multiclass": "one of the {n} classes of the set",
    "multilabel": "any of the {n} findings of the set",
    "ordinal": "one of {n} grades",
}


@dataclass(frozen=True)
class MedSet:
    """One set. `labels[i]` is what the value i means, or what column i is where the task is `multilabel`."""

    task: str  # binary, multiclass, multilabel, or ordinal: grades, to be read as classes
    labels: tuple[str, ...]
    md5: Mapping[int, str]  # pixels per side -> of the published .npz
    licence: str = "CC BY 4.0"
    view: str | None = None  # where all of them are films of one view


@cache
def published_sets() -> dict[str, MedSet]:
    """The two-dimensional sets of MedMNIST v2 as published: the package `medmnist`, which knows them, is optional."""
    known = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    for about in known.values():
        about["labels"] = tuple(about["labels"])
        about["md5"] = {int(side): md5 for side, md5 in about["md5"].items()}
    return {name: MedSet(**about) for name, about in known.items()}


@dataclass(frozen=True)
class MedImage:
    """One image: part, place in the array, and what its labels say."""

    part: str
    index: int
    labels: Mapping[str, float]

    @property
    def name(self) -> str:
        return f"{self.part}_{self.index}"


def read(file: Path, unpack_to: Path, name: str | None = None, *, progress: Progress = unwatched) -> Collection:
    """Every image of a MedMNIST .npz, each a study and a patient of its own; the parts are the split `official`.

    The arrays are written into the folder `unpack_to`, as lossless PNG files `<part>/<index>.png`; the next call
    reuses them if the .npz is still the same. Labels are the label set `class`, or `findings` where an image may have
    several; the file's name (`pneumoniamnist_64.npz`) says what they mean, else they are called `class 0`, `class 1`.
    name: of the data set; without one, that of the file.
    Raises `DataError` for what is no such file or does not fit its name, `StoreError` if it cannot be unpacked.
    """
    arrays = open_arrays(file)
    published = published_sets().get(set_name(file))
    if published is None or published.task != "multilabel":
        arrays = arrays.as_classes()
    kind = published or derive(arrays)
    label_set = describe(kind)
    check_labels(arrays, kind)
    sha256 = unpack(arrays, unpack_to, progress)

    def rows() -> Iterator[MedImage]:
        for part in PARTS:
            for index, values in enumerate(arrays.labels[part]):
                yield MedImage(part, index, label_values(kind, label_set, values))

    return Collection(
        name=name or file.stem,
        studies=(
            Study(row.name, row.name, labels={label_set.name: row.labels}, parts={"official": row.part})
            for row in rows()
        ),
        images=(
            Image(row.name, row.name, row.name, kind.view, unpack_to / row.part / f"{row.index:06d}.png")
            for row in rows()
        ),
        licence=published.licence if published else "not given",
        citation=CITATION,
        source={"file": str(file.resolve()), "sha256": sha256, "unpacked": str(unpack_to.resolve())},
        notes=notes_on(arrays, published, unpack_to),
        label_sets=[label_set],
    )


def derive(arrays: Arrays) -> MedSet:
    """What the arrays alone say: columns are findings, unless they are one-hot; two values are binary, more classes."""
    values = np.concatenate([arrays.labels[part] for part in PARTS])
    if values.shape[1] > 1:
        return MedSet("multilabel", tuple(f"class {column}" for column in range(values.shape[1])), {})
    classes = max(int(values.max()) + 1, arrays.one_hot, 2)
    return MedSet("binary" if classes == 2 else "multiclass", tuple(f"class {value}" for value in range(classes)), {})


def describe(kind: MedSet) -> LabelSet:
    """The label set of a kind of MedMNIST."""
    return LabelSet(
        name="findings" if kind.task == "multilabel" else "class",
        task="multiclass" if kind.task == "ordinal" else kind.task,
        means=MEANS[kind.task].format(*kind.labels, n=len(kind.labels)),
        labels=kind.labels[1:] if kind.task == "binary" else kind.labels,
        policy="grades are taken as classes without order" if kind.task == "ordinal" else "",
    )


def check_labels(arrays: Arrays, kind: MedSet) -> None:
    """Raises `DataError` unless every label of the file has a meaning in `kind`."""
    several = kind.task == "multilabel"
    columns, most = (len(kind.labels), 1) if several else (1, len(kind.labels) - 1)
    for part in PARTS:
        values = arrays.labels[part]
        if values.shape[1] != columns or (values.size and not 0 <= values.min() <= values.max() <= most):
            raise DataError(
                f"{arrays.file}: {part}_labels is {values.shape}, from {values.min()} to {values.max()}; "
                f"{columns} columns from 0 to {most} were expected of a set of this name",
                hint="if it is another set, rename the file: the labels are then called class 0, class 1 and so on",
            )


def label_values(kind: MedSet, label_set: LabelSet, values: NDArray[np.int64]) -> dict[str, float]:
    """Label -> value of one image; the zeros of a class are left out."""
    if label_set.task == "multiclass":
        return {kind.labels[int(values[0])]: 1.0}
    return {label: float(value) for label, value in zip(label_set.labels, values, strict=True)}


def set_name(file: Path) -> str:
    """The name of the set: that of its file, less the size."""
    return re.sub(r"_(64|128|224)$", "", file.stem.lower())


def notes_on(arrays: Arrays, published: MedSet | None, unpack_to: Path) -> list[Note]:
    """What was done, what the file is not, and what nobody knows."""
    n = sum(arrays.counts.values())
    notes = [
        Note("images unpacked into PNG files, without loss", n, (str(unpack_to),), "adding the same file reuses them"),
        unknown_patients(n),
    ]
    side = arrays.shape[0]
    if published is None:
        hint = "name the file as published, such as pneumoniamnist.npz, to have the classes named"
        notes.append(Note(f"images of a set that is not known here, {arrays.file.stem}", n, hint=hint))
    elif side in published.md5 and md5_of(arrays.file) != published.md5[side]:
        hint = "the MD5 differs: rows may be changed or in another order; the published one: "
        hint += f"`cxremb data fetch {set_name(arrays.file)}`"
        notes.append(Note("images in a file that is not, byte for byte, the published one", n, hint=hint))
    if published and published.task == "ordinal":
        notes.append(Note("grades taken as classes: their order is not used", len(published.labels)))
    if arrays.one_hot:
        hint = "every row has exactly one 1 (one-hot)"
        notes.append(Note("columns of labels taken as classes, of which an image has one", arrays.one_hot, hint=hint))
    if len(arrays.shape) == 3:
        notes.append(Note("images in colour", n, hint="image encoders get them as grey"))
    return notes


def fetch(name: str, to: Path, size: int = 28, *, progress: OnBytes = unwatched_bytes) -> Path:
    """The published .npz of a set in the folder `to`, from where the `medmnist` package says; kept if it is there.

    name: such as pneumoniamnist. size: pixels per side, 28, 64, 128 or 224. Raises `FetchError` if the set or size is
    unknown, the package is missing, or the file cannot be had or written; what has arrived is kept for the next call.
    """
    known = published_sets()
    if name not in known or size not in known[name].md5:
        raise FetchError(
            f"MedMNIST has no two-dimensional set {name!r} of {size} pixels",
            hint=f"name one of: {', '.join(known)}; with 28, 64, 128 or 224 pixels",
        )
    suffix = "" if size == 28 else f"_{size}"
    file = to / f"{name}{suffix}.npz"
    try:
        info = import_module("medmnist.info").INFO[name]
    except ImportError as error:
        raise FetchError(
            "where MedMNIST lies is known by its own package",
            hint=f"{INSTALL}; or fetch {file.name} from medmnist.com and run `cxremb data add medmnist {file.name}`",
        ) from error
    url, md5 = info[f"url{suffix}"], info[f"MD5{suffix}"]
    if file.exists() and md5_of(file) != md5:
        raise FetchError(
            f"{file}: is there, and is not the published file (its MD5 differs)",
            hint=f"move it away to download it again, or use it as it is: `cxremb data add medmnist {file}`",
        )
    hint = f"run the same command again; or fetch {url} elsewhere and run `cxremb data add medmnist {file.name}`"
    try:
        to.mkdir(parents=True, exist_ok=True)
        return download(url, file, progress, magic=ZIP_MAGIC, md5=md5, hint=hint)
    except OSError as error:
        raise FetchError(f"{to}: cannot be written ({reason(error)})", hint="name a folder with --output") from error
