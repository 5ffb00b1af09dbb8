"""The rows that are shown, as one table in memory beside the views of `cxremb sql`, made once of what is stored."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from cxremb.errors import StoreError
from cxremb.explorer.arms import BoardRuns, runs_shown
from cxremb.explorer.build import Facet, create_cases
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.mistakes import first_lines
from cxremb.store.notes import notes_path
from cxremb.store.sql import connect
from cxremb.store.views import notes_view

INNER = ("n", "here", "found")  # columns that the pages need and nobody asks for
HELD = 4  # boards of other tables of runs, which somebody looked at before


Filter = tuple[str, tuple[float, ...]]  # a condition in SQL, the corners of a lasso


@dataclass(frozen=True, eq=False)
class Board:
    """One state of the store, opened. `con` has the views of docs/sql.md and the table `cases`."""

    dataset: Dataset
    con: duckdb.DuckDBPyConnection
    runs: BoardRuns
    label: str | None
    facets: tuple[Facet, ...]
    findings: tuple[str, ...]  # labels of which a study may have several
    columns: tuple[str, ...]  # of `cases`, for a filter
    facts: frozenset[str]  # names that a filter may use
    rows: int
    mapped: str  # method of the map; "" without one
    far: bool  # whether distances to training are there
    held: dict[Filter, pa.Table] = field(default_factory=dict)  # the rows of filters that were asked for

    @property
    def unit(self) -> str:
        """What a row is: image or study."""
        return self.runs.unit or ("image" if self.dataset.descriptor["tables"]["images"]["rows"] else "study")

    @contextmanager
    def asking(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own for one request."""
        with self.con.cursor() as cursor:
            yield cursor


Key = tuple[str | None, str | None]  # a run of the table, the label


@dataclass
class Boards:
    """The boards that were opened, one for each table of runs and label; made again when the store has changed."""

    root: Path
    name: str
    held: dict[Key, tuple[tuple[object, ...], Board]] = field(default_factory=dict)  # with the state that it is of
    noted: dict[Key, list[Path]] = field(default_factory=dict)  # which notes a board sees
    lock: threading.Lock = field(default_factory=threading.Lock)

    def board(self, of: str | None = None, label: str | None = None) -> Board:
        """The board of the table that the run `of` is in. Raises `StoreError` or `DataError` as `connect`."""
        key = (of, label)
        with self.lock:
            now = state(self.root, self.name)
            before, board = self.held.get(key, ((), None))
            if board is None or before != now:
                board = open_board(self.root, self.name, of=of, label=label)
                if len(self.held) >= HELD:
                    self.held.pop(next(iter(self.held)))
                self.held[key] = (now, board)
                self.noted.pop(key, None)
            self.take_notes(key, board)
            return board

    def take_notes(self, key: Key, board: Board) -> None:
        """Let a board see the notes that were written since, by this explorer or another."""
        paths = notes_path(board.dataset)
        if self.noted.get(key) != paths:
            with board.asking() as con:  # in one step, for who is asking meanwhile
                con.execute("BEGIN")
                con.execute("DROP VIEW notes")
                con.execute(notes_view([board.dataset]))
                con.execute("COMMIT")
            self.noted[key] = paths


def state(root: Path, name: str) -> tuple[object, ...]:
    """What changes when there is something else to show, but for notes."""
    folder = root / name
    replaced = [folder / "dataset.json", *folder.glob("maps/[!.]*.parquet"), *folder.glob("distances/[!.]*.parquet")]
    times = sorted((str(path), path.stat().st_mtime_ns) for path in replaced if path.is_file())
    added = [*folder.glob("runs/[!.]*/run.json"), *folder.glob("audits/[!.]*"), *folder.glob("embeddings/*/*.json")]
    return tuple(times), tuple(sorted(map(str, added)))


def open_board(root: Path, name: str, *, of: str | None, label: str | None) -> Board:
    """The board of one data set. Raises as `open_dataset` and `connect`."""
    dataset = open_dataset(root, name)
    con = connect(root)
    try:
        runs = runs_shown(con, name, of)
        chosen = label if label in runs.labels else next(iter(runs.labels), None)
        made = create_cases(con, dataset, runs, label=chosen)
        facts = frozenset(name for (name,) in con.execute("SELECT DISTINCT name FROM facts").fetchall())
    except duckdb.Error as error:
        hint = "see what is wrong and what to do: `cxremb store check`"
        raise StoreError(f"{dataset.paths.folder}: {first_lines(error)}", hint=hint) from error
    names = (column[0] for column in con.execute("FROM cases LIMIT 0").description or ())
    columns = tuple(name for name in names if name not in INNER)
    return Board(
        dataset, con, runs, chosen, made.facets, made.findings, columns, facts, made.rows, made.mapped, made.far
    )
