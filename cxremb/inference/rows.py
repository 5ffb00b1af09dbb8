"""Cases as rows of what a run reads: vectors as stored of what the collection has, new ones by the same recipe."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.alignment.publish import failures_of
from cxremb.embedding.choose import renew_hint
from cxremb.embedding.fresh import Encoded
from cxremb.embedding.plan import Item, unread_content
from cxremb.inference.cases import Case, Given, NotJudged, not_judged
from cxremb.inference.choice import Model
from cxremb.inference.films import place_pixels
from cxremb.inference.known import ONE_STUDY, FilmPlace, Read, known_films
from cxremb.inference.language import unknown_words
from cxremb.similarity.query import NEW, encode_new
from cxremb.store.outdated import text_contents
from cxremb.store.reader import Store
from cxremb.training.bundle import Bundle
from cxremb.types import Progress, unwatched

Vector = NDArray[np.float16]


@dataclass(frozen=True)
class InputRow:
    """One row that the models are asked about."""

    case: int  # number of its case
    film: str | None  # as given; None: all films of the study, or none
    item: str | None  # image_id or study_id in the collection
    image: str | None
    study: str | None  # study_id in the collection, by which its part is known
    patient: str | None
    read: Mapping[str, tuple[Read, ...]]  # modality -> what is read of it; of several films where a row is a study


@dataclass
class InputRows:
    """All rows, and what became of the cases."""

    cases: list[Case]
    rows: list[InputRow] = field(default_factory=list)
    failed: list[NotJudged] = field(default_factory=list)
    notes: dict[int, list[str]] = field(default_factory=dict)  # case -> what must be said of it
    hints: dict[int, str] = field(default_factory=dict)  # case -> what to do, where its reason does not say it


def rows_of(model: Model, given: Given, *, progress: Progress = unwatched) -> InputRows:
    """The rows of all cases, as the run was trained on them; a case that lacks what the run cannot do without fails.

    Raises as `encode_new`.
    """
    found = InputRows(given.cases)
    placed = placed_films(model, given.cases, progress)
    texts, new = case_texts(model, given.cases, placed, progress=progress)
    patients = dict(zip(*(model.dataset.studies[name].to_pylist() for name in ("study_id", "patient_id")), strict=True))
    for number, case in enumerate(given.cases):
        films = placed.get(number, [])
        if mixed := of_several_studies(films):
            found.failed += mixed
            found.hints[number] = ONE_STUDY
            continue
        found.failed += [not_judged(one.film.words, one.why) for one in films if one.read is None]
        good = [one for one in films if one.read is not None]
        text = texts.get(number)
        if films and not good:
            continue
        why, notes = lacking(model, case, good, text=text, new=new)
        if why:
            inputs = [one.film.words for one in good] or [film.words for film in case.films] or [case.name]
            found.failed += [not_judged(name, why) for name in inputs]
            continue
        found.notes[number] = notes
        own = {} if text is None else {"text": (text,)}
        study = case.study or next((one.study for one in good if one.study), None)
        if model.run.record.unit == "image" and good:
            found.rows += [
                InputRow(
                    number, one.film.words, one.image, one.image, one.study, patients.get(one.study or ""),
                    {"image": (one.read,), **own} if one.read is not None else own,
                )
                for one in good
            ]  # fmt: skip
        else:
            films_too = {"image": tuple(one.read for one in good if one.read is not None)} if good else {}
            row = InputRow(number, None, study, None, study, patients.get(study or ""), {**films_too, **own})
            found.rows.append(row)
    return found


def placed_films(model: Model, cases: list[Case], progress: Progress) -> dict[int, list[FilmPlace]]:
    """Case -> its films with what the run reads of them; nothing where it reads no films."""
    if not isinstance(model.bundle, Bundle):
        return place_pixels(model, model.bundle, cases, progress=progress)
    return place_films(model, cases, progress) if "image" in model.reads else {}


def place_films(model: Model, cases: list[Case], progress: Progress) -> dict[int, list[FilmPlace]]:
    """Case -> its films: those of the collection, by id or by the bytes, with the vector as stored; others encoded."""
    store = model.stores["image"]
    matrix = store.load("image")
    known = known_films(model.dataset)
    placed: dict[int, list[FilmPlace]] = {}
    wanted: dict[str, Item] = {}
    for number, case in enumerate(cases):
        for film, image in zip(case.films, known.images_of(case.films), strict=True):
            row = int(matrix.rows([image])[0]) if image else -1
            same = film.path is None or (row >= 0 and matrix.contents[row].as_py() == film.content)
            vector = matrix.vectors[row] if row >= 0 and same else None
            one = FilmPlace(film, image, known.study_of.get(image or ""), vector)
            if one.read is None and film.path is not None:
                wanted[film.content] = Item(NEW, NEW, "image", film.content, str(film.path))
            elif one.read is None:
                one = replace(one, why=without_vector(store, model.dataset.images, str(image)))
            placed.setdefault(number, []).append(one)
    new = encoded(model, store, list(wanted.values()), progress=progress)
    return {number: [with_vector(one, new) for one in own] for number, own in placed.items()}


def without_vector(store: Store, films: pa.Table, image: str) -> str:
    """Why a film of the collection has no vector in a store, or what makes one."""
    (film,) = films.filter(pc.equal(films["image_id"], image)).to_pylist()
    if film["path"] is None:
        return "its file is not on this machine"
    content = film["sha256"] or unread_content(image)  # as it was planned
    for failure in failures_of(store):
        if failure.item.item_id == image and failure.item.content in ("", content):
            return failure.message
    return f"{store.name} has no vector of it: {renew_hint(store) if store.imported else '`cxremb refresh`'}"


def of_several_studies(films: Sequence[FilmPlace]) -> list[NotJudged]:
    """Why each film is not judged with the others: the collection has them in several studies. Else nothing."""
    studies = {one.study for one in films if one.study}
    if len(studies) < 2:
        return []
    given = f"films of {len(studies)} studies were given as one"
    return [
        not_judged(one.film.words, f"{f'is of study {one.study}' if one.study else 'is new'}, and {given}")
        for one in films
    ]


def encoded(model: Model, store: Store, items: list[Item], *, progress: Progress) -> Encoded:
    """New items, by the encoder of a store, which is not loaded for none."""
    if not items:
        return Encoded()
    return encode_new(model.dataset, store, items, progress=progress, loaded=model.loaded)


def with_vector(one: FilmPlace, new: Encoded) -> FilmPlace:
    """A film with the vector that it was encoded to, or why there is none."""
    if one.read is not None or one.why:
        return one
    content = one.film.content
    return replace(one, read=new.vectors.get(content), why=new.failures.get(content, ""))


def case_texts(
    model: Model, cases: list[Case], placed: Mapping[int, list[FilmPlace]], *, progress: Progress
) -> tuple[dict[int, Vector], Encoded]:
    """(case -> the vector of its text, what was encoded). A report that is given counts, else that of its study."""
    if "text" not in model.reads:
        return {}, Encoded()
    store, name = model.stores["text"], str(model.run.record.text)
    matrix = store.load(name)
    now = text_contents(model.dataset.reports, name)
    texts: dict[int, Vector] = {}
    wanted: dict[int, Item] = {}
    for number, case in enumerate(cases):
        if case.text is not None:
            content = hashlib.sha256(case.text.encode()).hexdigest()
            wanted[number] = Item(NEW, NEW, name, content, case.text)
            continue
        study = case.study or next((one.study for one in placed.get(number, ()) if one.study), None)
        row = int(matrix.rows([study])[0]) if study else -1
        if row >= 0 and now.get(str(study)) == matrix.contents[row].as_py():
            texts[number] = matrix.vectors[row]
    new = encoded(model, store, list(wanted.values()), progress=progress)
    texts |= {number: new.vectors[one.content] for number, one in wanted.items() if one.content in new.vectors}
    return texts, new


def lacking(
    model: Model, case: Case, films: list[FilmPlace], *, text: Vector | None, new: Encoded
) -> tuple[str, list[str]]:
    """(why a case cannot be judged, or "", what must be said of it where it can)."""
    record, reads = model.run.record, set(model.reads)
    there = ({"image"} if films else set()) | ({"text"} if text is not None else set())
    words = {"image": "a film", "text": f"a text ({record.text})" if record.text else "a report"}
    notes = []
    if case.text is not None and "text" in reads:
        content = hashlib.sha256(case.text.encode()).hexdigest()
        if content in new.failures:
            return f"its report: {new.failures[content]}", []
        if said := unknown_words(case.text, model.words, model.dataset.name):
            notes.append(said)
    if missing := [words[one] for one in model.reads if one not in there]:
        if not there or record.missing != "keep":
            why = f"run {model.run.run_id} reads {' and '.join(words[one] for one in model.reads)}"
            trained = ", was trained on rows that have both" if len(model.reads) > 1 and there else ""
            return f"{why}{trained}, and here is no {missing[0][2:]}", []
        notes.append(f"without {' and '.join(missing)}, as the run was trained to do")
    if case.text is None and "text" in there and films:
        notes.append("with the report that the collection has of its study")
    given = ({"image"} if case.films else set()) | ({"text"} if case.text is not None else set())
    notes += [f"{words[one]} was given, and the run does not read it" for one in sorted(given - reads)]
    return "", notes
