"""Kermany's paediatric chest X-rays: pneumonia or not, bacteria or virus, with the patient in the file's name."""

import filecmp
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxremb.datasets.tree import counted, image_files
from cxremb.errors import DataError
from cxremb.types import PARTS, Collection, Image, LabelSet, Note, Study

NAME = "kermany"
LICENCE = "CC BY 4.0"
CITATION = (
    "Kermany DS, Goldbaum M, Cai W, et al. Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep "
    "Learning. Cell 2018;172(5):1122-1131. doi:10.1016/j.cell.2018.02.010"
)
CLASSES = ("NORMAL", "PNEUMONIA")
# What a file's name says: as on Kaggle (person7_bacteria_24, IM-0115-0001), or in Mendeley's release (VIRUS-1008-0001).
NAMED = re.compile(
    r"(?P<patient>person\d+_(?P<kind>bacteria|virus))_|(?P<healthy>(?:NORMAL2-)?IM-\d+)-"
    r"|(?P<mendeley>(?P<group>bacteria|virus|normal)-\d+)-\d+\.",
    re.IGNORECASE,
)
LABEL_SETS = (
    LabelSet("pneumonia", "binary", "1 if the image lies in a folder PNEUMONIA, 0 if in NORMAL", ("pneumonia",)),
    LabelSet(
        "kind",
        "multiclass",
        "the folder NORMAL, or what the file's name says of a pneumonia",
        ("normal", "bacteria", "virus"),
    ),
)
# Images per part and class as published: by Mendeley Data in two folders, by Kaggle with 16 of train moved to val.
PUBLISHED = (
    {("train", "NORMAL"): 1349, ("train", "PNEUMONIA"): 3883, ("test", "NORMAL"): 234, ("test", "PNEUMONIA"): 390},
    {
        ("train", "NORMAL"): 1341,
        ("train", "PNEUMONIA"): 3875,
        ("val", "NORMAL"): 8,
        ("val", "PNEUMONIA"): 8,
        ("test", "NORMAL"): 234,
        ("test", "PNEUMONIA"): 390,
    },
)
FEW = 100  # images: the 95% interval of an accuracy of 0.9 is then 0.12 wide, or wider


@dataclass(frozen=True)
class KermanyFilm:
    """One image and where it lies; `relative` is part/class/file name."""

    path: Path
    part: str
    group: str

    @property
    def relative(self) -> str:
        return f"{self.part}/{self.group}/{self.path.name}"

    @property
    def named(self) -> re.Match[str] | None:
        """What the file's name says, if it says anything."""
        return NAMED.match(self.path.name)

    @property
    def kind(self) -> str | None:
        """normal, bacteria or virus; None where folder and name do not say, or contradict each other."""
        kind = str(self.named["kind"] or self.named["group"] or "normal").lower() if self.named else None
        expected = ("normal",) if self.group == "NORMAL" else ("bacteria", "virus")
        return kind if kind in expected else None


def read(folder: Path, name: str = NAME) -> Collection:
    """Every image below `folder` that lies in train, val or test and there in NORMAL or PNEUMONIA; each is a study.

    The patient is a number in one of four series: `person7_bacteria`, `person7_virus`, `IM-0115`, `NORMAL2-IM-0115`;
    in the names of Mendeley's release one of three: `BACTERIA-1008087`, `VIRUS-1008`, `NORMAL-1003233`.
    Equal numbers of two series are different children. Two measurements say so. The published train and test folders
    (their films were found again in PneumoniaMNIST, which keeps that split) share no patient of a series, and would
    share 226 of 347 if the number alone were the patient. And films of one number in two series are no more alike
    than films of two numbers (best correlation 0.738 against 0.737; within one patient 0.81 against 0.70).
    The folders are the split `official` if their counts are the published ones, else `folders`.
    Raises `DataError` if there is no such image, or one place has two different files.
    """
    paths, others = image_files(folder)
    films, copies, outside = sort_out(paths)
    if not films:
        raise DataError(
            f"{folder}: no image in {', '.join(PARTS)} / {' or '.join(CLASSES)}",
            hint="give the folder chest_xray; or, of other folders: `cxremb data add folder DIR --name NAME`",
        )
    ids = name_films(films)
    counts = Counter((film.part, film.group) for film in films)
    split = "official" if counts in PUBLISHED else "folders"
    studies = list(as_studies(films, ids, split))
    images = [
        Image(study.study_id, study.study_id, study.patient_id, "Frontal", film.path)  # all anterior-posterior
        for study, film in zip(studies, films, strict=True)
    ]
    notes = [
        *counted(
            ("files that are not images, or made by a Mac's archiver, left out", [str(path) for path in others], ""),
            ("second copies of an image in a nested folder, left out", copies, "they are the same byte for byte"),
            ("images outside train, val, test / NORMAL, PNEUMONIA, left out", outside, "move them there to add them"),
        ),
        *name_notes(films, ids),
        *split_notes(counts, split),
    ]
    return Collection(
        name,
        studies,
        images,
        LICENCE,
        CITATION,
        {"adapter": NAME, "folder": str(folder)},
        notes,
        label_sets=LABEL_SETS,
        default_label_set=LABEL_SETS[0].name,
    )


