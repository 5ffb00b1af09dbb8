"""Targets: what reads bytes that anybody may have written. Each takes them and either reads them or refuses.

A target raises `AssertionError`, or anything else that is no `CxrembError` with a hint, if something is wrong; the
tests run the same functions on the cases that were found (tests/fuzzed).
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

from cxremb.datasets import table
from cxremb.datasets.iu_reports import parse_report, read_kaggle_reports
from cxremb.errors import CxrembError, DataError, ImageError, QueryError, StoreError
from cxremb.images import decode_file, image_size
from cxremb.store.check import check_store, check_tables
from cxremb.store.dataset import read_dataset
from cxremb.store.guard import collected, ended_in_time, reading
from cxremb.store.manifest import Recipe, read_manifest
from cxremb.store.mistakes import mistakes_named
from cxremb.store.sql import connect, query
from cxremb.tablefile import open_table
from cxremb.training.runs import read_run

SECONDS = 2.0  # for a statement that the guard lets through
MOST = 1 << 24  # bytes of its rows
STATE = """
select (select count(*) from duckdb_views()), (select count(*) from duckdb_tables()),
       (select md5(string_agg(name || value, ';' order by name)) from duckdb_settings())
"""


@contextmanager
def refused(*kinds: type[CxrembError]) -> Iterator[None]:
    """What may be raised inside: one of these, in words and with what to do."""
    try:
        yield
    except kinds as error:
        if not (str(error) and error.hint):
            raise AssertionError(f"no words, or no hint: {error}") from error


@dataclass
class Place:
    """A folder of the target's own, with a store root in it that the targets of records change and put right again."""

    folder: Path
    root: Path

    def one(self, pattern: str) -> Path:
        return sorted(self.root.glob(pattern))[0]


def film(name: str) -> Callable[[Place, bytes], None]:
    """A film of this name: grey of the size that its header says, or an error of the one kind."""

    def check(place: Place, content: bytes) -> None:
        path = place.folder / name
        path.write_bytes(content)
        size = None
        with refused(ImageError):
            size = image_size(path)
        with refused(ImageError):
            pixels = decode_file(path).pixels
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 2
            assert pixels.size
            assert size is None or size == pixels.shape[::-1], f"{size}, and {pixels.shape[::-1]} decoded"

    return check


def manifest(place: Place, content: bytes) -> None:
    """A version of a store; one that is taken for ours is checked and queried too."""
    path = place.one("*/embeddings/tiny@*/*.json")
    with replaced(path, content), refused(StoreError, QueryError):
        read_manifest(path)
        check_store(path.parent)
        query(place.root, "select count(*) from embeddings", seconds=SECONDS)


def with_its_key(found: object) -> None:
    """The key made right, as somebody would who knows how."""
    if isinstance(found, dict) and isinstance(found.get("recipe"), dict):
        try:
            found["key"] = Recipe(**found["recipe"]).key
        except (TypeError, ValueError):
            return


def description(place: Place, content: bytes) -> None:
    """dataset.json."""
    path = place.one("*/dataset.json")
    with replaced(path, content), refused(StoreError, DataError, QueryError):
        check_tables(read_dataset(path))
        query(place.root, "select count(*) from studies", seconds=SECONDS)


def record(place: Place, content: bytes) -> None:
    """run.json; of one that is taken for ours, figures and rows are read too."""
    path = place.one("*/runs/*/run.json")
    with replaced(path, content), refused(StoreError, DataError, QueryError):
        run = read_run(path.parent)
        assert run.heading()
        _ = run.metrics, run.predictions(), run.weights(), run.record.scales_in_words, run.verbatim
        query(place.root, "select count(*) from runs", seconds=SECONDS)


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """A file with other bytes for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def rows(place: Place, content: bytes) -> None:
    """A table from outside: as cells, as the table of a collection, and as that of Kaggle."""
    path = place.folder / "table.csv"
    path.write_bytes(content)
    with refused(DataError):
        opened = open_table(path)
        for number, cells in opened.rows(opened.columns):
            assert number > 0
            assert all(isinstance(cell, str) for cell in cells.values())
    with refused(DataError):
        found = table.read(table.TableSpec(path, "fuzzed", images=place.folder))
        assert all(one.study_id for one in (*found.studies, *found.images))
    with refused(DataError):
        read_kaggle_reports(path)


def report(_: Place, content: bytes) -> None:
    """A report of Open-i in XML."""
    with refused(DataError):
        study, films = parse_report(content, "report.xml")
        assert study.study_id
        assert all(one.study_id == study.study_id for one in films)


class Statements:
    """SQL: what the guard lets through is run, and has changed nothing."""

    def __init__(self) -> None:
        self.con: duckdb.DuckDBPyConnection | None = None

    def __call__(self, place: Place, content: bytes) -> None:
        text = os.fsdecode(content)
        if self.con is None:
            self.con = connect(place.root)
            self.before = self.state(place)
        with refused(QueryError), mistakes_named(self.con, place.root, text):
            statement, _ = reading(self.con, text)
            try:
                con = self.con
                ended_in_time(con, SECONDS, lambda: collected(con.sql(statement), MOST))
            finally:
                assert self.state(place) == self.before, f"it changed something: {statement!r}"

    def state(self, place: Place) -> object:
        """Files below the root with their times, and what the database has."""
        files = sorted((str(path), path.stat().st_mtime_ns) for path in place.root.rglob("*"))
        assert self.con is not None
        return files, self.con.execute(STATE).fetchall()


@dataclass(frozen=True)
class Target:
    """How bytes are tried; `mend` makes a changed JSON agree with itself again, so that more of it is reached."""

    check: Callable[[Place, bytes], None]
    json: bool = False
    mend: Callable[[object], None] | None = None
    records: bool = False  # whether it needs a store root


TARGETS = {
    "png": Target(film("film.png")),
    "jpeg": Target(film("film.jpg")),
    "tiff": Target(film("film.tif")),
    "dicom": Target(film("film.dcm")),
    "npy": Target(film("film.npy")),
    "npz": Target(film("film.npz")),
    "manifest": Target(manifest, json=True, mend=with_its_key, records=True),
    "dataset": Target(description, json=True, records=True),
    "run": Target(record, json=True, records=True),
    "csv": Target(rows),
    "xml": Target(report),
    "sql": Target(Statements(), records=True),
}


def changed_json(content: bytes, random: np.random.Generator, mend: Callable[[object], None] | None) -> bytes:
    """A JSON text in which one value, somewhere, is another."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return content
    places = list(nodes(found))
    if places:
        holder, key = places[random.integers(len(places))]
        value = NASTY[random.integers(len(NASTY))]
        if random.random() < 0.2:
            del holder[key]
        elif random.random() < 0.3 and len(places) > 1:
            other, name = places[random.integers(len(places))]
            holder[key] = json.loads(json.dumps(other[name]))
        else:
            holder[key] = value
    if mend is not None and random.random() < 0.8:
        mend(found)
    return json.dumps(found).encode("utf-8", "surrogatepass")


NASTY: tuple[object, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 2**70, 1e308, float("nan"), float("inf"), 0.5),
    *("", " ", "\0", "\n", "\x1b[2J", "a" * 300, "../x", "/etc/hostname", "\ud800", "'", '"; --', "٣", "%s", "{}", "1"),
    *([], {}, [[]], [None], {"": None}, [1, 2], ["a"], {"a": {"b": []}}, [[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]),
)


def nodes(found: object) -> Iterator[tuple[object, object]]:
    """(list or object, place in it) of every value."""
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, value in list(items):
        yield found, key
        yield from nodes(value)
