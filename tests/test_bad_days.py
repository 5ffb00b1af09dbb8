"""Bad days in short: `make chaos` goes the whole route 200 times; here each kind of fault is met a few times."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import collection
from killed import at_once
from PIL import Image as PilImage

from cxremb.catalog import add_collection
from cxremb.cli.main import main
from cxremb.embedding.decode import Decoders, all_failed, decode
from cxremb.embedding.job import embed
from cxremb.encoders.base import Machine, What, load_encoder
from cxremb.errors import StoreError
from cxremb.images import FilmFile, Frame
from cxremb.processes import Workers
from cxremb.store.check import check_store
from cxremb.store.clean import clear, leftovers
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.expected import refuse_links
from cxremb.store.remote import files_below
from cxremb.training.runs import list_runs, remove_run

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "format3"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["kills", "terms", "errors", "full", "poor", "memory", "pairs"])
def test_the_route_with_faults_ends_as_in_quiet(part: str, tmp_path: Path) -> None:
    """One route, or as many as it takes for eight kills."""
    words = [
        "--kills",
        "8",
        "--most",
        "1",
        "--pairs",
        "8",
        "--only",
        part,
        "--out",
        str(tmp_path / "found.json"),
        "--seed",
        "7",
    ]
    program = [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=590)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "found.json").read_text())[part]["wrong"] == []


def test_a_store_before_its_first_version_is_not_damaged(small: Dataset, cxremb: Any) -> None:
    def stopped(items: Any, total: int, what: object) -> Any:
        for number, item in enumerate(items):
            if number == 9:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        embed(small, load_encoder(What("tiny")), Machine(batch_size=4, part_items=4), progress=stopped)
    done = cxremb("store", "check", "--root", small.paths.root)
    assert done.code == 0, done.out
    assert "no version yet, 2 finished parts: its job was stopped or is at work" in done.out
    assert embed(small, load_encoder(What("tiny"))).reused >= 8


def test_drafts_of_writers_that_were_killed_are_freed_a_day_later(small: Dataset) -> None:
    names = ("notes", "splits", "audits", "cache/vectors/tiny@0")
    paths = [small.paths.folder / name / f".{'0a' * 16}.parquet" for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert leftovers(small.paths) == []  # its writer may be at work
    for path in paths:
        os.utime(path, (time.time() - 90_000,) * 2)
    assert sorted(leftovers(small.paths)) == sorted(paths)
    clear(small.paths)
    assert not any(path.exists() for path in paths)


def test_a_query_of_duckdb_that_ctrl_c_ends_is_ctrl_c(cxremb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes a RuntimeError of the KeyboardInterrupt."""

    def ended(*_: object, **__: object) -> None:
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr("cxremb.store.dataset.open_dataset", ended)
    done = cxremb("data", "show", "--root", GOLDEN)
    assert (done.code, "Traceback" in done.err) == (130, False)
    assert "stopped" in done.err


