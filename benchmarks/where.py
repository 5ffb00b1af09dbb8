"""Where a command spends its processor time: the stack is looked at every few milliseconds of work.

    python benchmarks/where.py [--top 15] [--out FILE] COMMAND [OPTIONS]

    python benchmarks/where.py ablate --root stores

Each look counts for the innermost function of this package on the main thread's stack, with the library that it is in
just then, or for `imports`. Threads and worker processes are not seen: their share is what is missing to the seconds of
all. docs/performance.md says what came of it.
"""

import argparse
import json
import resource
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

PACKAGE = str(Path(__file__).parent.parent / "cxremb") + "/"
EVERY = 0.005  # seconds of processor time between two looks


def place(frame: FrameType | None) -> str:
    """What the stack is doing."""
    inner = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if "importlib" in name and frame.f_code.co_name in {"_find_and_load", "_load_unlocked"}:
            return "imports"
        if name.startswith(PACKAGE):
            own = f"{name.removeprefix(PACKAGE).removesuffix('.py')}.{frame.f_code.co_name}"
            return f"{own} ({inner})" if inner else own
        if not inner and "site-packages" in name:
            inner = name.partition("site-packages/")[2].partition("/")[0]
        frame = frame.f_back
    return "before and after"


def main() -> None:
    """Run the command, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--top", type=int, default=15)
    parser.add_argument("--out", type=Path, help="the counts as JSON")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    seen: Counter[str] = Counter()
    signal.signal(signal.SIGPROF, lambda _, frame: seen.update([place(frame)]))
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    sys.argv = ["cxremb", *options.command]
    try:
        from cxremb.cli.main import main as command

        command()
    except SystemExit as stop:
        if stop.code:
            raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    children = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    print(f"{used:.1f} s of processor here, {children:.1f} s in children", file=sys.stderr)
    for name, count in seen.most_common(options.top):
        print(f"{count / max(1, seen.total()):6.1%}  {name}", file=sys.stderr)
    if options.out:
        shares = {name: round(count / seen.total(), 4) for name, count in seen.most_common(40)}
        found = {"command": " ".join(["cxremb", *options.command]), "cpu_seconds": [used, children], "shares": shares}
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
