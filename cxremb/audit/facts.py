"""What is known of a row without looking at its film or reading its report: names, lengths, sizes, DICOM headers."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.audit.subject import AuditSubject, Items, encoded, positions
from cxremb.processes import in_order
from cxremb.store.texts import MARK
from cxremb.types import Progress

MOST_COLUMNS = 12  # of the collection's table: each costs a fit and an interval
COLUMN = "column "
CLASSES = 20  # of a category: the most frequent; the rest is one more
LETTERS = (1, 4)  # letters in a row that it counts

TAGS = ("PhotometricInterpretation", "BitsStored", "Manufacturer", "Modality", "BodyPartExamined", "Rows", "Columns")
NO_HEADER = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".npy")  # the others may be DICOM: many have no suffix
MAGIC_AT, MAGIC = 128, b"DICM"

Header = dict[str, str]  # tag -> value; only what is there
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Fact:
    """One fact about each of n items: a matrix of numbers (NaN where unknown), or words."""

    description: str  # what it is, in the report
    items: Items
    numbers: NDArray[np.float64] | None = None  # (n, columns)
    words: Sequence[str] = ()  # (n,)

    def matrices(self, train: Numbers, judged: Numbers) -> tuple[Any, Any]:
        """The fact of the rows to learn from, and of those to judge."""
        if self.numbers is not None:
            return self.numbers[train], self.numbers[judged]
        from sklearn.feature_extraction.text import TfidfVectorizer

        letters = TfidfVectorizer(analyzer="char", ngram_range=LETTERS, max_features=CLASSES * 1000)
        known = letters.fit_transform([self.words[row] for row in train.tolist()])
        return known, letters.transform([self.words[row] for row in judged.tolist()])


def facts_of(subject: AuditSubject, headers: Mapping[str, Header] | str) -> dict[str, Fact | str]:
    """Name -> the fact, or why it is not known."""
    return {
        "file name": file_names(subject),
        **report_facts(subject),
        "image size": image_sizes(subject),
        "view": views(subject),
        "DICOM metadata": metadata(subject, headers),
        **column_facts(subject),
    }


def column_facts(subject: AuditSubject) -> dict[str, Fact | str]:
    """`column sex` and the other columns of the collection's table, the most complete ones; none if it kept none."""
    facts = subject.dataset.facts
    frequent = Counter(facts["name"].to_pylist()).most_common(MOST_COLUMNS)
    return {
        f"{COLUMN}{name}": column_fact(subject, facts.filter(pc.equal(facts["name"], name))) for name, _ in frequent
    }


def column_fact(subject: AuditSubject, facts: pa.Table) -> Fact:
    """One column: numbers as they are, anything else as categories. Of films where it speaks of films, else of rows."""
    of_films = "image" in facts["level"].to_pylist()
    items = subject.films if of_films else subject.rows
    values = facts["number"] if facts["number"].null_count == 0 else facts["text"]
    known = dict(zip(facts["id"].to_pylist(), values.to_pylist(), strict=True))
    column = [known.get(name) for name in (items.ids if of_films else items.study_ids).to_pylist()]
    if pa.types.is_floating(values.type):
        numbers = np.array([np.nan if value is None else value for value in column], dtype=np.float64)[:, None]
    else:
        numbers = categories(column)
    return Fact(f"column {facts['name'][0].as_py()}", items, numbers)


def file_names(subject: AuditSubject) -> Fact | str:
    """The last part of the path, or of the image's id where its file is not here, between marks of start and end."""
    images = subject.images
    if not images.num_rows:
        return "no image is listed"
    names = pc.coalesce(images["path"], images["image_id"]).to_pylist()
    last = [PurePath(name).name for name in names]
    return Fact("letters of the file name", subject.films, words=[f"^{name}$" for name in last])


