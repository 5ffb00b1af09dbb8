"""A query ends when somebody says so, and a store answers questions without a way out of it."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Result, collection

from cxremb.catalog import add_collection
from cxremb.errors import QueryError
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store, open_store
from cxremb.store.sql import query

# Years of work that take no memory: a comparison of two columns for each of 10^13 pairs.
ENDLESS = "select count(*) from range(100_000_000) a, range(100_000) b where hash(a.range + b.range) = 3"


def test_a_query_ends_when_its_time_is_up(small: Dataset) -> None:
    began = time.monotonic()
    with pytest.raises(QueryError, match=r"more than 0\.3 seconds"):
        query(small.paths.root, ENDLESS, seconds=0.3)
    assert time.monotonic() - began < 60  # and not in years, on any machine


def test_a_query_that_is_quick_enough_has_its_rows(small: Dataset) -> None:
    assert query(small.paths.root, "select 6 * 7 as n", seconds=60).to_pylist() == [{"n": 42}]


def test_a_query_of_another_thread_ends_too(small: Dataset) -> None:
    found: list[str] = []

    def ask() -> None:
        with pytest.raises(QueryError) as caught:
            query(small.paths.root, ENDLESS, seconds=0.2)
        found.append(str(caught.value))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(60)
    assert found == ["the query took more than 0.2 seconds and was ended"]


def test_the_command_takes_a_time(small: Dataset, cxremb: Callable[..., Result]) -> None:
    done = cxremb("sql", ENDLESS, "--timeout", "0.2", "--root", small.paths.root)
    assert done.code != 0
    assert "the query took more than 0.2 seconds" in done.err


def test_ctrl_c_ends_a_query(small: Dataset) -> None:
    program = [sys.executable, "-c", "import sys; from cxremb.cli.main import main; print('up', flush=True); main()"]
    words = ["sql", ENDLESS, "--root", str(small.paths.root)]
    with subprocess.Popen([*program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        while running.poll() is None:  # one may come before the query has begun, and while modules are imported
            time.sleep(1.5)
            running.send_signal(signal.SIGINT)
        assert running.returncode in {130, -signal.SIGINT}


@pytest.fixture
def store(small: Dataset, cxremb: Callable[..., Result]) -> Store:
    assert cxremb("embed", "--model", "tiny", "--root", small.paths.root).code == 0
    return open_store(small, "tiny")


@pytest.mark.parametrize(
    "text",
    [
        "copy store to '{out}'",
        "with d as (copy (select 1) to '{out}') select 1",
        "select * from read_text('{secret}')",
        "select * from '{secret}'",
        "set enable_external_access = true",
        "attach '{out}' as other",
        "select 1; select 2",
    ],
)
def test_a_store_answers_and_does_no_more(store: Store, tmp_path: Path, text: str) -> None:
    secret, out = tmp_path / "beside.csv", store.folder / "out.csv"
    secret.write_text("password\nhunter2\n", encoding="utf-8")
    with pytest.raises(QueryError) as caught:
        store.sql(text.format(secret=secret, out=out))
    assert "hunter2" not in str(caught.value)
    assert not out.exists()


def test_a_store_says_which_columns_it_has(store: Store) -> None:
    with pytest.raises(QueryError) as caught:
        store.sql("select nothing_like_it from store")
    assert "store has item_id" in caught.value.hint


WAYS_OUT = [
    "from read_text('{root}/link/../beside.txt')",
    "from read_text(['{root}/link/../beside.txt'])",
    "from read_text('{root}/link/.' || './beside.txt')",
    "from read_text(concat('{root}/link/.', './beside.txt'))",
    "from read_text(E'{root}/link/\\x2e\\x2e/beside.txt')",
    "from read_text($${root}/link/../beside.txt$$)",
    "from \"read_text\" /* a */ ('{root}/link/.' || './beside.txt')",
    "from glob('{root}/link/../*')",
    "from '{root}/link/../beside.csv'",
    'from "{root}/link/../beside.csv"',
    "from query_table('{root}/link/.' || './beside.csv')",
    "from nearest('{root}/link/.' || './beside.csv', 'x')",
    "explain analyze from read_text('{root}/link/../beside.txt')",
]


@pytest.mark.parametrize("text", WAYS_OUT)
def test_a_link_leads_no_query_out(small: Dataset, tmp_path: Path, text: str) -> None:
    """DuckDB takes `link/..` for the folder of the link, the system for that of what it leads to."""
    root = small.paths.root
    (tmp_path / "other" / "deep").mkdir(parents=True)
    for name in ("beside.txt", "beside.csv"):
        (tmp_path / "other" / name).write_text("hunter2\nhunter2\n")
    (root / "link").symlink_to(tmp_path / "other" / "deep")
    with pytest.raises(QueryError) as caught:
        query(root, text.format(root=root))
    assert "hunter2" not in str(caught.value)


def test_paths_that_are_written_out_are_read(small: Dataset) -> None:
    root = small.paths.root
    (root / "x.txt").write_text("inside")
    (root / "y..txt").write_text("two dots")
    texts = f"select content from read_text(['{root}/x.txt', '{root}/y..txt']) order by 1"
    assert query(root, texts).column("content").to_pylist() == ["inside", "two dots"]
    tables = f"select count(*) as n from read_parquet('{small.paths.folder}/studies*.parquet', filename = true)"
    assert query(root, tables).column("n").to_pylist() == [12]
    assert query(root, "select '..' as a from studies limit 1").num_rows == 1


def test_a_data_set_that_is_a_link_is_read_as_any(
    small: Dataset, tmp_path: Path, cxremb: Callable[..., Result]
) -> None:
    """It lies on another disk, say; `data rm` leaves it to its owner."""
    root = tmp_path / "linked"
    root.mkdir()
    (root / "small").symlink_to(small.paths.folder)
    add_collection(replace(collection(tmp_path / "more", 2), name="more"), root)
    assert query(root, "select dataset, count(*) as n from studies group by 1 order by 1").to_pylist() == [
        {"dataset": "more", "n": 2},
        {"dataset": "small", "n": 12},
    ]
    assert cxremb("store", "ls", "--root", root).code == 0
    refused = cxremb("data", "rm", "small", "--yes", "--root", root)
    assert (refused.code, "a link" in refused.err, small.paths.descriptor.exists()) == (1, True, True)