def test_what_threads_decode_with_is_there_before_a_process_starts() -> None:
    """While OpenCV loads its folder is first in sys.path, and a process that is started then inherits that."""
    program = (
        "import sys\n"
        "from cxremb.embedding.decode import Decoders\n"
        "before = 'cv2' in sys.modules\n"
        "Decoders(len, len, 1, processes=False).close()\n"
        "print(before, 'cv2' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


class Poor(Decoders[Any]):
    """Decoders whose processes have room for 64 MB more than they take."""

    def start(self, workers: int) -> Workers:
        return Workers(workers, starve)


def starve() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 64 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


@pytest.mark.slow
def test_a_film_for_which_a_worker_has_no_memory_fails_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files = []
    for number, side in enumerate((64, 12_000, 64)):
        path = tmp_path / f"{number}.tif"
        PilImage.fromarray(random.integers(0, 256, (side, side), dtype=np.uint8)).save(path)
        files.append([FilmFile(str(path), "")])
    decoders = Poor(partial(decode, frame=Frame(16)), all_failed, 1, processes=True)
    answers = list(decoders.run(files, 3))
    decoders.close()
    why = str(answers[1][0])
    assert "1.tif" in why
    assert "memory" in why
    # the small ones are read: that they are not what was added is all that is wrong with them
    assert ["changed since" in str(answers[place][0]) for place in (0, 2)] == [True, True]


@pytest.mark.parametrize("what", ["of a dead process", "of another user", "written on"])
def test_stale_locks_hold_nobody_up(tmp_path: Path, what: str) -> None:
    """The kernel has taken back the lock of who died; the file says nothing."""
    data = add_collection(collection(tmp_path / "films", 3), tmp_path / "root").dataset
    store = embed(data, load_encoder(What("tiny"))).store
    for folder in (data.paths.folder, store.folder):
        lock = folder / ".lock"
        if what == "of a dead process":
            lock_and_die(lock)
        else:
            lock.unlink(missing_ok=True)
            lock.write_text("4711@elsewhere\n" if "written" in what else "")
            lock.chmod(0o600)
    assert add_collection(collection(tmp_path / "films", 4), tmp_path / "root").changes
    assert embed(open_dataset(tmp_path / "root"), load_encoder(What("tiny"))).store.rows == 8
    assert [problem for problem in check_store(store.folder) if not problem.harmless] == []


def lock_and_die(path: Path) -> None:
    program = (
        "import fcntl, os\n"
        f"fcntl.flock(os.open({str(path)!r}, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL


def test_a_run_that_two_remove_at_once_is_gone_once(tmp_path: Path) -> None:
    root = Path(shutil.copytree(GOLDEN, tmp_path / "root"))
    codes = at_once(*[(remove_the_run, (root,))] * 4)
    assert sorted(codes).count(0) >= 1
    assert set(codes) <= {0, 3}
    assert list_runs(open_dataset(root)) == []
    assert [path.name for path in (root / "small" / "runs").iterdir()] == []


def test_a_run_that_is_removed_while_it_is_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(shutil.copytree(GOLDEN, tmp_path / "root"))

    def removed_first(folder: Path, outer: Path) -> None:
        shutil.rmtree(folder)
        refuse_links(folder, outer)

    monkeypatch.setattr("cxremb.training.runs.refuse_links", removed_first)
    assert list_runs(open_dataset(root)) == []


def test_files_are_counted_while_somebody_removes_them(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "folder" / f"{number}").mkdir(parents=True)
        (tmp_path / "folder" / f"{number}" / "file").write_text("words")
    found = files_below(tmp_path / "folder")
    assert next(found).name == "file"
    shutil.rmtree(tmp_path / "folder")
    assert list(found) == []


def remove_the_run(root: Path) -> None:
    """Exit code 3: it said that somebody else was first."""
    try:
        (run,) = list_runs(open_dataset(root))
        remove_run(run)
    except (StoreError, ValueError):
        sys.exit(3)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_permission_that_is_lost_in_mid_job_loses_nothing_else() -> None:
    """As another user, since root may write anywhere."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = add_collection(collection(folder / "films", 12), folder / "root").dataset
        data.paths.embeddings.mkdir()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
        assert at_once((lose_permission, (folder / "root",))) == [7]
        assert at_once((lose_permission, (folder / "root", False))) == [0]
        (store,) = data.paths.embeddings.iterdir()
        assert [problem for problem in check_store(store) if not problem.harmless] == []


def lose_permission(root: Path, lost: bool = True) -> None:
    """Exit code 7: the job said that it may not write any more."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    data = open_dataset(root)

    def revoked(items: Any, total: int, what: object) -> Any:
        for number, item in enumerate(items):
            if lost and number == 12:
                (store,) = data.paths.embeddings.iterdir()
                store.chmod(0o500)
            yield item

    if not lost:
        (store,) = data.paths.embeddings.iterdir()
        store.chmod(0o700)
    try:
        outcome = embed(data, load_encoder(What("tiny")), Machine(batch_size=2, part_items=4), progress=revoked)
    except StoreError as error:
        sys.exit(7 if lost and "cannot be written (Permission denied)" in str(error) else 8)
    sys.exit(0 if outcome.store.rows == 24 else 9)


@pytest.mark.parametrize("said", ["can't start new thread", "Failed to launch worker thread: Resource unavailable"])
def test_no_further_thread_is_an_error_with_a_way_out(
    said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def starved(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(threading.Thread, "start", starved)
    monkeypatch.setattr("sys.argv", ["cxremb", "sql", "select 1", "--root", str(GOLDEN)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert "lets no further thread be started" in (told := capsys.readouterr().err)
    assert "ulimit -u" in told
