"""Any folder of images, with a sub-folder per class if it has classes."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePath

from cxremb.datasets.polarity import Spellings, binary_of, one_spelling
from cxremb.datasets.tree import (
    MASK_HINT,
    MASK_NOTE,
    NOT_GIVEN,
    SUFFIXES,
    counted,
    image_files,
    name_images,
    unknown_patients,
    without_masks,
)
from cxremb.errors import DataError
from cxremb.ids import clean_id
from cxremb.types import Collection, Image, LabelSet, Note, Study, part_named

MOST_LAYERS = 4  # sub-folders that hold the same films; who has a folder for each patient has more


@dataclass(frozen=True)
class Location:
    """Where an image lies: `part` and `group` (its class) are None where the folders do not say."""

    path: Path
    relative: PurePath
    part: str | None
    group: str | None


def read(
    folder: Path,
    name: str,
    patient_pattern: str | None = None,
    *,
    positive: str | None = None,
    licence: str = NOT_GIVEN,
    citation: str = NOT_GIVEN,
) -> Collection:
    """Every image under `folder`, each a study of its own; its class is the first sub-folder that it lies in.

    If the first level is train, val and test (or training, validation, valid, testing), these become the split
    `official` and the level below them the classes. Two classes are a binary label set `class`, more a multi-class one;
    folders whose names differ in case, spaces or accents alone are one class.
    positive: the class that is 1, where `polarity` does not know it, or one against all others.
    patient_pattern: a regular expression that finds the patient in the path below `folder` (with `/` and suffix), by
    its group `patient` or its only group; without it nobody knows which images share a patient.
    Raises `DataError` if there is no image, the pattern is wrong, or only some of the first folders name a part.
    """
    pattern = compile_pattern(patient_pattern) if patient_pattern else None
    found_files, others = image_files(folder)
    paths, masks = without_masks(folder, found_files)
    locations = locate(folder, paths)
    ids = name_images(folder, paths)
    spellings = one_spelling(Counter(location.group for location in locations if location.group))
    classes = sorted(set(spellings.of.values()))
    label_set = class_labels(classes, positive)
    layers = layers_of(locations) if pattern is None else {}
    found = [find_patient(pattern, location.relative) or layers.get(location.relative) for location in locations]
    studies = [
        Study(
            image_id,
            patient or image_id,
            labels={label_set.name: label_values(label_set, spellings.of[location.group])}
            if label_set and location.group
            else {},
            parts={"official": location.part} if location.part else {},
        )
        for image_id, patient, location in zip(ids, found, locations, strict=True)
    ]
    return Collection(
        name=name,
        studies=studies,
        images=[
            Image(study.study_id, study.study_id, study.patient_id, None, location.path)
            for study, location in zip(studies, locations, strict=True)
        ],
        licence=licence,
        citation=citation,
        source={"folder": str(folder.resolve())}
        | ({"patient_pattern": patient_pattern} if patient_pattern else {})
        | ({"positive": positive} if positive else {}),
        notes=[
            *file_notes(others, ids, paths, masks=masks),
            *layer_notes(layers),
            *location_notes(locations, classes, ids),
            *spelling_notes(spellings),
            *patient_notes(pattern, found, ids),
        ],
        label_sets=[label_set] if label_set else [],
    )


def locate(folder: Path, paths: Sequence[Path]) -> list[Location]:
    """What the folders say of each image. Raises `DataError` if only some of the first folders name a part."""
    relative = [path.relative_to(folder) for path in paths]
    first = sorted({path.parts[0] for path in relative if len(path.parts) > 1})
    split = [name for name in first if part_named(name)]
    if split and split != first:
        strange = ", ".join(name for name in first if name not in split)
        raise DataError(
            f"{folder}: {', '.join(split)} name parts of a split, {strange} beside them do not",
            hint="point at a folder that holds either parts or classes",
        )
    locations = []
    for path, below in zip(paths, relative, strict=True):
        steps = below.parts[:-1]
        part = part_named(steps[0]) if split and steps else None
        groups = steps[1:] if split else steps
        locations.append(Location(path, below, part, groups[0] if groups else None))
    return locations


def class_labels(classes: Sequence[str], positive: str | None = None) -> LabelSet | None:
    """The label set that the classes make; None for fewer than two.

    Two classes, or one against all others where `positive` names it, are binary. Raises `DataError` if nothing tells
    which of two is 1, or if no class is called `positive`.
    """
    if len(classes) < 2:
        return None
    if positive is None and len(classes) > 2:
        return LabelSet("class", "multiclass", "the sub-folder that the image lies in", tuple(classes))
    two = binary_of(classes, positive, where="the folder", option="--positive '{}'")
    means = f"1 if the image lies in folder {two.one}, 0 if in {' or '.join(two.zeros)}"
    return LabelSet("class", "binary", means, (two.one,))


def label_values(label_set: LabelSet, group: str) -> dict[str, float]:
    """What a study of this class says in the label set."""
    if label_set.task == "multiclass":
        return {group: 1.0}
    return {label_set.labels[0]: float(group == label_set.labels[0])}


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern. Raises `DataError` unless it has a group named `patient`, or one group."""
    hint = r"put the patient in parentheses, as in --patient-pattern '(person\d+)_'"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"{pattern!r}: not a regular expression ({error})", hint) from error
    if "patient" not in compiled.groupindex and compiled.groups != 1:
        raise DataError(f"{pattern!r}: {compiled.groups} groups, and none is called patient", hint)
    return compiled


