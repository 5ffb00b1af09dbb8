"""A query ends when somebody says so, and a store answers questions without a way out of it."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

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
