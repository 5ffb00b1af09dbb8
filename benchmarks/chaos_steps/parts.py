"""The parts of the chaos program: each goes the route, or some of it, with one kind of fault, and says what it did."""

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from pathlib import Path
from random import Random
from typing import Any

from chaos_steps import faults
from chaos_steps.forked import Done, Running, asked, start
from chaos_steps.route import BESIDE, CHECK, OTHER, STEPS, Step
from chaos_steps.tables import aged, final_tables, left_behind

TRIES = 2  # faults that a command meets, at most, before it is left in peace
AGAIN = 5  # times that a command may be run again after faults
PAGE = 4096
SIZES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 34, 44, 60, 80, 120)  # pages that are left on a disk
ODD_PATH = "a\nb 'c' \"d\" %s $(e) [f]*?{g} ü #h &"
SPINNING = 60.0  # seconds for a command without memory: some libraries then try for ever
SHARE = 0.065  # of the pairs after which the whole route is gone again: 12 of 190
MIDWAY = 11  # steps before which a root has work to do for most commands: after the later `data add`


@dataclass
class Chaos:
    """The collection, the quiet root that others must equal, and what was found wrong so far."""

    folder: Path
    kills: int
    pairs: int  # of commands; all, if there are fewer
    most: int  # changes of a file, of each step, that fail
    random: Random = field(default_factory=Random)
    wrong: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # of each step in quiet
    changes: dict[str, int] = field(default_factory=dict)  # to files, of each step in quiet
    tables: dict[str, Any] = field(default_factory=dict)
    kept: int = 0

    def make_quiet(self) -> None:
        """The route without a fault; how long each step takes, and how often it changes a file."""
        root = self.folder / "quiet"
        for number, step in enumerate(STEPS):
            if number == MIDWAY:
                shutil.copytree(root, self.folder / "midway")
            log = self.folder / "log"
            done = self.run(step, root, faults.counting(root, log))
            assert done.code == 0, f"{step.name}: {done.err}"
            self.seconds[step.name] = done.seconds
            self.changes[step.name] = len(log.read_text().splitlines()) if log.exists() else 0
            log.unlink(missing_ok=True)
        self.tables = asked(final_tables, root)

    def run(self, step: Step, root: Path, fault: Callable[[], None] | None = None) -> Done:
        """How a step ended."""
        return self.begun(step, root, fault).end()

    def begun(self, step: Step, root: Path, fault: Callable[[], None] | None = None) -> Running:
        """A step under way."""
        return start(lambda: step.run(self.folder / "collection", root), fault)

    def say(self, what: str, root: Path | None = None) -> None:
        """Something is wrong: the root is kept for who looks into it."""
        if root is not None and root.is_dir() and (keep := os.environ.get("CHAOS_KEEP")):
            self.kept += 1
            shutil.copytree(root, Path(keep) / f"wrong-{self.kept}", symlinks=True)
            what = f"{what} (wrong-{self.kept})"
        self.wrong.append(what)
        print("WRONG", what, flush=True)

    def checked(self, root: Path, what: str) -> None:
        """`store check` is clean; before there is a data set it says that there is none."""
        done = self.run(CHECK, root)
        if done.code != 0 and "no data set" not in done.err:
            self.say(f"{what}: store check says\n{done.out}{done.err}", root)

    def spoken(self, done: Done, what: str, codes: tuple[int, ...] = (0, 1)) -> None:
        """It ended as it should, with words and without a traceback or a process that lives on."""
        if done.code not in codes or "Traceback" in done.err or done.survivors:
            self.say(f"{what}: exit code {done.code}, {done.survivors} processes lived on\n{done.err[-3000:]}")

    def finished(self, step: Step, root: Path, what: str) -> bool:
        """The step run in peace, until it is done."""
        for _ in range(AGAIN):
            done = self.run(step, root)
            if done.code == 0 or any(words in done.err for words in step.done):
                return True
        self.say(f"{what}: run again it ends with exit code {done.code}\n{done.err[-3000:]}", root)
        return False

    def compared(self, root: Path, what: str, *, more: bool = False) -> None:
        """All tables are those of the quiet root. more: runs that it has not do not count."""
        found = asked(final_tables, root)
        names = set(self.tables) - {"runs"} if more else {*found, *self.tables}
        if differ := [name for name in sorted(names) if found.get(name) != self.tables.get(name)]:
            self.say(f"{what}: other than in quiet: {', '.join(differ)}", root)
        asked(aged, root)
        done = self.run(STEPS[-1], root)
        if left := asked(left_behind, root):
            self.say(f"{what}: a week later `store gc` leaves {left}\n{done.err}", root)

    @contextmanager
    def root(self) -> Iterator[Path]:
        """A new root, which is gone after."""
        folder = self.folder / "roots" / f"{self.random.getrandbits(40):x}"
        folder.mkdir(parents=True)
        yield folder / "root"
        shutil.rmtree(folder)