def find_patient(pattern: re.Pattern[str] | None, relative: PurePath) -> str | None:
    """The patient that the path names; None if it names none."""
    match = pattern.search(relative.as_posix()) if pattern else None
    if match is None:
        return None
    found = match["patient"] if "patient" in match.re.groupindex else match[1]
    return clean_id(found or "") or None


def layers_of(locations: Sequence[Location]) -> dict[PurePath, str]:
    """Path -> patient, where a class has several sub-folders that hold files of the same names.

    Up to `MOST_LAYERS` such sub-folders are taken for versions of the same films (`images`, `equalised`): files of one
    name are one patient. More are taken for patients: the first level below the class that has so many folders is
    theirs, so that the studies of a patient, in folders below it, stay together.
    """
    shared: dict[PurePath, dict[str, list[PurePath]]] = defaultdict(lambda: defaultdict(list))
    for location in locations:
        own = len(location.relative.parts) - 1
        top = PurePath(*location.relative.parts[: (location.part is not None) + (location.group is not None)])
        if own > len(top.parts):
            shared[top][location.relative.stem].append(location.relative)
    layers: dict[PurePath, str] = {}
    for top, by_name in shared.items():
        if all(len(paths) == 1 for paths in by_name.values()):
            continue
        several = {path.parent for paths in by_name.values() if len(paths) > 1 for path in paths}
        if len(several) > MOST_LAYERS:
            depth = depth_of_patients(several, len(top.parts))
            below = [path for paths in by_name.values() for path in paths if len(path.parts) > depth]
            layers |= {path: PurePath(*path.parts[:depth]).as_posix() for path in below}
            continue
        for name, paths in by_name.items():
            layers |= {path: (top / name).as_posix() for path in paths if path.parent in several}
    return layers


def depth_of_patients(folders: Set[PurePath], top: int) -> int:
    """How many steps down the folders of patients lie: the first level that has more than `MOST_LAYERS` of them.

    folders: those that hold files of the same names, all below a folder `top` steps down.
    """
    deepest = max(len(folder.parts) for folder in folders)
    return next(
        (d for d in range(top + 1, deepest) if len({folder.parts[:d] for folder in folders}) > MOST_LAYERS), deepest
    )


def layer_notes(layers: Mapping[PurePath, str]) -> list[Note]:
    """Which sub-folders of a class hold equal names, and what that was taken for."""
    as_films = any(patient not in map(PurePath.as_posix, path.parents) for path, patient in layers.items())
    folders = sorted({path.parent.as_posix() for path in layers} if as_films else set(layers.values()))
    taken = "files of one name count as one patient" if as_films else "each of these folders counts as a patient"
    hint = f"{taken}: say --patient-pattern if that is wrong, or add the folder of films alone"
    return counted(("sub-folders of a class that hold files of the same names", folders, hint))


def file_notes(
    others: Sequence[Path], ids: Sequence[str], paths: Sequence[Path], *, masks: Sequence[Path]
) -> list[Note]:
    """The files that were left out, and the images whose suffix had to stay in their id."""
    suffixed = [name for name, path in zip(ids, paths, strict=True) if PurePath(name).name == path.name]
    return counted(
        ("files that are not images, left out", list(map(str, others)), f"images are {', '.join(SUFFIXES)}"),
        (MASK_NOTE, list(map(str, masks)), MASK_HINT),
        ("images that differ from another by their suffix alone", suffixed, "all kept; their ids carry the suffix"),
    )


def location_notes(locations: Sequence[Location], classes: Sequence[str], ids: Sequence[str]) -> list[Note]:
    """What the folders leave open."""
    parted = any(location.part for location in locations)
    named = list(zip(ids, locations, strict=True))
    return counted(
        (
            "images in no class folder",
            [name for name, location in named if not location.group],
            "kept without a label; move each into the folder of its class",
        ),
        (
            "class folders: too few for a label set",
            list(classes) if len(classes) == 1 else [],
            "point at the folder that holds the class folders",
        ),
        (
            "images in no part of the split",
            [name for name, location in named if parted and not location.part],
            "kept; the split `official` leaves them out",
        ),
    )


def spelling_notes(spellings: Spellings) -> list[Note]:
    """That class folders differ in their spelling alone."""
    hint = "taken as one class each: they differ in case, spaces or accents alone"
    return counted(("class folders whose name is spelled in several ways", spellings.merged, hint))


def patient_notes(pattern: re.Pattern[str] | None, found: Sequence[str | None], ids: Sequence[str]) -> list[Note]:
    """Whose patient is not known."""
    lost = [name for name, patient in zip(ids, found, strict=True) if not patient]
    if pattern is None:
        return [unknown_patients(len(lost))] if lost else []
    hint = "each counts as a patient of its own: leakage through them cannot be ruled out; correct --patient-pattern"
    return counted(("images whose path does not fit the patient pattern", lost, hint))