def report_facts(subject: AuditSubject) -> dict[str, Fact | str]:
    """How long each report is, how many of its words are masked, and which sections it has."""
    reports = subject.dataset.reports
    study, of = encoded(subject.rows.study_ids)
    place = positions(reports["study_id"], study)
    names, section = encoded(reports["section"])
    kept = np.flatnonzero(place >= 0)
    if not len(kept):
        return dict.fromkeys(("report length", "masked words", "empty sections"), "no report text")
    texts = [text or "" for text in reports["text"].take(kept).to_pylist()]
    n, place = len(study), place[kept]
    words, masks, filled = np.zeros(n), np.zeros(n), np.zeros((n, len(names)))
    np.add.at(words, place, [len(text.split()) for text in texts])
    np.add.at(masks, place, [len(MARK.findall(text)) for text in texts])
    filled[place, section[kept]] = [bool(text) for text in texts]
    rows = subject.rows
    return {
        "report length": Fact("words in the report", rows, words[of][:, None]),
        "masked words": Fact("count of XXXX and ___", rows, masks[of][:, None]),
        "empty sections": Fact("which sections are empty", rows, filled[of]),
    }


def image_sizes(subject: AuditSubject) -> Fact | str:
    """Width, height and their ratio."""
    width, height = (subject.images[name].to_numpy().astype(np.float64) for name in ("width", "height"))
    if not np.isfinite(width).any():
        return "no size is known"
    return Fact("width, height, aspect", subject.films, np.column_stack([width, height, width / height]))


def views(subject: AuditSubject) -> Fact | str:
    """The projection."""
    if subject.images["view"].null_count == subject.images.num_rows:
        return "no view is known"
    return Fact("view", subject.films, categories(subject.images["view"].to_pylist()))


def metadata(subject: AuditSubject, headers: Mapping[str, Header] | str) -> Fact | str:
    """Each tag as categories, rows and columns as numbers too."""
    if isinstance(headers, str):
        return headers
    found = [headers.get(image, {}) for image in subject.films.ids.to_pylist()]
    if not any(found):
        return "no DICOM file in this split"
    columns = [categories([header.get(tag) for header in found]) for tag in TAGS]
    sizes = [[number(header.get(tag)) for header in found] for tag in ("Rows", "Columns", "BitsStored")]
    return Fact("DICOM tags", subject.films, np.column_stack([*columns, *sizes]))


def number(text: str | None) -> float:
    """The number, NaN for anything else."""
    return float(text) if text and text.isdecimal() else np.nan


def categories(values: Iterable[str | None]) -> NDArray[np.float64]:
    """(n, columns) one column for each frequent value, a null being one too."""
    codes = np.unique([value if value is not None else "\0" for value in values], return_inverse=True)[1]
    frequent = np.argsort(-np.bincount(codes), kind="stable")[:CLASSES]
    columns: NDArray[np.float64] = (codes[:, None] == frequent).astype(np.float64)
    return columns


def read_headers(images: pa.Table, progress: Progress) -> dict[str, Header] | str:
    """Image id -> header, of the DICOM files among the images that are here; or why there is none."""
    here = images.filter(pc.is_valid(images["path"])).select(["image_id", "path"])
    paths = {
        image: path
        for image, path in zip(*here.to_pydict().values(), strict=True)
        if not path.lower().endswith(NO_HEADER)
    }
    if not paths:
        return "no DICOM file among the films" if here.num_rows else "no film is on this machine"
    try:
        import pydicom  # noqa: F401
    except ImportError:
        return 'DICOM headers need pydicom: pip install "cxremb[dicom]"'
    read = progress(in_order(read_header, paths.items()), len(paths), "reading DICOM headers")
    headers = {image: header for (image, _), header in read if header is not None}
    return headers or "no DICOM file among the films"


def read_header(file: tuple[str, str]) -> Header | None:
    """The tags of one file; None if it is no DICOM file or cannot be read, which the pixel checks count."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    path = Path(file[1])
    try:
        with path.open("rb") as head:
            head.seek(MAGIC_AT)
            if head.read(len(MAGIC)) != MAGIC:
                return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break the standard's rules are still facts
            tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
            values = {name: tags.get(name) for name in TAGS}
            return {name: text for name, value in values.items() if value is not None and (text := str(value).strip())}
    except (OSError, InvalidDicomError, ValueError, KeyError, EOFError):
        return None
