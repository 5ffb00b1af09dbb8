"""The explorer at 7,500 films and at the size of MIMIC-CXR: the first page, filters, and the map in Chromium.

    python benchmarks/explorer.py [--quick] [--out FILE]

Store roots are made up (`explorer_root.py`): small pictures, three arms over five folds, a map. `cxremb explore` is a
process of its own. The first page counts from its start, imports and all, until the page has been read. A filter is the
page and the bits of the map that a browser asks for, one after the other: the first time, and the median of five later
ones, since the rows of a filter in SQL are held. The map is timed in headless Chromium, which draws without a graphics
card: from the address until all dots are drawn, and a frame while zooming. `load` says who else was at work.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import HTTPCookieProcessor, build_opener

from explorer_root import make_root
from side_by_side import write

FILMS, QUICK = (7_500, 373_500), (600,)
TARGETS = {"first_page_seconds": 2.0, "filter_milliseconds": 300.0}  # what the explorer is built for
TIMES = 5
FILTERS = {
    "a value": "truth=1",
    "two values and an arm's errors": "view=PA&view=AP&wrong=image",
    "where two arms differ, by how much": "differ=image:text&sort=gap:image:text",
    "two findings": "finding=findings:finding+1&finding=findings:finding+2",
    "SQL on columns": "where=" + quote("p_fusion > 0.8 and truth = 0"),
    "SQL with a second table": "where=" + quote("study_id in (select study_id from labels where value = 1)"),
    "a lasso of sixty corners": "lasso="
    + ",".join(f"{3 + (2 + n % 2) * (n - 30) / 30:g},{n % 7:g}" for n in range(60)),
}
FRAME = """
const done = arguments[0], canvas = document.querySelector('#map canvas'), box = canvas.getBoundingClientRect();
const gl = canvas.getContext('webgl'), pixel = new Uint8Array(4), times = [];
const once = () => {
  const start = performance.now();
  const at = {clientX: box.x + 99, clientY: box.y + 99};
  canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: -40, cancelable: true, ...at}));
  requestAnimationFrame(() => requestAnimationFrame(() => {
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    times.push(performance.now() - start);
    times.length < 9 ? once() : done(times.sort((a, b) => a - b)[4]);
  }));
};
once();
"""


@contextmanager
def explorer(root: Path) -> Iterator[tuple[str, float, subprocess.Popen[str]]]:
    """(its address, when it was started, its process)."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "cxremb", "explore", "--no-map", "--root", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("Open ").strip(), start, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def measure(root: Path, films: int) -> dict[str, Any]:
    """All figures of one root."""
    with explorer(root) as (address, start, process):
        reader = build_opener(HTTPCookieProcessor())
        page = reader.open(address).read()
        first, used = time.perf_counter() - start, processor_seconds(process.pid)
        if f"<strong>{films:,}</strong>".encode() not in page:
            raise SystemExit("the first page is not what it should be")
        base = address.partition("?")[0]

        def ask(query: str) -> None:
            for path in ("", "mask"):
                reader.open(f"{base}{path}?{query}").read()

        first_asked = {name: seconds(lambda query=query: ask(query)) for name, query in FILTERS.items()}
        asked = {name: median_of(lambda query=query: seconds(lambda: ask(query))) for name, query in FILTERS.items()}
        case = f"case?id=f{films // 2:06d}&wrong=image&sort=loss:image"
        cases = median_of(lambda: seconds(lambda: reader.open(base + case).read()))
        thumbs = re.findall(rb"/film/thumb/[0-9a-f]{64}", page)
        films_of_page = seconds(lambda: [reader.open(base + path.decode().lstrip("/")).read() for path in thumbs])
        found = {
            "films": films,
            "first_page_seconds": round(first, 2),
            "first_page_processor_seconds": used,  # what the wall clock says without the work of others
            "filter_first_milliseconds": {name: round(1e3 * took) for name, took in first_asked.items()},
            "filter_milliseconds": {name: round(1e3 * took) for name, took in asked.items()},
            "case_milliseconds": round(1e3 * cases),
            "thumbnails_of_a_page_milliseconds": round(1e3 * films_of_page),
            "map_bytes": len(reader.open(f"{base}points").read()),
            "mask_bytes": len(reader.open(f"{base}mask").read()),
            "memory_mb": memory_mb(process.pid),
        }
        return found | drawn(address, films)


def seconds(once: Callable[[], object]) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    once()
    return time.perf_counter() - begin


def median_of(once: Callable[[], float]) -> float:
    """The median of a few."""
    return statistics.median(once() for _ in range(TIMES))


def processor_seconds(pid: int) -> float | None:
    """What a process has used until now; None where nobody says."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return round((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), 2)


def memory_mb(pid: int) -> int | None:
    """What a process holds now; None where nobody says."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) // 1024


def drawn(address: str, films: int) -> dict[str, Any]:
    """How long the map takes in Chromium; nothing where it is not installed."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        return {}
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--window-size=1400,900", "--enable-unsafe-swiftshader"):
        options.add_argument(word)
    browser = webdriver.Chrome(options, Service(driver))
    try:
        browser.set_script_timeout(120)
        begin = time.perf_counter()
        browser.get(address)
        page = time.perf_counter() - begin
        while browser.execute_script("return document.querySelector('#map canvas').dataset.drawn") != str(films):
            time.sleep(0.02)
            if time.perf_counter() - begin > 120:
                raise SystemExit("the map was not drawn")
        whole = time.perf_counter() - begin
        return {
            "browser_page_seconds": round(page, 2),
            "browser_map_seconds": round(whole, 2),
            "browser_frame_milliseconds": round(browser.execute_async_script(FRAME)),
        }
    finally:
        browser.quit()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="600 films, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "explorer.json")
    args = parser.parse_args()
    sizes = []
    for films in QUICK if args.quick else FILMS:
        with tempfile.TemporaryDirectory() as folder:
            root = make_root(Path(folder) / "stores", films)
            sizes.append(measure(root, films))
        print(sizes[-1], flush=True)
    command = " ".join(["python", "benchmarks/explorer.py", *sys.argv[1:]])
    found = {"benchmark": "explorer", "command": command, "targets": TARGETS, "sizes": sizes}
    write(args.out, found, ("cxremb", "duckdb", "starlette", "uvicorn", "selenium"))


if __name__ == "__main__":
    main()
