"""The tables of docs/reliability.md, from the results of `make chaos` and `make fuzz`: `python -m chaos_steps.page`."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reliability.md"


def chaos_lines(parts: Mapping[str, Any]) -> list[str]:
    """A row for each part: what was tried, and what was wrong after it."""
    said = {
        "kills": "{hit} times `kill -9`, {before} of them before a change of a file, on {routes} routes",
        "terms": "{hit} times SIGTERM, {before} of them before a change of a file, on {routes} routes",
        "full": "{tried} commands on disks with room for 0 to 120 pages of 4 kB, of which {refused} were refused",
        "errors": "{tried} changes of files that failed: no space, no permission, a broken disk, a library that raises",
        "memory": "{tried} commands with 200 MB of address space more than at their start",
        "poor": "routes with {ways}",
        "pairs": "{pairs} pairs of commands begun at once on one root, and the whole route after {followed} of them; "
        "{refused} commands ended with a message",
    }
    lines = ["| tried | wrong after it | seconds |", "| --- | --- | --- |"]
    for name, words in said.items():
        found = parts[name]
        ways = found["routes"] if isinstance(found.get("routes"), list) else []
        more = {"before": found.get("by", {}).get("before a change", 0), "ways": ", ".join(ways)}
        lines.append(f"| {words.format(**{**found, **more})} | {len(found['wrong'])} | {found['seconds']:,} |")
    return lines


def fuzz_lines(targets: Mapping[str, Any]) -> list[str]:
    """A row for each target, over its runs."""
    lines = [
        "| target | inputs tried | runs | minutes | ended its process | found |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in targets.items():
        runs, minutes = len(one["runs"]), f"{one['minutes']:.1f}"
        lines.append(f"| {name} | {one['executions']:,} | {runs} | {minutes} | {one['ends']} | {len(one['found'])} |")
    executions, runs, minutes, ends, found = (
        sum(one["executions"] for one in targets.values()),
        sum(len(one["runs"]) for one in targets.values()),
        sum(one["minutes"] for one in targets.values()),
        sum(one["ends"] for one in targets.values()),
        sum(len(one["found"]) for one in targets.values()),
    )
    return [*lines, f"| all | {executions:,} | {runs} | {minutes:.1f} | {ends} | {found} |"]


def main() -> None:
    """Put both into the page."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in (("chaos", chaos_lines), ("fuzz", fuzz_lines)):
        found = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
        table = "\n".join(lines(found))
        text = re.sub(
            rf"(<!-- {name}: begin;[^\n]*-->\n).*?(<!-- {name}: end -->)", rf"\1{table}\n\2", text, flags=re.DOTALL
        )
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
