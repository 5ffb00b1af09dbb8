"""SQL in other commands than `cxremb sql` ends too: with Ctrl-C, and before it takes the machine's memory."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

from cxremb.errors import QueryError
from cxremb.store.conditions import condition_error

GOLDEN = Path(__file__).parent / "golden" / "format3"
ENDLESS = "(select count(*) from range(100_000_000) a, range(100_000) b where hash(a.range + b.range) = 3) > 0"
HUGE = "(select count(*) from (select distinct a.range * 7919 + b.range from range(100_000) a, range(1_000) b)) > 0"
COMMANDS = {
    "evaluate": "evaluate {run} --by {sql}",
    "data label": "data label mine --sql {labels}",
    "similar": "similar {film} --model tiny --where {sql}",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "root"))


def words(command: str, sql: str, root: Path) -> list[str]:
    """A command whose SQL this is."""
    run = next((root / "small" / "runs").iterdir()).name
    labels = f"select study_id, 'odd' as label, 1 as value from studies where {sql}"
    places = {"{run}": run, "{sql}": sql, "{labels}": labels, "{film}": "film05"}
    return [*(places.get(word, word) for word in COMMANDS[command].split()), "--root", str(root)]


def processor_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux what a process has used")
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_it(command: str, root: Path) -> None:
    program = [sys.executable, "-m", "cxremb", *words(command, ENDLESS, root)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and processor_seconds(running.pid) < 8:  # longer than all but the query takes
            time.sleep(0.2)
        assert running.poll() is None, running.communicate()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize("command", COMMANDS)
def test_it_takes_no_more_memory_than_it_may(
    command: str, root: Path, cxremb: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxremb.store.guard.MEMORY", "100MB")
    done = cxremb(*words(command, HUGE, root))
    assert done.code == 1
    assert "Out of Memory Error" in done.err
    assert "hint:  select fewer columns or rows" in done.err


def test_what_is_wrong_with_the_row_has_a_hint_of_its_own() -> None:
    error = condition_error(QueryError("Binder Error: no such thing", hint="of sql"), "of a row")
    assert (str(error), error.hint) == ("no such thing", "of a row")