def signalled(chaos: Chaos, kind: signal.Signals, wanted: int, codes: tuple[int, ...]) -> dict[str, Any]:
    """Routes in which commands meet a signal, half before a change of a file, half at any time; until so many hit."""
    hit: Counter[str] = Counter()
    by = Counter[str]()
    left: Counter[str] = Counter()
    routes = 0
    while sum(hit.values()) < wanted:
        routes += 1
        with chaos.root() as root:
            for step in STEPS:
                for _ in range(chaos.random.randint(0, TRIES)):
                    way, done = met(chaos, step, root, kind)
                    what = f"{kind.name} in {step.name}"
                    chaos.spoken(done, what, (*codes, 0, 1))
                    if done.code in codes:
                        hit[step.name] += 1
                        by[way] += 1
                        left.update(dict.fromkeys(asked(left_behind, root), 1))
                    chaos.checked(root, what)
                if not chaos.finished(step, root, f"{kind.name}, then {step.name}"):
                    break
            else:
                chaos.compared(root, f"{kind.name}, route {routes}")
    return {"hit": sum(hit.values()), "routes": routes, "by": dict(by), "where": dict(hit), "left": dict(left)}


def met(chaos: Chaos, step: Step, root: Path, kind: signal.Signals) -> tuple[str, Done]:
    """A step that meets a signal, and which way."""
    if chaos.random.random() < 0.5:
        n = chaos.random.randint(1, max(chaos.changes[step.name], 1))
        return "before a change", chaos.run(step, root, faults.signal_before(root, n, kind))
    running = chaos.begun(step, root)
    time.sleep(chaos.random.uniform(0.02, 1.0) * chaos.seconds[step.name])
    with suppress(ProcessLookupError):  # it has ended
        os.kill(running.pid, kind)
    return "at a moment", running.end()


def kills(chaos: Chaos) -> dict[str, Any]:
    """Kill -9 of the command; its workers end by themselves."""
    return signalled(chaos, signal.SIGKILL, chaos.kills, (-signal.SIGKILL,))


