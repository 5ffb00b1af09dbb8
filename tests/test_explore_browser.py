"""The explorer in a real browser: from the first page by filter, case, key and note to SQL; map; what is refused."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from explored import EFFUSION, STUDIES_MADE, VIEWS, film_id, make_explored
from served import ask

from cxremb.store.dataset import open_dataset
from cxremb.store.maps import MAPS, write_map
from cxremb.store.reader import open_store
from cxremb.store.sql import query
from cxremb.web.server import Bound

pytestmark = pytest.mark.slow
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SIDE = 8  # dots in a row of the map


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser") / "stores"
    make_explored(root)
    draw_map(root)
    return root


def draw_map(root: Path) -> None:
    """A map whose dots stand in rows and columns, in the order of ids."""
    dataset = open_dataset(root, "explored")
    films = [(f"s{n:02d}", film_id(n, view)) for n in range(STUDIES_MADE) for view in VIEWS]
    n = np.arange(len(films))
    columns = {
        "item_id": [item for _, item in films],
        "study_id": [study for study, _ in films],
        "section": ["image"] * len(films),
        "method": ["pca"] * len(films),
        "x": (n % SIDE).astype(np.float32),
        "y": -(n // SIDE).astype(np.float32),
    }
    write_map(dataset, open_store(dataset, "efficientnet_b1"), pa.table(columns, schema=MAPS))


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    """What `cxremb explore` prints; it ends by Ctrl-C, with nothing on stderr."""
    command = [sys.executable, "-m", "cxremb", "explore", "--root", str(root), "--author", "Ada", "--no-map"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    yield started.stdout.readline().removeprefix("Open ").strip()
    started.send_signal(2)
    _, err = started.communicate(timeout=30)
    assert (started.returncode, err) == (0, "")


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver on this machine")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--window-size=1400,900", "--enable-unsafe-swiftshader"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, Service(DRIVER))
    browser.set_page_load_timeout(60)
    yield browser
    browser.quit()


@pytest.fixture
def browser(driver: Any) -> Iterator[Any]:
    """The browser, which had nothing to complain of: no script that failed, nothing that the policy forbade."""
    driver.get_log("browser")
    yield driver
    loud = [line["message"] for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    assert not [line for line in loud if "401" not in line and "400 (Bad" not in line], loud


FITS = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"


def wait(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What `what` gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while True:
        try:
            if found := what():
                return found
        except Exception:  # the page is being swapped: what was found is no longer in it
            if time.monotonic() > end:
                raise
        if time.monotonic() > end:
            raise AssertionError("it did not come")
        time.sleep(0.05)


def find(browser: Any, selector: str) -> Any:
    from selenium.webdriver.common.by import By

    return browser.find_element(By.CSS_SELECTOR, selector)


def texts(browser: Any, selector: str) -> list[str]:
    from selenium.webdriver.common.by import By

    return [one.text for one in browser.find_elements(By.CSS_SELECTOR, selector)]


def press(browser: Any, key: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(key).perform()


def test_from_the_first_page_to_a_note_in_sql(browser: Any, address: str, root: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(address)
    assert "token" not in browser.current_url
    assert find(browser, ".bar h1").text == f"{2 * STUDIES_MADE} films"
    assert wait(lambda: browser.execute_script("return document.querySelector('.card img').naturalWidth")) > 0

    find(browser, "[data-key='Judged-image wrong']").click()
    wait(lambda: "image wrong" in find(browser, ".chips").text)
    assert "wrong=image" in browser.current_url
    press(browser, "/")
    browser.switch_to.active_element.send_keys("view = 'Frontal'", Keys.ENTER)
    wait(lambda: texts(browser, ".chips li")[1:2] == ["view = 'Frontal' ×"])
    rows = texts(browser, ".card .id")
    assert rows == [film_id(n, "Frontal") for n in range(0, STUDIES_MADE - 1, 4)]
    browser.back()
    wait(lambda: len(texts(browser, ".card .id")) == 2 * len(rows))
    browser.forward()
    wait(lambda: texts(browser, ".card .id") == rows)

    press(browser, Keys.ESCAPE)  # out of the field
    find(browser, ".card a").click()
    wait(lambda: find(browser, ".facts h1").text == rows[0])
    press(browser, Keys.ARROW_RIGHT)
    wait(lambda: find(browser, ".facts h1").text == rows[1])
    assert f"2 of {len(rows)}" in find(browser, ".around").text
    wait(lambda: texts(browser, ".near .id"))
    press(browser, "n")
    browser.switch_to.active_element.send_keys("Looks clear to me.")
    find(browser, ".write select option[value='0']").click()
    find(browser, ".write button").click()
    wait(lambda: "Looks clear to me." in find(browser, "#notes").text)
    browser.refresh()
    note = wait(lambda: find(browser, ".note").text)
    assert "Ada" in note
    assert "not abnormal" in note
    assert find(browser, ".facts h1").text == rows[1]  # the address stayed
    (row,) = query(root, "select author, image_id, text, label, value from notes").to_pylist()
    assert tuple(row.values()) == ("Ada", rows[1], "Looks clear to me.", "abnormal", 0.0)
    press(browser, Keys.ARROW_LEFT)
    wait(lambda: find(browser, ".facts h1").text == rows[0])
    press(browser, Keys.ESCAPE)
    wait(lambda: texts(browser, ".card .id") == rows)
    press(browser, "?")
    wait(lambda: find(browser, "#help").is_displayed())
    find(browser, "#help button").click()


def test_a_filter_that_reads_a_file_is_answered_in_the_page(browser: Any, address: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(address)
    field = find(browser, "#sql")
    field.send_keys("(select content from read_text('/etc/passwd')) like '%root%'", Keys.ENTER)
    said = wait(lambda: find(browser, "#problem").text)
    assert "/etc/passwd" in said
    assert "Permission Error" in said
    field = find(browser, "#sql")
    field.clear()
    field.send_keys("reports['findings'] ilike '%effusion%'", Keys.ENTER)
    wait(lambda: texts(browser, ".card .id") == [film_id(EFFUSION, view) for view in VIEWS])


def test_the_map_shows_selects_and_points(browser: Any, address: str) -> None:
    from selenium.webdriver import ActionChains

    browser.get(address)
    canvas = find(browser, "#map canvas")
    wait(lambda: canvas.get_attribute("data-drawn") == str(2 * STUDIES_MADE))
    wide, high = canvas.size["width"], canvas.size["height"]
    span = (SIDE - 1) * 1.12

    def at(column: float, row: float) -> tuple[int, int]:
        """Offsets from the middle of the canvas, in pixels, of a dot."""
        side, rows = min(wide, high), 2 * STUDIES_MADE // SIDE
        return round((column - (SIDE - 1) / 2) / span * side), round((row - (rows - 1) / 2) / span * side)

    ActionChains(browser).move_to_element_with_offset(canvas, *at(2, 0)).perform()
    wait(lambda: find(browser, ".card.lit .id").text == film_id(1, "Frontal"))  # the third dot, and its row
    wait(lambda: film_id(1, "Frontal") in find(browser, ".tip").text)
    ActionChains(browser).move_to_element(find(browser, ".card")).perform()
    ring = wait(lambda: find(browser, ".ring").is_displayed() and find(browser, ".ring"))
    middle = ring.location["x"] + ring.size["width"] / 2 - canvas.location["x"] - wide / 2
    assert abs(middle - at(0, 0)[0]) <= 2

    find(browser, "[data-tool=lasso]").click()
    corners = [at(-0.3, -0.5), at(1.5, -0.5), at(1.5, 1.5), at(-0.3, 1.5)]
    drag = ActionChains(browser).move_to_element_with_offset(canvas, *corners[0]).click_and_hold()
    for (x, y), (from_x, from_y) in zip(corners[1:], corners[:-1], strict=True):
        drag = drag.move_by_offset(x - from_x, y - from_y)
    drag.release().perform()
    picked = [film_id(n // 2, VIEWS[n % 2]) for n in (0, 1, SIDE, SIDE + 1)]
    wait(lambda: texts(browser, ".card .id") == picked)
    link = browser.current_url
    browser.get(link)  # a colleague's link shows the same
    assert texts(browser, ".card .id") == picked


def test_scripts_of_a_page_are_ours_alone(driver: Any, address: str) -> None:
    driver.get(address)
    tried = driver.execute_async_script(
        "const done = arguments[0]; const one = document.createElement('script');"
        "one.textContent = 'window.injected = 1'; document.body.append(one);"
        "setTimeout('window.evaluated = 1', 0);"  # which the policy hears as eval
        "const said = (sent) => setTimeout(() => done([window.injected, window.evaluated, sent]), 200);"
        "fetch('https://example.org/').then(() => said('sent'), () => said('refused'))"
    )
    assert tried == [None, None, "refused"]
    loud = [line["message"] for line in driver.get_log("browser") if "Content Security Policy" in line["message"]]
    assert len(loud) >= 3  # it was the policy that refused


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_the_screen_in_light_and_dark(browser: Any, address: str, width: int, dark: bool) -> None:
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)
    base = re.match(r"http://[^/]+", browser.current_url)
    assert base is not None
    for path in ("/", "/?show=table", "/runs", f"/case?id={film_id(3, 'Frontal')}"):
        browser.get(base[0] + path)
        assert wait(lambda: browser.execute_script(FITS)), path  # once all is laid out
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (not dark)
        assert "simulated films" in find(browser, ".marks").text  # no screenshot can hide it
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_wrong_token_and_a_wrong_host_get_nothing(browser: Any, address: str) -> None:
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(.+)", address)
    assert found is not None
    browser.delete_all_cookies()
    browser.get(address[:-3] + "xyz")
    assert "open the address that the terminal shows" in find(browser, "body").text
    browser.get(address.partition("?")[0])
    assert "open the address that the terminal shows" in find(browser, "body").text
    bound = Bound("127.0.0.1", int(found[1]))
    answer = ask(bound, f"/?token={found[2]}", headers={"Host": "evil.example"})
    assert (answer.status, "set-cookie" in answer.headers) == (421, False)


def test_the_benchmark_runs_and_writes_what_it_claims(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "benchmarks" / "explorer.py"
    command = [sys.executable, str(script), "--quick", "--out", str(tmp_path / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (size,) = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["sizes"]
    assert size["films"] == 600
    assert (size["map_bytes"], size["mask_bytes"]) == (4 + 9 * 600, 75)
    assert 0 < size["first_page_seconds"] < 60
    assert set(size["filter_milliseconds"]) == set(size["filter_first_milliseconds"])


def test_a_film_that_is_gone_says_why_and_an_empty_note_stays(browser: Any, root: Path, address: str) -> None:
    film = root / "films" / "20_Lateral.png"
    away = film.rename(film.with_suffix(".away"))
    try:
        browser.get(address)
        browser.get(address.split("?", maxsplit=1)[0] + f"case?id={film_id(20, 'Lateral')}")
        said = wait(lambda: find(browser, ".stage .nofilm").text)
        assert wait(lambda: "cannot be read" in find(browser, ".stage .nofilm").text), said
        assert str(film) not in find(browser, "main").text
        assert not find(browser, ".tools").is_displayed()
    finally:
        away.rename(film)
    before = browser.current_url
    find(browser, "#note").send_keys("   ")
    find(browser, ".write button").click()
    assert browser.current_url == before
    assert browser.execute_script("return document.querySelector('#note').validationMessage").startswith("Write some")
    assert [line for line in browser.get_log("browser") if "404" in line["message"]]  # and read, so that nobody minds