def sort_out(paths: Sequence[Path]) -> tuple[list[KermanyFilm], list[str], list[str]]:
    """The films by place, then the copies of one, then the images that lie elsewhere; the outermost copy is kept.

    The Kaggle archive holds the whole collection a second time, in chest_xray/chest_xray.
    """
    films: dict[str, KermanyFilm] = {}
    copies, outside = [], []
    for path in sorted(paths, key=lambda path: (len(path.parts), path)):
        part, group = path.parts[-3:-1] if len(path.parts) > 2 else ("", "")
        if part.lower() not in PARTS or group.upper() not in CLASSES:
            outside.append(str(path))
            continue
        film = KermanyFilm(path, part.lower(), group.upper())
        first = films.setdefault(film.relative, film)
        if first is film:
            continue
        if not filecmp.cmp(first.path, path, shallow=False):
            raise DataError(f"two different files are the same image: {first.path} and {path}", hint="remove one")
        copies.append(str(path))
    return [films[place] for place in sorted(films)], copies, outside


def name_films(films: Sequence[KermanyFilm]) -> list[str]:
    """An id for each: the file's name without suffix, or part/class/name where several files share that."""
    times = Counter(film.path.stem for film in films)
    return [film.path.stem if times[film.path.stem] == 1 else film.relative for film in films]


def as_studies(films: Sequence[KermanyFilm], ids: Sequence[str], split: str) -> Iterator[Study]:
    """A study for each film; the zeros of a class are left out."""
    for film, name in zip(films, ids, strict=True):
        labels = {"pneumonia": {"pneumonia": float(film.group == "PNEUMONIA")}}
        if film.kind:
            labels["kind"] = {film.kind: 1.0}
        patient = next(filter(None, film.named.group("patient", "healthy", "mendeley")), name) if film.named else name
        yield Study(name, patient, labels=labels, parts={split: film.part})


def name_notes(films: Sequence[KermanyFilm], ids: Sequence[str]) -> list[Note]:
    """What the names leave open."""
    named = list(zip(ids, films, strict=True))
    return counted(
        (
            "images whose name names no patient",
            [name for name, film in named if not film.named],
            "each counts as a patient of its own: leakage through them cannot be ruled out",
        ),
        (
            "images whose name does not say, or contradicts, the kind that the folder calls for",
            [name for name, film in named if film.kind is None],
            "kept with the folder's label and without one in `kind`",
        ),
        (
            "images that share their name with another",
            [name for name, film in named if name == film.relative],
            "all kept; their ids carry the folder",
        ),
    )


def split_notes(counts: Counter[tuple[str, str]], split: str) -> list[Note]:
    """Whether the folders are the published ones, and whether the validation folder is of use."""
    notes = []
    if split != "official":
        spread = [f"{part}/{group}: {n}" for (part, group), n in sorted(counts.items())]
        hint = "kept as the split `folders`: results on it do not compare with results on the published test folder"
        notes.append(Note("images in folders whose counts are not the published ones", counts.total(), spread, hint))
    in_val = sum(counts["val", group] for group in CLASSES)
    if 0 < in_val < FEW:
        hint = "choose epochs and thresholds on validation rows taken from train instead"
        notes.append(Note("images in the folder val: too few to choose an epoch on", in_val, hint=hint))
    return notes
