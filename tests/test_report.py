"""The page says what the runs say, escapes what it is given, needs nothing from outside and warns where it must."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.compute as pc
import pytest
from planted import Planted, plant
from predicted import predicted
from sklearn.metrics import auc, roc_auc_score, roc_curve

from cxremb.errors import DataError
from cxremb.features import load_features
from cxremb.report.curves import CURVE_POINTS, mean_history, roc_points
from cxremb.report.figures import Bar, Chart, estimate, forest, loss_curves, picture, roc_curves, round_ticks
from cxremb.report.page import SIMULATED, Page, page_from_runs, render, write_report
from cxremb.splits import choose_split, stored_split
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.presets import Options, find_preset

ARMS = ("image", "text", "fusion")
VOID = {"meta", "br", "link", "img"}
HOSTILE = "<script>alert('x')</script> & \"quotes\" ${title} $sections"


class Checker(HTMLParser):
    """Every element closed in order; every attribute and text seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(document: str) -> Checker:
    checker = Checker()
    checker.feed(document)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("report") / "it's a root"
    dataset = plant(root, Planted(studies=240, image=1.0, text=1.5))
    split = stored_split(dataset, "normal_abnormal")
    features = load_features(dataset, ("image", "text"))
    options = Options(epochs=3, batch_size=64)
    runs = {arm: fit_run(FitJob(dataset, features, split, Plan(arm, "default", options, (0, 1)))) for arm in ARMS}
    return root, runs


@pytest.fixture(scope="module")
def page(made) -> Page:
    root, runs = made
    return page_from_runs(root, "planted", [run.run_id for run in runs.values()], title="Three arms")


def test_the_page_holds_what_the_runs_hold(made, page: Page) -> None:
    _, runs = made
    assert [row.arm for row in page.arms] == list(ARMS)
    for row in page.arms:
        run = runs[row.arm]
        test = run.prediction_rows.filter(pc.equal(run.prediction_rows["part"], "test"))
        assert row.n == test.num_rows
        assert row.auroc.value == pytest.approx(roc_auc_score(test["y_true"], test["y_prob"]))
        assert auc(*zip(*page.curves[row.arm], strict=True)) == pytest.approx(row.auroc.value, abs=0.005)
        assert (row.difference is None) == (row.arm == "fusion")
    gap = page.arms[0].difference
    assert gap.value == pytest.approx(page.arms[0].auroc.value - page.arms[2].auroc.value)
    assert dict(page.baselines)["prevalence"] == pytest.approx(np.mean(test["y_true"].to_numpy()))
    assert dict(page.facts)["studies"] == "240 of 240 patients"
    assert all(example.rows for example in page.examples)
    assert sum(row[2] for row in page.examples[0].rows) == sum(row.n for row in page.arms)


def test_the_document_shows_it(page: Page, tmp_path: Path) -> None:
    path = write_report(page, tmp_path / "new folder" / "report.html")
    checker = read(path.read_text(encoding="utf-8"))
    shown = " ".join(checker.text).replace("\N{NO-BREAK SPACE}", " ")
    for row in page.arms:
        assert f"{row.auroc.value:.3f}" in shown
        assert f"({row.auroc.low:.3f} to {row.auroc.high:.3f})" in shown
    assert page.examples[0].statement in "".join(checker.text)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_it_needs_nothing_from_outside(page: Page) -> None:
    document = render(page)
    checker = read(document)
    assert not {tag for tag, _ in checker.seen} & {"script", "link", "img", "iframe", "object", "a"}
    assert not any(name in {"src", "href"} or name.startswith("on") for _, attrs in checker.seen for name in attrs)
    assert "@import" not in document
    assert "url(" not in document
    assert set(re.findall(r"https?://[^\"'\s<]+", document)) == {"http://www.w3.org/2000/svg"}


def test_everything_is_escaped(page: Page) -> None:
    hostile = replace(
        page,
        title=HOSTILE,
        facts=((HOSTILE, HOSTILE),),
        arms=tuple(replace(row, arm=HOSTILE, caveats=(HOSTILE, "label recovery" + HOSTILE)) for row in page.arms),
        curves={HOSTILE: [(0, 0), (1, 1)]},
        baselines=((HOSTILE, None),),
        history=tuple(replace(row, arm=HOSTILE, phase="val") for row in page.history),
        examples=tuple(
            replace(e, question=HOSTILE, statement=HOSTILE, names=(HOSTILE,), rows=((HOSTILE,),)) for e in page.examples
        ),
        caveats=(HOSTILE,),
        provenance=((HOSTILE, HOSTILE),),
    )
    document = render(hostile)
    checker = read(document)
    assert "script" not in {tag for tag, _ in checker.seen}
    assert HOSTILE in "".join(checker.text)
    plain = read(render(page))
    assert {tag for tag, _ in checker.seen} <= {tag for tag, _ in plain.seen}