def terms(chaos: Chaos) -> dict[str, Any]:
    """SIGTERM, as a batch system sends it."""
    return signalled(chaos, signal.SIGTERM, max(chaos.kills // 4, 1), (143, -signal.SIGTERM))


def full(chaos: Chaos) -> dict[str, Any]:
    """A disk with room for some pages more, for each command and each of `SIZES`, until there is enough."""
    disk = chaos.folder / "disk"
    disk.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", "size=64m,huge=never", "tmpfs", str(disk)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        return {"left out": "this user may not mount a file system"}
    tried, refused = 0, 0
    try:
        root = disk / "root"
        for step in STEPS:
            for pages in SIZES:
                used = os.statvfs(disk)
                size = (used.f_blocks - used.f_bfree) * used.f_frsize + pages * PAGE
                resized(disk, max(size, PAGE))
                done = chaos.run(step, root)
                resized(disk, 64 * 2**20)
                what = f"{pages} pages left on the disk, {step.name}"
                chaos.spoken(done, what)
                chaos.checked(root, what)
                tried, refused = tried + 1, refused + (done.code != 0)
                if done.code == 0:
                    break
            if not chaos.finished(step, root, f"after a full disk, {step.name}"):
                break
        else:
            chaos.compared(root, "full disks")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    return {"tried": tried, "refused": refused}


def resized(disk: Path, size: int) -> None:
    """A file system of another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def errors(chaos: Chaos) -> dict[str, Any]:
    """Changes of files that fail: no space, no permission, a broken disk, a library that raises, no memory."""
    tried: Counter[str] = Counter()
    with chaos.root() as root:
        for step in STEPS:
            numbers = range(1, chaos.changes[step.name] + 1)
            for n in sorted(chaos.random.sample(numbers, min(chaos.most, len(numbers)))):
                make = chaos.random.choice(faults.ERRORS)
                name = type(make()).__name__ + f" {make()}"
                fault = faults.error_at(root, n, make, ever_after=chaos.random.random() < 0.5)
                done = chaos.run(step, root, fault)
                what = f"{name} at change {n} of {step.name}"
                library = isinstance(make(), RuntimeError | MemoryError)
                if library and done.code not in {0, 1}:
                    done.err, done.code = done.err.replace("Traceback", ""), 1  # a bug is shown as one
                chaos.spoken(done, what)
                chaos.checked(root, what)
                tried[name] += 1
            if not chaos.finished(step, root, f"after errors, {step.name}"):
                return dict(tried)
        chaos.compared(root, "errors")
    return {"tried": sum(tried.values()), "which": dict(tried)}


def poor(chaos: Chaos) -> dict[str, Any]:
    """The route with few file handles, without HOME and TMPDIR, below an odd path, and with clocks that are wrong."""
    ways: dict[str, Callable[[], None] | None] = {
        "few handles": faults.few_handles,
        "no home": faults.no_home,
        "odd path": None,
        **{f"clock {kind}": faults.clock(chaos.random, kind) for kind in ("back", "ahead", "jumping")},
    }
    for way, fault in ways.items():
        with chaos.root() as root:
            place = root / ODD_PATH if way == "odd path" else root
            for step in STEPS:
                clock = faults.clock(chaos.random, chaos.random.choice(["back", "ahead"]))
                done = chaos.run(step, place, clock if way == "clock back" else fault)
                if done.code:
                    chaos.say(f"{way}, {step.name}: exit code {done.code}\n{done.err[-3000:]}", root)
                    break
                chaos.spoken(done, f"{way}, {step.name}")
                chaos.checked(place, f"{way}, {step.name}")
            else:
                chaos.compared(place, way)
    return {"routes": list(ways)}


def memory(chaos: Chaos) -> dict[str, Any]:
    """Commands with room for little more memory than Python takes."""
    codes: Counter[int] = Counter()
    with chaos.root() as root:
        for step in STEPS:
            done = chaos.begun(step, root, faults.little_memory).end(SPINNING)
            codes[done.code] += 1
            chaos.checked(root, f"little memory, {step.name}")
            if not chaos.finished(step, root, f"after little memory, {step.name}"):
                return {"codes": dict(codes)}
        chaos.compared(root, "little memory")
    return {"tried": len(STEPS), "codes": {str(code): n for code, n in codes.items()}}


def pairs(chaos: Chaos) -> dict[str, Any]:
    """Every pairing of two commands on one root, begun at once; after some the whole route, and all is as in quiet."""
    start = chaos.folder / "two data sets"
    shutil.copytree(chaos.folder / "midway", start)
    for step in OTHER:
        done = chaos.run(step, start)
        assert done.code == 0, f"{step.name}: {done.err}"
    every = list(combinations_with_replacement((*STEPS, *BESIDE), 2))
    chosen = chaos.random.sample(every, min(chaos.pairs, len(every)))
    whole = [pair for pair in chosen if "data split" not in {step.name for step in pair}]  # else two have one name
    followed = chaos.random.sample(whole, round(SHARE * len(chosen)))
    refused = 0
    for pair in chosen:
        with chaos.root() as root:
            shutil.copytree(start, root)
            ends = [one.end() for one in [chaos.begun(step, root) for step in pair]]
            what = " beside ".join(step.name for step in pair)
            for done in ends:
                chaos.spoken(done, what)
            chaos.checked(root, what)
            refused += sum(done.code != 0 for done in ends)
            if pair in followed and all(chaos.finished(step, root, what) for step in STEPS):
                chaos.compared(root, what, more=True)
    return {"pairs": len(chosen), "refused": refused, "followed": len(followed)}


PARTS: dict[str, Callable[[Chaos], dict[str, Any]]] = {
    "kills": kills,
    "terms": terms,
    "full": full,
    "errors": errors,
    "poor": poor,
    "memory": memory,
    "pairs": pairs,
}
