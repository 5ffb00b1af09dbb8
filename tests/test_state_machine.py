"""Random operations on a data set, its stores, splits and runs, held against the plain model of `collection_model`.

Each check has a name, so that it can be run alone: `Operations.checks`. `make test-slow` runs long ones.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import typer
from collection_model import (
    FILMS,
    TEXTS,
    WHOLE,
    Exam,
    Film,
    Held,
    Key,
    Row,
    World,
    film_bytes,
    is_leaky,
    rows_of_training,
    sha256,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typer.testing import CliRunner

from cxremb.catalog import Added, add_collection
from cxremb.cli.refresh import refresh
from cxremb.embedding.job import Update
from cxremb.embedding.start import run
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.errors import CxrembError, DataError, SplitError, StoreError
from cxremb.features import Inputs, load_features
from cxremb.images import decode_bytes, resize
from cxremb.labels import label_with_sql
from cxremb.splits import choose_split, store_published
from cxremb.store.clean import remove
from cxremb.store.dataset import open_dataset
from cxremb.store.reader import list_stores, open_store
from cxremb.store.sql import connect
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.presets import Options
from cxremb.types import Collection, Image, LabelSet, Study

MODELS = {"image": "tiny", "text": "tiny_text"}
ILL = LabelSet("ill", "binary", "1 = ill", ("ill",))
REFRESH = typer.Typer()
REFRESH.command()(refresh)
ONCE = Options(epochs=1, select="last", patience=None, batch_size=64)
UNITS = {"image": "image", "text": "study", "films": "study", "frontal": "study"}
HEADS = {"image": "image", "text": "text", "films": "attention-image", "frontal": "attention-image"}
STUDIES, FIRST_FILMS = 24, 30
PARTS = ("train", "train", "val", "test")
OWN = "select study_id, 'odd' as label, study_id::int % 2 as value from studies"
WORDS = {  # how a message begins, after the path
    "gone": "cannot be read",
    "changed": "changed since it was added",
    "damaged": "not a readable image",
    "no word": "no word is left",
}
CHECKS = (
    "rows", "vectors", "studies", "encoded", "messages", "versions", "stale",
    "reuse", "leaky", "again", "lost labels", "refresh", "descriptor",
)  # fmt: skip
numbers = st.integers(0, 10_000)
HOW_OFTEN = st.sampled_from([0, 1, 1, 2])  # a change on disk is added: not yet, once, or twice


class Operations(RuleBasedStateMachine):
    """`disk` is the collection as it lies there, `added` as it was when it was added, `held` what its stores hold."""

    checks = frozenset(CHECKS)

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.root, self.films = self.folder / "root", self.folder / "films"
        self.films.mkdir()
        contents = [content for content in FILMS if content in WHOLE]
        exams = {str(n): Exam(f"p{n}", TEXTS[n % 4], n // 4 % 2) for n in range(STUDIES)}
        films = {
            f"f{n}": Film(str(n % STUDIES), "PA" if n < STUDIES else "LATERAL", contents[n % len(contents)])
            for n in range(FIRST_FILMS)
        }
        self.disk = World(exams, films)
        for image in films:
            self.write(image)
        self.held: dict[str, Held] = {}
        self.labelled: set[str] | None = None  # studies with a label of the user's own
        self.lost = 0  # such studies that were removed, since they were labelled
        self.placed: dict[str, tuple[str, str]] = {}  # of the imported split: study -> part, and patient of then
        self.title = ""
        self.answers: dict[str, str] = {}  # what decides a training -> the run that answered
        self.listed = True
        self.add(False)
        self.opened = open_dataset(self.root)  # and held by somebody ever after
        for modality in MODELS:
            self.embed(modality, False)
        self.import_split()

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "folder", "none"), ignore_errors=True)

    def write(self, image: str) -> None:
        """The film's file as `disk` says."""
        film, path = self.disk.films.get(image), self.films / f"{image}.png"
        path.unlink(missing_ok=True)
        if film and film.content:
            path.write_bytes(FILMS[film.content])

    def path_of(self, image: str) -> str:
        return str((self.films / f"{image}.png").resolve())

    def holds(self, name: str, what: bool, *details: object) -> None:
        """A check that can be left out."""
        assert what or name not in self.checks, (name, *details)

    # What happens to the collection on disk

    def film(self, number: int) -> str:
        return list(self.disk.films)[number % len(self.disk.films)]

    def exam(self, number: int) -> str:
        return list(self.disk.exams)[number % len(self.disk.exams)]

    def changed(self, disk: World, then_add: int) -> None:
        self.disk = disk
        if then_add:
            self.add(then_add == 2)

    @precondition(lambda self: self.disk.films)
    @rule(number=numbers, content=st.sampled_from([*FILMS, None]), then_add=HOW_OFTEN)
    def replace_a_file(self, number: int, content: str | None, then_add: int) -> None:
        image = self.film(number)
        self.disk = self.disk.with_film(image, content=content)
        self.write(image)
        self.changed(self.disk, then_add)

    @precondition(lambda self: self.disk.films)
    @rule(number=numbers, other=numbers, then_add=HOW_OFTEN)
    def move_a_film(self, number: int, other: int, then_add: int) -> None:
        self.changed(self.disk.with_film(self.film(number), study=self.exam(other)), then_add)

    @precondition(lambda self: self.disk.films)
    @rule(number=numbers, then_add=HOW_OFTEN)
    def correct_a_view(self, number: int, then_add: int) -> None:
        image = self.film(number)
        view = {"PA": "LATERAL", "LATERAL": "PA"}[self.disk.films[image].view]
        self.changed(self.disk.with_film(image, view=view), then_add)

    @precondition(lambda self: self.disk.films)
    @rule(number=numbers, name=numbers, then_add=HOW_OFTEN)
    def rename_a_film(self, number: int, name: int, then_add: int) -> None:
        old, new = self.film(number), f"r{name}"
        if new in self.disk.films:
            return
        films = dict(self.disk.films)
        films[new] = films.pop(old)
        self.disk = World(self.disk.exams, films)
        self.write(old)
        self.write(new)
        self.changed(self.disk, then_add)

    @precondition(lambda self: len(self.disk.exams) > STUDIES // 2)
    @rule(number=numbers, then_add=HOW_OFTEN)
    def remove_a_study(self, number: int, then_add: int) -> None:
        gone = self.disk.films
        self.disk = self.disk.without(self.exam(number))
        for image in gone:
            self.write(image)
        self.changed(self.disk, then_add)

    @rule(number=numbers, text=st.sampled_from(TEXTS), then_add=HOW_OFTEN)
    def change_a_text(self, number: int, text: str, then_add: int) -> None:
        self.changed(self.disk.with_exam(self.exam(number), text=text), then_add)

    @rule(number=numbers, then_add=HOW_OFTEN)
    def change_a_label(self, number: int, then_add: int) -> None:
        study = self.exam(number)
        self.changed(self.disk.with_exam(study, ill=1 - self.disk.exams[study].ill), then_add)

    @rule(number=numbers, other=numbers, then_add=HOW_OFTEN)
    def find_two_patients_to_be_one(self, number: int, other: int, then_add: int) -> None:
        patient = self.disk.exams[self.exam(other)].patient
        self.changed(self.disk.with_exam(self.exam(number), patient=patient), then_add)

    @rule()
    def list_all_films_or_none(self) -> None:
        self.listed = not self.listed
        self.add(False)

    # What is done with cxremb

    @rule(twice=st.booleans())
    def add(self, twice: bool) -> None:
        """The collection; a second time nothing changes and the same is said."""
        added = add_collection(self.collection(), self.root)
        if twice:
            again, first = add_collection(self.collection(), self.root), added.notes
            self.holds("again", (again.changes, again.notes) == ({}, first), again.changes, again.notes, first)
            added = again
        self.checked = False
        self.added = self.disk if self.listed else World(self.disk.exams, {})
        if self.labelled is not None:
            self.lost += len(self.labelled - set(self.added.exams))
            self.labelled &= set(self.added.exams)
        self.holds("lost labels", lost_labels(added) == self.lost, self.lost, added.notes)

    def collection(self) -> Collection:
        studies = [
            Study(study, exam.patient, {"findings": exam.text} if exam.text else {}, {}, {"ill": {"ill": exam.ill}})
            for study, exam in self.disk.exams.items()
        ]
        images = [
            Image(image, film.study, self.disk.exams[film.study].patient, film.view, self.films / f"{image}.png")
            for image, film in (self.disk.films if self.listed else {}).items()
        ]
        return Collection("made", studies, images, "none", "none", {"images": "made"}, label_sets=(ILL,))

    @rule(opened_before=st.booleans())
    def label(self, opened_before: bool) -> None:
        dataset = self.opened if opened_before and "descriptor" in self.checks else open_dataset(self.root)
        label_with_sql(dataset, LabelSet("own", "binary", "odd"), OWN)
        self.labelled, self.lost = set(self.added.exams), 0

    @rule(modality=st.sampled_from(list(MODELS)), keep_pixels=st.booleans())
    def embed(self, modality: str, keep_pixels: bool) -> None:
        self.checked = False
        held, encoded = self.expected(modality)
        if not held.rows and not held.failures:
            with pytest.raises(DataError):
                run(open_dataset(self.root), What(MODELS[modality]), Machine())
            return
        before, self.held[modality] = self.held.get(modality), held
        with self.nothing_encoded(not held.rows):
            update = run(open_dataset(self.root), What(MODELS[modality]), Machine(keep_pixels=keep_pixels))
            self.check_update(update, encoded, before != held)

    @contextmanager
    def nothing_encoded(self, expected: bool) -> Iterator[None]:
        """The block raises that nothing could be encoded, if that is so."""
        if not expected:
            yield
            return
        with pytest.raises(StoreError, match="could be encoded"):
            yield

    def check_update(self, update: Update, encoded: set[str], new: bool) -> None:
        self.holds("encoded", update.encoded == len(encoded), update.encoded, encoded)
        self.holds("versions", update.changed == new, update.store.version)
        for failure in update.failures:
            own = f"{self.path_of(failure.item.item_id)}: " if failure.item.section == "image" else ""
            why = WORDS[self.held[update.store.modality].failures[failure.item.key][1]]
            self.holds("messages", failure.message.startswith(own + why), failure)

    def expected(self, modality: str) -> tuple[Held, set[str]]:
        wanted = self.added.wanted(modality, self.path_of)
        if modality == "text":
            texts = {key: self.added.exams[key[0]].text for key in wanted}
            reasons = {key: "no word" for key, text in texts.items() if not text.split()}
        else:
            now = {image: self.disk.films[image].content if image in self.disk.films else None for image, _ in wanted}
            reasons = {
                key: "gone" if now[key[0]] is None else "changed" if now[key[0]] != content else "damaged"
                for key, (content, _) in wanted.items()
                if now[key[0]] != content or content not in WHOLE
            }
        return self.held.get(modality, Held()).after(wanted, reasons)

    @precondition(lambda self: self.held)
    @rule()
    def refresh(self) -> None:
        """Every store that has something to encode is brought up to date."""
        self.checked = False
        for modality in self.held:
            held, _ = self.expected(modality)
            if held.rows or held.failures:
                self.held[modality] = held
        error = CliRunner().invoke(REFRESH, ["--root", str(self.root), "--format", "json"]).exception
        self.holds("refresh", error is None or isinstance(error, SystemExit), repr(error))
        if "refresh" not in self.checks:  # whatever it left undone is done now: other checks go on
            for modality in self.held:
                with suppress(CxrembError):
                    run(open_dataset(self.root), What(MODELS[modality]), Machine())

    @rule(modality=st.sampled_from(list(MODELS)))
    def remove_a_store(self, modality: str) -> None:
        self.checked = False
        if self.held.pop(modality, None) is not None:
            remove(open_store(open_dataset(self.root), MODELS[modality]).folder)

    @rule()
    def clear_the_cache(self) -> None:
        shutil.rmtree(self.root / "made" / "cache", ignore_errors=True)

    @rule()
    def import_split(self) -> None:
        self.checked = False
        parts = {study: PARTS[int(study) % 4] for study in self.added.exams}
        self.title = store_published(open_dataset(self.root), "given", parts).title
        self.placed = {study: (part, self.added.exams[study].patient) for study, part in parts.items()}

    @rule(what=st.sampled_from(list(HEADS)))
    def train(self, what: str) -> None:
        """A run answers again if, and only if, all that decides it is as it was."""
        held = self.held.get("text" if what == "text" else "image", Held())
        rows = rows_of_training(self.added, held, what)
        by_part = {part: [row for row in rows if self.placed.get(row[1], ("",))[0] == part] for part in PARTS}
        both = {row[3] for row in by_part["train"]} == {0, 1} and by_part["test"] and len(by_part["train"]) >= 10
        if not both or (what != "image" and not held.rows):
            return
        dataset = open_dataset(self.root)
        inputs = Inputs("ill", views="frontal" if what == "frontal" else "all", unit=UNITS[what])
        features = load_features(dataset, ("text",) if what == "text" else ("image",), inputs)
        split = choose_split(dataset, "ill", self.title, allow_leaky=True)
        found = fit_run(FitJob(dataset, features, split, Plan(HEADS[what], options=ONCE, folds=(0,))))
        labels = [(study, exam.ill) for study, exam in self.added.exams.items()]
        leaky = is_leaky(self.placed, self.added.exams)
        decides = repr((what, rows, sorted(labels), sorted(self.placed.items()), leaky))
        before = self.answers.setdefault(decides, "nothing yet")
        right = before == (found.run_id if found.reused else "nothing yet")
        self.holds("reuse", right, what, before, found.run_id)
        self.answers[decides] = found.run_id

    # What holds after each step

    @precondition(lambda self: not self.checked)
    @invariant()
    def all_is_as_modelled(self) -> None:
        self.checked = True
        self.split_is_leaky_if_it_is()
        self.tables_are_what_was_added()
        stores = {store.modality: store for store in list_stores(open_dataset(self.root))}
        assert stores.keys() == self.held.keys()
        with connect(self.root) as con:
            flags = dict(con.execute("select modality, stale from stores").fetchall())
        for modality, held in self.held.items():
            wanted = self.added.wanted(modality, self.path_of)
            self.holds("stale", flags[modality] == held.stale(wanted), modality, flags[modality])
            table = stores[modality].table() if held.rows else None
            rows = {} if table is None else dict(identities(table))
            contents = [{key: content for key, (content, _) in its.items()} for its in (rows, held.rows)]
            self.holds("rows", contents[0] == contents[1], modality)
            self.holds("studies", rows == dict(held.rows), modality)
            if table is not None and modality == "image":
                self.vectors_are_of_their_films(table)

    def vectors_are_of_their_films(self, table: pa.Table) -> None:
        for content, vector in zip(table["content"].to_pylist(), table["embedding"].to_pylist(), strict=True):
            self.holds("vectors", np.array_equal(np.float16(vector), vector_of(content)), content)

    def tables_are_what_was_added(self) -> None:
        dataset = open_dataset(self.root)
        try:
            texts = dict(zip(*(dataset.reports[name].to_pylist() for name in ("study_id", "text")), strict=True))
            films = dict(zip(*(dataset.images[name].to_pylist() for name in ("image_id", "sha256")), strict=True))
        except StoreError as error:
            self.holds("descriptor", False, error)
            return
        assert texts == {study: exam.text for study, exam in self.added.exams.items() if exam.text}
        assert films == {image: film.content for image, film in self.added.films.items()}

    def split_is_leaky_if_it_is(self) -> None:
        try:
            choose_split(open_dataset(self.root), "ill", self.title)
            refused = False
        except SplitError as error:
            refused = "shares patients" in str(error)
        self.holds("leaky", refused == is_leaky(self.placed, self.added.exams), self.placed)


def identities(table: pa.Table) -> Iterator[tuple[Key, Row]]:
    """What each row is of."""
    names = ("item_id", "section", "content", "study_id")
    for item, section, content, study in zip(*(table[name].to_pylist() for name in names), strict=True):
        yield (item, section), (content, study)


def lost_labels(added: Added) -> int:
    return sum(note.count for note in added.notes if "own" in note.what)


@cache
def vector_of(content: str) -> np.ndarray:
    """Of a film, by itself."""
    encoder = load_encoder(What("tiny"))
    pixels = resize(decode_bytes(FILMS[content], "film.png"), encoder.frame)
    return np.asarray(encoder.encode(pixels[None])["avg"][0].astype(np.float16))


GOOD, OTHER, DAMAGED = (sha256(film_bytes(seed)) for seed in (40, 41, 43))
ONCE_WRONG = {  # what was found by walks like these, as short as it can be: a check -> operations
    "reuse": [
        lambda walk: walk.train("image"),
        lambda walk: walk.remove_a_store("image"),
        lambda walk: walk.replace_a_file(0, GOOD, 1),
        lambda walk: walk.embed("image", False),
        lambda walk: walk.train("image"),
    ],
    "reuse of a study's films": [
        lambda walk: walk.train("films"),
        lambda walk: walk.move_a_film(0, 5, 1),
        lambda walk: walk.train("films"),
    ],
    "reuse of frontal films": [
        lambda walk: walk.train("frontal"),
        lambda walk: walk.correct_a_view(29, 1),
        lambda walk: walk.train("frontal"),
    ],
    "reuse beside new texts": [
        lambda walk: walk.train("text"),
        lambda walk: walk.change_a_text(1, "wide heart", 1),
        lambda walk: walk.train("text"),
    ],
    "reuse beside other new texts": [
        lambda walk: walk.train("text"),
        lambda walk: walk.change_a_text(1, "wide heart", 1),
        lambda walk: walk.train("text"),
        lambda walk: walk.change_a_text(1, " ", 1),
        lambda walk: walk.train("text"),
    ],
    "leaky": [lambda walk: walk.find_two_patients_to_be_one(0, 3, 1)],
    "studies": [lambda walk: walk.move_a_film(0, 5, 1), lambda walk: walk.embed("image", False)],
    "encoded": [lambda walk: walk.rename_a_film(0, 7, 1), lambda walk: walk.embed("image", False)],
    "stale": [
        lambda walk: walk.replace_a_file(0, DAMAGED, 1),
        lambda walk: walk.embed("image", False),
        lambda walk: walk.replace_a_file(0, GOOD, 1),
    ],
    "stale texts": [
        lambda walk: walk.change_a_text(0, " ", 1),
        lambda walk: walk.embed("text", False),
        lambda walk: walk.change_a_text(0, "wide heart", 1),
    ],
    "refresh": [
        lambda walk: walk.list_all_films_or_none(),
        lambda walk: walk.change_a_text(0, "wide heart", 1),
        lambda walk: walk.refresh(),
    ],
    "messages": [
        lambda walk: walk.replace_a_file(0, GOOD, 0),
        lambda walk: walk.replace_a_file(1, GOOD, 1),
        lambda walk: walk.replace_a_file(0, None, 0),
        lambda walk: walk.replace_a_file(1, OTHER, 0),
        lambda walk: walk.embed("image", False),
    ],
    "again": [lambda walk: walk.label(False), lambda walk: walk.remove_a_study(0, 2)],
    "lost labels": [lambda walk: walk.label(False), lambda walk: walk.remove_a_study(0, 2)],
    "rows": [
        lambda walk: walk.remove_a_store("image"),
        lambda walk: walk.embed("image", True),
        lambda walk: walk.remove_a_store("image"),
        lambda walk: walk.replace_a_file(0, None, 0),
        lambda walk: walk.embed("image", True),
    ],
    "descriptor": [lambda walk: walk.change_a_text(0, "wide heart", 1), lambda walk: walk.label(True)],
}


@pytest.mark.parametrize("name", ONCE_WRONG)
def test_what_was_once_wrong(name: str) -> None:
    walk = Operations()
    walk.checks = frozenset(check for check in CHECKS if name.startswith(check))
    try:
        walk.begin()
        walk.all_is_as_modelled()
        for operation in ONCE_WRONG[name]:
            operation(walk)
            walk.all_is_as_modelled()
    finally:
        walk.teardown()


SHORT = settings(
    max_examples=6, stateful_step_count=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
LONG = settings(SHORT, max_examples=30, stateful_step_count=40, derandomize=False, print_blob=True)


def test_a_short_walk() -> None:
    run_state_machine_as_test(Operations, settings=SHORT)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_long_walk() -> None:
    run_state_machine_as_test(Operations, settings=LONG)
