"""`make docs`: every document is a page, every link leads somewhere, and nothing of it asks a network."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import cxremb

ROOT = Path(__file__).parent.parent
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
LOADED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "object": "data",
    "use": "href",
}


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` does, of the documents under `project`."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


class Page(HTMLParser):
    """What a page loads by itself, with where it says so."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.styled: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in LOADED and (address := found.get(LOADED[tag])):
            self.loaded.append(address)
        self.loaded += re.findall(r"\S+(?=\s|,|$)", found.get("srcset") or "")
        self.styled += re.findall(r"url\(([^)]*)\)", found.get("style") or "")


@pytest.mark.slow
def test_nothing_is_loaded_from_a_network(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        page = Page(path)
        assert any("main" in address for address in page.loaded)  # the theme's own style: the parser sees something
        for address in page.loaded + page.styled:
            assert not re.match(r"(https?:)?//", address.strip("\"'")), f"{path.name} loads {address}"
        assert 'class="mermaid"' not in path.read_text(encoding="utf-8")  # whose script is not with the theme
    for path in site.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", path.read_text(encoding="utf-8")):
            assert not re.match(r"(https?:)?//", address), f"{path.name} loads {address}"


def test_every_public_name_is_on_the_page_of_names() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^::: cxremb\.(\w+)$", page, re.MULTILINE)) == set(cxremb.__all__) - {"__version__"}


def test_pictures_are_small_and_say_that_films_are_simulated() -> None:
    pictures = [ROOT / "docs" / "demo.svg", *(ROOT / "docs" / "figures").glob("*.svg")]
    assert len(pictures) == 4
    for path in pictures:
        assert path.stat().st_size < 150_000
        assert "SIMULATED FILMS" in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_documents_of_outside_are_pages_and_their_links_are_those_of_the_site(site: Path) -> None:
    stores = (site / "stores.html").read_text(encoding="utf-8")
    assert "The on-disk contract" in stores
    assert 'href="sql.html"' in stores
    start = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="stores.html"' in start
    assert 'src="demo.svg"' in start
    assert (site / "iu_not_actionable.txt").is_file()
    assert "iu_not_actionable.txt" in (site / "datasets.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_docstrings_are_read_line_by_line(site: Path) -> None:
    names = (site / "api.html").read_text(encoding="utf-8")
    assert re.search(r"<br><code>path</code>: the folder or file", names)
    assert re.search(r"<br>Raises\s", names)
    assert "<br>Raises" not in (site / "python.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [("[no page](nowhere.md)", "nowhere.md"), ("[no place](sql.md#no-such-place)", "no-such-place"), ("", "nav")],
)
def test_a_broken_link_and_a_page_that_is_not_in_the_navigation_stop_it(tmp_path: Path, text: str, says: str) -> None:
    for name in ("docs", "stores/README.md", "cxremb/datasets/iu_not_actionable.txt", "mkdocs.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    assert build(tmp_path, tmp_path / "site").returncode == 0
    page = tmp_path / "docs" / ("sql.md" if text else "new.md")
    page.write_text(f"{page.read_text(encoding='utf-8') if text else '# New'}\n\n{text}\n", encoding="utf-8")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert says in done.stderr


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless Chromium that may ask no network."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver on this machine")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.slow
def test_search_works_from_disk_and_pages_fit_a_phone(browser: Any, site: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get((site / "index.html").as_uri())
    field = browser.find_element(By.CSS_SELECTOR, "input[data-md-component=search-query]")
    browser.find_element(By.CSS_SELECTOR, "input[data-md-component=search-query]").click()
    field.send_keys("MONOCHROME1")
    link = "a.md-search-result__link"
    WebDriverWait(browser, 20).until(lambda page: page.find_elements(By.CSS_SELECTOR, link))
    found = {one.get_attribute("href") for one in browser.find_elements(By.CSS_SELECTOR, link)}
    assert any("pixels.html" in address for address in found)
    asked = "return performance.getEntriesByType('resource').map((one) => one.name)"
    assert all(address.startswith("file:") for address in browser.execute_script(asked))
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    for page in sorted(site.glob("*.html")):
        browser.get(page.as_uri())
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 390, f"{page.name} is {wide} pixels wide on a phone"