def test_banners_stand_where_they_must(made, page: Page) -> None:
    root, runs = made

    def banners(shown: Page) -> list[str]:
        return re.findall(r'<p class="banner" role="note">(.*?)</p>', render(shown))

    both = banners(page)
    assert both[0] == SIMULATED
    assert both[1].startswith("Arms text, fusion: label recovery, not diagnosis")
    text = banners(page_from_runs(root, "planted", [runs["text"].run_id], title="text alone"))
    assert len(text) == 1
    assert text[0].startswith("Arms text: label recovery")
    image = banners(page_from_runs(root, "planted", [runs["image"].run_id], title="image alone"))
    assert image == [SIMULATED]
    real = replace(page, simulated=False, arms=tuple(replace(row, caveats=()) for row in page.arms))
    assert banners(real) == []


def test_a_leaky_run_says_so_wherever_its_figures_stand(made) -> None:
    root, _ = made
    dataset = plant(root, Planted(studies=240, image=1.0, text=1.5))
    features = load_features(dataset, ("image", "text"))
    options = replace(find_preset("cnn-llm/as-coded").options, epochs=2, batch_size=64)
    split = choose_split(dataset, "normal_abnormal", "image-80-20", allow_leaky=True)
    plan = Plan("image", "cnn-llm/as-coded", options, (0,))
    leaky = page_from_runs(root, "planted", [fit_run(FitJob(dataset, features, split, plan)).run_id], title="leaky")
    document = render(leaky)
    assert list(leaky.curves) == [leaky.arms[0].title] == ["image LEAKY"]
    assert "Arms image: leaky split: patients are shared between train and test." in document
    assert document.count("image LEAKY") >= 3  # the table, the forest and the key of the curves
    assert "80:20 by image at random" in document
    assert {row.phase for row in leaky.history} == {"train", "test"}
    shown = " ".join(read(document).text)
    assert "validation" not in re.findall(r"Mean over folds by epoch: (.*?)\.\s", shown)[0]
    assert "LEAKY" not in render(page_from_runs(root, "planted", [made[1]["image"].run_id], title="sound"))


def test_wrong_runs_are_told(made) -> None:
    root, runs = made
    with pytest.raises(DataError, match="no run nope"):
        page_from_runs(root, "planted", ["nope"], title="x")
    with pytest.raises(DataError, match="needs a run"):
        page_from_runs(root, "planted", [], title="x")
    with pytest.raises(DataError, match="same arm"):
        page_from_runs(root, "planted", [runs["text"].run_id] * 2, title="x")


def test_an_empty_page_is_a_page() -> None:
    read(render(Page("nothing", False, (), (), {}, (), (), (), (), ())))


@pytest.mark.parametrize("seed", range(4))
def test_roc_points_are_those_of_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = (rng.random(200) < 0.3).astype(float)
    prob = np.round(rng.random(200), 1 + seed)  # ties, many and few
    expected = roc_curve(y, prob, drop_intermediate=False)
    np.testing.assert_allclose(roc_points(predicted(y, prob)), np.stack(expected[:2], axis=1))


def test_roc_points_at_the_edges() -> None:
    assert roc_points(predicted([1, 1], [0.2, 0.3])) == []
    assert roc_points(predicted([], [])) == []
    assert roc_points(predicted([0, 1], [0.5, 0.5])) == [(0, 0), (1, 1)]
    rng = np.random.default_rng(0)
    y, prob = rng.integers(0, 2, 5000), rng.random(5000)
    thinned = roc_points(predicted(y, prob))
    assert (len(thinned), thinned[0], thinned[-1]) == (CURVE_POINTS, (0, 0), (1, 1))
    assert auc(*zip(*thinned, strict=True)) == pytest.approx(roc_auc_score(y, prob), abs=0.002)


def test_history_is_the_mean_over_the_folds(made, page: Page) -> None:
    _, runs = made
    rows = [row for row in runs["text"].history.to_pylist() if (row["epoch"], row["phase"]) == (2, "val")]
    found = [row for row in mean_history("text", runs["text"].history) if (row.epoch, row.phase) == (2, "val")]
    assert len(found) == 1
    assert found[0].folds == len(rows) == 2
    assert found[0].loss == pytest.approx(np.mean([row["loss"] for row in rows]))
    assert set(found) <= set(page.history)


