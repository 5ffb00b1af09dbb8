"""benchmarks/README.md: the comparisons of benchmarks/results/ as tables, with the command behind each.

    python benchmarks/readme.py [--results benchmarks/results] [--out benchmarks/README.md]

Nothing in it is typed by hand: a test makes it again and compares. Ways that beat cxremb stand at the top.
"""

import argparse
import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OURS = "cxremb"
LIMIT = "limit"  # ways that are no rival but a part of the work, measured alone
HEAD = """# Benchmarks

Written by `python benchmarks/readme.py` from `benchmarks/results/`; do not edit it. `make bench` runs a short set.

Every comparison runs all ways in turns, in one process and on one machine, and checks that they computed the same. A
ratio is the median over rounds: how many times as fast as the first way of its table, by the wall and by processor time
(all threads). Where other work ran on the machine, which each table says, processor time is what to believe. All
repeats, versions and the commit are in the file. `limit` is a part of the work measured alone: nothing can be faster.
Rivals are those of the extra `bench`, each used as its documentation shows it.
"""
Row = Mapping[str, Any]


def groups(found: Mapping[str, Any]) -> dict[str, dict[str, Row]]:
    """What was compared -> way -> its row, of a file of results; nothing where it compares no ways."""
    ways = found.get("ways", {})
    if ways and all("times" in row for row in ways.values()):
        return {"": ways}
    return {what: rows for what, rows in ways.items() if all("times" in row for row in rows.values())}


def program_of(path: Path) -> Path:
    """The program that writes a file of results: that of its name, less what the name says of a machine or a time."""
    name = path.stem.partition("-")[0]
    while name and not (HERE / f"{name}.py").is_file():
        name = name.rpartition("_")[0]
    if not name:
        raise SystemExit(f"{path}: no program in {HERE} writes it; remove it, or call it after one")
    return HERE / f"{name}.py"


def about(path: Path) -> str:
    """The first sentence of the program."""
    said = ast.get_docstring(ast.parse(program_of(path).read_text(encoding="utf-8"))) or ""
    return said.split("\n\n")[0].replace("\n", " ").rstrip(".")


def command(path: Path, found: Mapping[str, Any]) -> str:
    """What to type."""
    return str(found.get("command") or f"python benchmarks/{program_of(path).name}")


def machine(found: Mapping[str, Any]) -> str:
    """Where, when and how busy."""
    said = found.get("machine")
    where = f"{said['processor']}, {said['cores']} cores" if isinstance(said, dict) and "processor" in said else said
    load = found.get("load")
    busy = f", load {load[0]:g}" + (" (busy)" if found.get("busy", load[0] > 2) else "") if load else ""
    return f"{where or 'machine not said'}{busy}; commit {found.get('commit', 'not said')}"


def better(rows: Mapping[str, Row]) -> list[str]:
    """The rivals that are faster than the fastest of our ways, by both clocks or the one that there is."""
    ours = [row for way, row in rows.items() if way.startswith(OURS)]
    if not ours:
        return []
    best = {kind: max(row.get(kind, 0) for row in ours) for kind in ("times", "times_cpu")}
    rivals = {way: row for way, row in rows.items() if not way.startswith((OURS, LIMIT))}
    return [way for way, row in rivals.items() if all(row[kind] > best[kind] for kind in best if kind in row)]


def seconds_of(value: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 1000 else f"{value:.3g}"


def table(rows: Mapping[str, Row]) -> Iterator[str]:
    """A comparison."""
    lost = better(rows)
    yield "| way | seconds | processor seconds | times as fast | by processor time |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for way, row in rows.items():
        seconds = [seconds_of(row[name]) if name in row else "" for name in ("seconds", "cpu_seconds")]
        times = [f"{row[name]:.2f}" if name in row else "" for name in ("times", "times_cpu")]
        mark = " **faster than cxremb**" if way in lost else ""
        yield f"| {way}{mark} | {' | '.join(seconds + times)} |"


def page(results: Path) -> str:
    """The whole file."""
    found = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    lines, lost, others = [], [], []
    for path, file in found.items():
        compared = groups(file)
        if not compared:
            others.append(f"| [{path.name}](results/{path.name}) | {about(path)} | `{command(path, file)}` |")
            continue
        lines += ["", f"## {path.stem}", "", f"{about(path)}.", "", f"`{command(path, file)}`", "", machine(file)]
        for what, rows in compared.items():
            lines += ["", *([f"**{what}**", ""] if what else []), *table(rows)]
            title = f"{path.stem}, {what}" if what else path.stem
            lost += [f"- {title}: {', '.join(names)}" for names in [better(rows)] if names]
    losing = ["", "## Where others are faster", "", *(lost or ["Nowhere in these files."])]
    rest = ["", "## Other results", "", "| file | what | command |", "| --- | --- | --- |", *others] if others else []
    return HEAD + "\n".join([*losing, *lines, *rest]) + "\n"


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--out", type=Path, default=HERE / "README.md")
    options = parser.parse_args()
    options.out.write_text(page(options.results), encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
