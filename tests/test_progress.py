"""How far a long job is: a bar that is gone when it ends, a line now and then in a file, rates that mean something."""

import re
import subprocess
import sys
from itertools import chain

import pytest
from terminal import raw, shown

from cxremb.cli import progress
from cxremb.cli.progress import EVERY, MEANS, bar, rate
from cxremb.embedding.encode import Log

ENDS = """
from cxremb.cli.progress import bar
print("first")
for number in bar(range(50), 50, "to the end"):
    pass
for number in bar(range(50), 50, "stopped early"):
    if number == 20:
        break
print("between")
for number in bar(iter(range(5)), None, "of unknown length"):
    pass
try:
    for number in bar(range(50), 50, "failing"):
        raise ValueError
except ValueError:
    pass
from cxremb.types import stages
with stages(bar, "in stages", ("one", "two")) as begin:
    begin()
    begin()
try:
    with stages(bar, "failing at a stage", ("one", "two")) as begin:
        begin()
        raise ValueError
except ValueError as error:
    kept = error
print("last")
"""


def test_nothing_of_a_bar_stays_however_its_job_ends() -> None:
    code, lines = shown([sys.executable, "-c", ENDS], 80)
    assert code == 0
    assert [line.strip() for line in lines if line.strip()] == ["first", "between", "last"]


def test_a_rate_is_none_until_it_means_something() -> None:
    assert rate(73_208, 1.0) == rate(0, 100.0) == rate(10**6, MEANS - 0.01) == ""
    assert rate(219_624, 3.0) == "73,208/s"
    assert rate(10, 4.0) == "2.5/s"
    assert rate(2, 60.0) == "30.0 s each"


def clock(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """Time stands at each of these in turn, and at the last for ever."""
    ticks = chain(seconds, iter(lambda: seconds[-1], None))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))


def test_in_a_file_a_line_now_and_then_and_one_at_the_end(monkeypatch, capsys) -> None:
    clock(monkeypatch, 0, 1, EVERY, EVERY + 1, 2 * EVERY + 1)
    assert list(bar(range(4), 8, "encoding")) == [0, 1, 2, 3]
    assert capsys.readouterr().err.splitlines() == [
        "encoding: 2 of 8, 15.0 s each, 90 s to go",
        "encoding: 4 of 8, 15.2 s each, 61 s to go",
        "encoding: 4 done",
    ]


def test_a_short_job_says_one_line_and_one_of_unknown_length_no_time(monkeypatch, capsys) -> None:
    assert list(bar("ab", 2, lambda: "reading [x]")) == ["a", "b"]
    assert capsys.readouterr().err == "reading [x]: 2 done\n"
    clock(monkeypatch, 0, EVERY)
    assert list(bar("a", None, "reading")) == ["a"]
    assert capsys.readouterr().err.splitlines() == ["reading: 1, 30.0 s each", "reading: 1 done"]


SLOW = """
import time
from cxremb.cli.progress import bar
from cxremb.types import stages
with stages(bar, "exporting", ("building", "comparing")) as begin:
    for _ in range(2):
        begin()
        time.sleep(0.6)
"""


def test_a_bar_says_what_it_waits_for_while_one_item_takes_long() -> None:
    code, written = raw([sys.executable, "-c", SLOW], 80)
    assert code == 0
    assert re.search(r"exporting: building .*0/2.*exporting: comparing .*1/2", written, re.DOTALL)


def test_no_colour_where_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = re.compile(r"\x1b\[[\d;]*3\d[\d;]*m")
    script = [sys.executable, "-c", "from cxremb.cli.screen import say; say('red', 'red')"]
    assert colour.search(raw(script, 80)[1])
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(raw(script, 80)[1])
    piped = subprocess.run(script, capture_output=True, text=True, check=True)
    assert piped.stdout == "red\n"


def test_nothing_is_waited_for_before_anything_has_taken_time() -> None:
    log = Log()
    assert log.waiting_for() == ""
    log.seconds.update(decode=2.0, encode=1.0)
    assert log.waiting_for() == ", waiting for decode"
