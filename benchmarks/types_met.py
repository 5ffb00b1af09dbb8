"""How many ideas stand between a command and what it commits: types, functions and files met on the way.

    python benchmarks/types_met.py [--out FILE]

Two commands run in this process on a dozen made-up films: `cxremb embed --model tiny`, and `cxremb ablate` of the image
arm alone, without controls. Counted are the classes of `cxremb` among the arguments and results of the functions of
`cxremb` that are called, also one level inside a list or a dictionary, from the command to its commit: the link that
publishes a manifest, the rename that publishes a run. A reader has to know each of them to follow the route.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image

import cxremb
from cxremb.cli.main import main as command_line

PACKAGE = str(Path(cxremb.__file__).parent)
INSIDE = 50  # elements of a list or dictionary that are looked at: they are of one kind
AS_ARGUMENTS = 0x04 | 0x08  # code flags: the function takes *args, **kwargs


class Route:
    """What is met while `met` is open."""

    def __init__(self) -> None:
        self.types: set[str] = set()
        self.functions: set[str] = set()
        self.files: set[str] = set()
        self.open = True

    def meet(self, value: Any, deep: bool = True) -> None:
        """The class of a value, if it is one of ours."""
        kind = type(value)
        if kind.__module__.partition(".")[0] == "cxremb":
            self.types.add(f"{kind.__module__}.{kind.__qualname__}")
        elif deep and isinstance(value, list | tuple | set | frozenset):
            for one in list(value)[:INSIDE]:
                self.meet(one, deep=False)
        elif deep and isinstance(value, dict):
            for key, one in list(value.items())[:INSIDE]:
                self.meet(key, deep=False)
                self.meet(one, deep=False)

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """As `sys.setprofile` calls it."""
        code = frame.f_code
        if not self.open or not code.co_filename.startswith(PACKAGE) or code.co_name == "<module>":
            return
        if event == "call":
            self.functions.add(f"{code.co_filename}:{code.co_qualname}")
            self.files.add(code.co_filename)
            count = code.co_argcount + code.co_kwonlyargcount + bin(code.co_flags & AS_ARGUMENTS).count("1")
            for name in code.co_varnames[:count]:
                self.meet(frame.f_locals.get(name))
        elif event == "return":
            self.meet(result)


@contextmanager
def met(commit: str, target: str) -> Iterator[Route]:
    """The route of what runs inside, up to the commit: `os.link` or `os.rename` to a path that has `target` in it."""
    route = Route()
    watching = True

    def watch(event: str, args: Sequence[Any]) -> None:
        if watching and event == commit and target in str(args[1]):
            route.open = False

    sys.addaudithook(watch)  # hooks stay until the process ends
    threading.setprofile(route)
    sys.setprofile(route)
    try:
        yield route
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        watching = False
    if route.open:
        raise SystemExit(f"nothing was committed to {target}")


def cxremb_command(*words: str) -> None:
    """Run a command in this process, quietly. Raises `SystemExit` if it fails."""
    sys.argv = ["cxremb", *words]
    said = StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            command_line()
    except SystemExit as stop:
        if stop.code:
            raise SystemExit(said.getvalue()) from stop


def films(folder: Path, n: int = 60) -> None:
    """Two classes of noise, one brighter, in a folder each: as many as a split needs."""
    rng = np.random.default_rng(0)
    for number in range(n):
        path = folder / ("normal", "abnormal")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 200, (64, 64)) + 50 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)


def told(route: Route) -> Mapping[str, Any]:
    """The counts, and the names of the types."""
    return {
        "types": len(route.types),
        "functions": len(route.functions),
        "files": len(route.files),
        "names": sorted(route.types),
    }


def main() -> None:
    """Run both, print and write what was met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write JSON here")
    options = parser.parse_args()
    os.environ["CXREMB_DEBUG"] = "1"
    with tempfile.TemporaryDirectory() as name:
        root = str(Path(name) / "stores")
        films(Path(name) / "films")
        cxremb_command("data", "add", "folder", str(Path(name) / "films"), "--name", "films", "--root", root)
        with met("os.link", "/embeddings/") as embed:
            cxremb_command("embed", "--model", "tiny", "--root", root)
        words = ("--image-only", "--alone", "--no-controls", "--label-set", "class", "--root", root)
        with met("os.rename", "/runs/2") as arm:
            cxremb_command("ablate", *words)
    found = {"embed": told(embed), "ablate": told(arm)}
    for command, counts in found.items():
        print(f"{command}: {counts['types']} types, {counts['functions']} functions, {counts['files']} files")
        print("  " + ", ".join(name.removeprefix("cxremb.") for name in counts["names"]))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