def drawing(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


@pytest.mark.parametrize(
    "svg",
    [
        roc_curves({"a & b": [(0, 0), (0.2, 0.9), (1, 1)]}),
        forest([Bar("<x>", 0.8, 0.7, 0.9), Bar("y", None, None, None)], "AUROC", 0.5),
        forest([], "AUROC", 0.5),
        loss_curves("a", {"train": [(1, 0.5), (2, 0.4)], "validation": [(1, 0.6)]}, 0.75),
        loss_curves("a", {"train": [], "test": []}, 0.0),
        loss_curves("a", {}, 0.0),
        picture(
            "a < b",
            "c & d",
            [Bar("<x>", 0.8, 0.7, 0.9), Bar("y", None, None, None)],
            controls=[Bar("z", 0.5, 0.31, 0.6)],
        ),
        picture("a", "b", [], controls=[]),
    ],
)
def test_drawings_are_whole_and_can_be_heard(svg: str) -> None:
    root = drawing(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.find(f"{space}title").text
    assert root.find(f"{space}desc").text
    assert "nan" not in svg
    assert "inf" not in svg


def test_points_land_where_they_should() -> None:
    frame = Chart(200, 100, (0, 1), (0, 2), left=20, right=30, top=10, bottom=15)
    assert frame.at((0, 0)) == (20, 85)
    assert frame.at((1, 2)) == (170, 10)
    assert frame.at((0.5, 1)) == (95, 47.5)


def test_the_forest_draws_its_intervals_to_scale() -> None:
    svg = forest([Bar("a", 0.7, 0.6, 0.8)], "AUROC", 0.5)
    lines = [element.get("d") for element in drawing(svg).iter() if element.get("class") == "line line0"]
    low, high = (float(x) for x in re.findall(r"[ML]([\d.]+) ", lines[0]))
    square = next(element for element in drawing(svg).iter() if (element.get("class") or "").startswith("dot"))
    assert float(square.get("x")) + 5 == pytest.approx((low + high) / 2, abs=0.2)
    assert low < high


def test_the_picture_stands_alone_and_its_controls_are_grey() -> None:
    svg = picture(
        "title", "below", [Bar(f"arm{n}", 0.7, 0.6, 0.8) for n in range(7)], controls=[Bar("c", 0.5, 0.31, 0.6)]
    )
    root = drawing(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert "prefers-color-scheme: dark" in root.find(f"{space}style").text
    assert root.find(f"{space}rect").get("class") == "paper"
    colours = [element.get("class") for element in root.iter() if (element.get("class") or "").startswith("dot")]
    assert colours == [f"dot line{index}" for index in (0, 1, 2, 3, 4, 0, 1, 5)]
    assert not re.search(r"url\(|href|@import|<script", svg)
    ticks = [element.text for element in root.iter(f"{space}text")]
    assert "0.4" in ticks
    assert "0.2" not in ticks


@pytest.mark.parametrize("span", [(0, 1), (0.5, 0.93), (0, 40), (-0.3, 0.12), (0, 0.004)])
def test_ticks_are_few_and_inside(span) -> None:
    ticks = round_ticks(*span)
    assert 2 <= len(ticks) <= 7
    assert all(span[0] - 1e-9 <= tick <= span[1] + 1e-9 for tick in ticks)
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0])
    assert float(f"{steps[0] / 10 ** math.floor(math.log10(steps[0] * 1.0000001)):.3f}") in {1, 2, 5}


def test_estimates_in_words() -> None:
    assert estimate(Bar("", 0.8124, 0.79, 0.8333)) == "0.812 (0.790 to 0.833)"
    assert estimate(Bar("", -0.1, -0.2, 0.0)) == "\N{MINUS SIGN}0.100 (\N{MINUS SIGN}0.200 to 0.000)"
    assert estimate(Bar("", 0.5, None, None)) == "0.500"
    assert estimate(Bar("", None, None, None)) == "undefined"


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, #rrggbb (WCAG 2.2)."""
    lights = []
    for colour in (first, second):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_and_lines_stand_out(page: Page, scheme: int) -> None:
    style = re.findall(r":root \{(.*?)\}", render(page), flags=re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", style))
    for name in ("ink", "soft", *(f"line{i}" for i in range(6))):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    assert contrast(colours["warn"], colours["warn-paper"]) >= 4.5
