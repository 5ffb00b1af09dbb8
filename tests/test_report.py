"""The page says what the runs say, escapes what it is given, needs nothing from outside and warns where it must."""

import re
import shutil
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import escape
from planted import Planted, plant
from sklearn.metrics import confusion_matrix
from test_controls import twice

import cxremb
from cxremb.ablation import Ablation
from cxremb.ablation.headline import table_of
from cxremb.api.report import chosen_runs
from cxremb.api.runs import checklist
from cxremb.errors import DataError, StoreError, count_of
from cxremb.reporting.canvas import FILES, Drawing, drawn, page_svg
from cxremb.reporting.cases import cases_section
from cxremb.reporting.chosen import ReportRuns, agreeing, controls_for, newest_ablation, runs_named
from cxremb.reporting.page import SIMULATED, TABLE, Page, page_of, render, write_figures, write_picture
from cxremb.reporting.parts import Section
from cxremb.reporting.rankings import confusion_drawing
from cxremb.reporting.subject import LEAKY, MOST_SHOWN, ReportSubject, ablation_of, marks_of, subject_of
from cxremb.reporting.subject import SIMULATED as SIMULATED_MARK
from cxremb.store.dataset import open_dataset
from cxremb.table import Table, bare, span
from cxremb.training.runs import Run, open_run

GOLDEN = Path(__file__).parent / "golden" / "format1"
VOID = {"meta", "br", "link", "img"}
HOSTILE = "<script>alert('x')</script> & \"quotes\" ${title} $x^2$ `code`"
MINUS = "\N{MINUS SIGN}"
SPACE = "{http://www.w3.org/2000/svg}"
ARMS = "image,text,fusion,fusion[train-fraction=0.3]"


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
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report") / "it's a root"
    plant(root, Planted(studies=240, image=1.0, text=1.5))
    return root


@pytest.fixture(scope="module")
def result(root: Path) -> Ablation:
    return cxremb.ablate(ARMS, root=root)


@pytest.fixture(scope="module")
def chosen(root: Path, result: Ablation) -> ReportRuns:
    return newest_ablation([open_dataset(root)])


@pytest.fixture(scope="module")
def subject(chosen: ReportRuns) -> ReportSubject:
    return subject_of(chosen)


@pytest.fixture(scope="module")
def page(chosen: ReportRuns) -> Page:
    return page_of(chosen)


@pytest.fixture(scope="module")
def document(page: Page) -> str:
    return render(page)


def drawing(page: Page, name: str) -> Drawing:
    return next(one for one in page.drawings if one.name == name)


def section(page: Page, title: str) -> Section:
    return next(one for one in page.sections if one.title == title)


def test_the_newest_ablation_is_told_again_from_its_runs(chosen: ReportRuns, result: Ablation) -> None:
    again = ablation_of(chosen)
    for one, other in zip(again.rows, result.rows, strict=True):
        assert replace(one, reused=False) == replace(other, reused=False)
    for one, other in zip(again.controls, result.controls, strict=True):
        assert replace(one, row=None) == replace(other, row=None)  # one that was not made says why
        if one.row and other.row:
            assert replace(one.row, reused=False) == replace(other.row, reused=False)
    names = ("reference", "n", "patients", "prevalence", "split", "leaky", "folds", "unit", "label", "verdicts", "task")
    assert {name: getattr(again, name) for name in names} == {name: getattr(result, name) for name in names}
    assert again.baselines == result.baselines


def test_the_page_has_every_figure_of_the_table(result: Ablation, subject: ReportSubject, document: str) -> None:
    shown = " ".join(" ".join(read(document).text).split())
    for row in table_of(subject.result, whole=True).rows:
        for cell in row:
            assert cell in shown, row
    for line in subject.result.caption:
        assert line in shown, line
    assert [line for line in result.caption if line not in result.fusing_in_words] == list(subject.result.caption)


WIDE = Planted(studies=800, text=2.0, dim=300)
LINES = {
    "films that say nothing": (Planted(studies=240, text=2.0), {}, "nothing here shows that it uses the image"),
    "a text alone": (Planted(studies=240, text=2.0), {"arms": "text"}, "image-shuffle (no arm here reads images)"),
    "studies beside films": (
        Planted(studies=240, image=1.0, text=1.0),
        {"arms": "image,text,fusion,fusion[head=attention]"},
        "A study's probability is the mean of its films'",
    ),
    "one modality beats both": (
        WIDE,
        {"preset": "cnn-llm/as-coded", "controls": False},
        "text alone beats fusion by AUROC",
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_the_page_has_every_line_below_the_table_of_ablate(case: str, tmp_path: Path) -> None:
    """Only whether fusions fuse, which needs vectors, is not on a page that is made from runs."""
    plan, options, words = LINES[case]
    plant(tmp_path, plan, ("text",) if case == "a text alone" else ("image", "text"))
    result = cxremb.ablate(**options, root=tmp_path)
    path = cxremb.report(output=tmp_path / "page.html", root=tmp_path)
    shown = re.sub(r"\s", "", "".join(read(path.read_text()).text))
    lines = [line for line in result.caption if line not in result.fusing_in_words]
    assert any(words in line for line in lines), lines
    assert [line for line in lines if re.sub(r"[\s`]", "", line) not in shown] == []  # commands stand in <code>
    assert list(ablation_of(newest_ablation([open_dataset(tmp_path)])).caption) == lines


def test_films_under_two_patients_are_told_on_the_page_too(tmp_path: Path) -> None:
    dataset = twice(tmp_path)
    result = cxremb.ablate("image", root=tmp_path)
    [copies] = [one.copies for one in result.controls if one.copies]
    again = ablation_of(newest_ablation([dataset]))
    assert copies in again.verdicts
    assert again.caption == result.caption


def test_figures_say_what_the_table_says(result: Ablation, page: Page) -> None:
    spoken = drawing(page, "arms").spoken
    svg = page_svg(drawing(page, "arms"))
    for row in [*result.rows, *(one.row for one in result.controls if one.row)]:
        if row.auroc.value is not None and row.auroc.low is not None and row.auroc.high is not None:
            words = span(row.auroc.value, row.auroc.low, row.auroc.high)
            assert f"{row.arm.removeprefix('control:')} {words}" in spoken
            assert f">{words}<" in svg  # what is read in the drawing itself
    gaps = drawing(page, "differences").spoken.replace(MINUS, "-")
    for row in result.rows:
        if row.difference is not None and row.difference.value is not None:
            gap = row.difference
            words = span(gap.value, gap.low, gap.high, sign="+")  # as the table has it
            assert f"{row.arm} {words}" in gaps
            assert f">{words.replace('-', MINUS)}<" in page_svg(drawing(page, "differences"))
    assert "0.3" in drawing(page, "learning-curve").spoken


def test_the_side_by_side_chart_has_the_stored_metrics(page: Page, chosen: ReportRuns) -> None:
    spoken = drawing(page, "comparison").spoken
    for arm, run in chosen.arms.items():
        stored = {row["metric"]: row["value"] for row in run.metrics.to_pylist() if row["part"] == "test"}
        figures = ", ".join(
            f"{name} {bare(stored[metric])}"
            for name, metric in [("accuracy", "accuracy"), ("precision", "precision"), ("recall", "recall")]
        )
        assert f"{arm} {figures}, F1 {bare(stored['f1'])}, AUROC {bare(stored['auroc'])}" in spoken


def test_confusion_matrices_count_the_rows(page: Page, subject: ReportSubject) -> None:
    spoken = drawing(page, "confusion").spoken
    for arm, test in subject.tests.items():
        tn, fp, fn, tp = confusion_matrix(test.y[:, 0], test.prob[:, 0] >= 0.5).ravel()
        assert f"{arm} at 0.5: TP {tp}, FN {fn}, FP {fp}, TN {tn}" in spoken
    assert "at the chosen threshold" in spoken


def test_it_needs_nothing_from_outside(document: str) -> None:
    checker = read(document)
    assert not {tag for tag, _ in checker.seen} & {"script", "link", "img", "iframe", "object", "a", "image"}
    for tag, attrs in checker.seen:
        for name, value in attrs.items():
            assert not name.startswith("on"), tag
            assert name != "src"
            assert not name.endswith("href") or (value or "").startswith("#"), (tag, value)
    assert "@import" not in document
    assert all(found.startswith("url(#") for found in re.findall(r"url\(.", document))
    spaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<]+", document)) == spaces


def test_no_patient_stands_in_it_unless_asked_for(root: Path, chosen: ReportRuns, document: str) -> None:
    words = re.findall(r"[\w-]+", document)
    assert not [word for word in words if re.fullmatch(r"[sp]\d{5}(-\w+)?", word)]  # as this data set names them
    assert not re.search(r"film \d", document)  # its reports
    cases = cases_section(subject_of(chosen, include_data=True))
    assert cases is not None
    asked = render(Page("cases", [], [cases], Table([], [])))
    assert re.search(r"film \d+", asked)
    assert re.search(r"s\d{5}", asked)
    assert "Do not pass this page on" in asked


def test_films_are_in_it_where_asked_for(small: object, tmp_path: Path) -> None:
    from cxremb.reporting.cases import SIDE, film_of

    film = film_of(small, "3_Frontal", "3")  # type: ignore[arg-type]
    assert film is not None
    assert film.startswith("data:image/jpeg;base64,/9j/")
    assert SIDE == 280
    Path(small.images.to_pylist()[0]["path"]).unlink()  # type: ignore[attr-defined]
    gone = small.images.to_pylist()[0]  # type: ignore[attr-defined]
    assert film_of(small, gone["image_id"], gone["study_id"]) is None  # type: ignore[arg-type]


def test_everything_is_escaped(page: Page) -> None:
    table = Table([HOSTILE] * 2, [[HOSTILE] * 2], title=HOSTILE)

    def paint(figure: object) -> None:
        figure.subplots().set_title(HOSTILE)  # type: ignore[attr-defined]

    one = Drawing("x", HOSTILE, HOSTILE, HOSTILE, 2.0, paint, (HOSTILE,))
    parts = Section(HOSTILE, HOSTILE, [(HOSTILE, HOSTILE)], [table], [one], [HOSTILE], [HOSTILE])
    hostile = render(Page(HOSTILE, [HOSTILE], [parts], table))
    checker = read(hostile)
    assert "script" not in {tag for tag, _ in checker.seen}
    assert HOSTILE in "".join(checker.text)
    ElementTree.fromstring(page_svg(one))


def test_every_figure_bears_its_mark(page: Page, document: str, subject: ReportSubject) -> None:
    svgs = dict(re.findall(r'<figure id="([\w-]+)">(<svg.*?</svg>)', document, re.DOTALL))
    assert list(svgs) == [one.name for one in page.drawings]
    for name, svg in svgs.items():
        ElementTree.fromstring(svg)
        assert (f">{SIMULATED_MARK}<" in svg) == (name != "epochs-text"), name  # which reads no film
        assert "nan" not in re.sub(r">[^<]*<|aria-label=\"[^\"]*\"|font[^;]*;", "", svg)
    assert page.banners[0] == SIMULATED
    assert "text, fusion, fusion[train-fraction=0.3]: label recovery" in page.banners[1]
    assert marks_of([subject.runs["text"]], simulated=True) == ()
    assert marks_of([subject.runs["image"]], simulated=False) == ()


def test_a_leaky_run_says_so_wherever_its_figures_stand(tmp_path: Path) -> None:
    plant(tmp_path, Planted(studies=240, image=1.0, text=1.5))
    how = {"split": "image-80-20", "preset": "cnn-llm/as-coded", "allow_leaky": True}
    leaky = cxremb.ablate("image,text", alone=True, controls=False, root=tmp_path, **how)  # type: ignore[arg-type]
    shown = page_of(chosen_runs(leaky, dataset=None, root=tmp_path))
    assert {LEAKY in one.marks for one in shown.drawings} == {True}
    assert LEAKY in page_svg(drawing(shown, "differences"))
    assert any("leaky split" in text for text in shown.banners)
    assert drawing(shown, "arms").spoken.startswith("image LEAKY .")
    assert "--allow-leaky" in section(shown, "Where the figures come from").commands[0]
    assert "at the chosen threshold" not in drawing(shown, "confusion").spoken  # it has no validation part


def test_the_same_drawing_is_the_same_bytes(page: Page) -> None:
    for name in ("arms", "scores"):
        one = drawing(page, name)
        for kind in FILES:
            assert drawn(one, kind) == drawn(one, kind), kind
        assert b"Date" not in drawn(one, "pdf")


def test_figures_lie_in_a_folder_for_a_paper(page: Page, result: Ablation, tmp_path: Path) -> None:
    few = replace(page, sections=[section(page, "Arms compared")])
    saved = write_figures(few, tmp_path / "new" / "figures")
    assert sorted(path.name for path in saved) == sorted(path.name for path in (tmp_path / "new" / "figures").iterdir())
    assert {path.name for path in saved} == {f"{one.name}.{kind}" for one in few.drawings for kind in FILES} | {TABLE}
    root = ElementTree.fromstring((saved[0].parent / "arms.svg").read_bytes())
    assert root.find(f"{SPACE}title") is not None
    assert result.rows[0].arm in (root.find(f"{SPACE}desc").text or "")  # type: ignore[union-attr]
    assert (saved[0].parent / "arms.png").read_bytes().startswith(b"\x89PNG")
    assert (saved[0].parent / "arms.pdf").read_bytes().startswith(b"%PDF")
    latex = (saved[0].parent / TABLE).read_text(encoding="utf-8")
    assert r"\toprule" in latex
    value = bare(result.rows[0].auroc.value)
    assert value in latex


def test_the_picture_follows_light_and_dark(page: Page, tmp_path: Path) -> None:
    text = write_picture(drawing(page, "arms"), tmp_path / "picture.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text.encode())
    assert "prefers-color-scheme: dark" in (root.find(f"{SPACE}style").text or "")  # type: ignore[union-attr]
    assert "var(--paper, #ffffff)" in text
    assert SIMULATED_MARK in text


def test_many_arms_are_drawn_few(subject: ReportSubject) -> None:
    rows = [
        replace(subject.result.rows[0], arm=f"arm{n}", auroc=replace(subject.result.rows[0].auroc, value=0.5 + n / 100))
        for n in range(20)
    ]
    many = replace(
        subject,
        result=replace(subject.result, rows=tuple(rows), reference="arm3"),
        runs={row.arm: subject.runs["image"] for row in rows},
        tests={row.arm: subject.tests["image"] for row in rows},
    )
    assert [arm.title for arm in many.shown] == ["arm3", *(f"arm{n}" for n in range(15, 20))]
    assert len(many.shown) == MOST_SHOWN
    assert "Of 20 arms" in many.which


def test_the_audit_stands_in_it_once_there_is_one(root: Path, chosen: ReportRuns, page: Page) -> None:
    missing = section(page, "Audit")
    about = f"--dataset planted --split {page_split(page)} --label-set normal_abnormal"
    assert missing.commands == [f"cxremb audit {about}"]
    from cxremb.audit.audit import audit
    from cxremb.reporting.beside import audit_section

    copy = shutil.copytree(root, root.parent / "audited")
    found = audit(open_dataset(copy), None, page_split(page), pixels=False)
    shown = audit_section(subject_of(newest_ablation([open_dataset(copy)])))
    assert [row[1] for row in shown.tables[0].rows if row[0] == "FAIL"] == [one.measured for one in found.failed]
    assert len(shown.tables[0].rows) == len(found.findings)
    told = {row[1]: row[2] for row in shown.tables[0].rows}
    for one in found.findings:
        if one.status != "ok":
            for text in filter(None, (one.why, one.remedy and f"To do: {one.remedy}")):
                assert text[1:] in told[one.measured]
            sentences = re.split(r"(?<=[.!?]) ", told[one.measured])
            assert all(words[0] == words[0].upper() for words in sentences), sentences
            assert told[one.measured].endswith((".", "?", "!"))
    assert shown.intro.startswith(f"Made on {found.created:%Y-%m-%d} at {found.created:%H:%M} UTC: ")
    assert "After it" not in shown.intro
    examples = [example for one in found.findings for example in one.examples]
    assert not any(example in row[2] for example in examples for row in shown.tables[0].rows)
    record = copy / "planted" / "runs" / chosen.arms["text"].run_id / "run.json"
    later = f"{found.created + timedelta(days=1):%Y-%m-%dT%H:%M:%S+00:00}"
    record.write_text(record.read_text().replace(chosen.arms["text"].record.created, later))
    shown = audit_section(subject_of(newest_ablation([open_dataset(copy)])))
    assert shown.intro.endswith(". After it, 1 run of this page was made.")


def page_split(page: Page) -> str:
    command = section(page, "Where the figures come from").commands[0].split()
    return command[command.index("--split") + 1]


def test_the_commands_make_the_same_again(cxremb: object, root: Path, page: Page, result: Ablation) -> None:
    import shlex

    words = shlex.split(section(page, "Where the figures come from").commands[0])[1:]
    again = cxremb(*words, "--root", root, "--format", "csv")  # type: ignore[operator]
    assert again.code == 0, again.err
    for row in result.rows:
        assert row.run_id in again.out


@pytest.mark.parametrize("option", ["--output", "--figures"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    cxremb: object, root: Path, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxremb.api.report.chosen_runs", lambda *args, **more: pytest.fail("the work has begun"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for place in ("/proc/nothing/x", "file/x", "folder" if option == "--output" else "file"):
        done = cxremb("report", option, place, "--root", root)  # type: ignore[operator]
        assert done.code == 1
        assert place in done.err
        assert "cannot be written" in done.err
        named = "another file with --output" if option == "--output" else "another folder with --figures"
        assert named in " ".join(done.err.split())
        assert "--root" not in done.err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]
    assert not list((tmp_path / "folder").iterdir())


def test_a_set_that_is_called_like_its_label_is_said_once(page: Page, subject: ReportSubject) -> None:
    assert page.title == "planted: abnormal (normal_abnormal)"
    one = replace(subject.result, label="abnormal", label_set="abnormal", n=1, patients=1)
    assert one.title == "planted: 1 row, one per image, of 1 patient; label abnormal"
    assert (count_of(1, "study"), count_of(2, "study")) == ("1 study", "2 studies")


def test_the_command_writes_the_page(cxremb: object, root: Path, document: str, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "page.html"
    path.parent.mkdir()
    path.write_text("of before", encoding="utf-8")
    done = cxremb("report", "--root", root, "--output", path, "--dataset", "planted")  # type: ignore[operator]
    assert done.code == 0, done.err
    assert str(path) in done.out
    written = path.read_text(encoding="utf-8")
    assert written.count("<figure") == document.count("<figure")
    assert [one.name for one in path.parent.iterdir()] == ["page.html"]


def test_ablate_prints_the_page(cxremb: object, root: Path) -> None:
    words = ("ablate", "--arms", "image,text", "--alone", "--no-controls", "--root", root, "--format", "html")
    done = cxremb(*words)  # type: ignore[operator]
    assert done.code == 0, done.err
    assert done.out.startswith("<!DOCTYPE html>")
    read(done.out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "no run 'nope'"),
        (["--dataset", "other"], "no data set called 'other'"),
        (["--output", "."], "."),
    ],
)
def test_what_cannot_be_told_is_said(cxremb: object, root: Path, result: Ablation, words: list[str], said: str) -> None:
    done = cxremb("report", *words, "--root", root)  # type: ignore[operator]
    assert done.code == 1
    assert said in done.err
    assert "hint" in done.err
    assert "Traceback" not in done.err


def test_without_runs_it_says_how_to_make_them(tmp_path: Path, chosen: ReportRuns) -> None:
    dataset = plant(tmp_path, Planted(studies=30))
    with pytest.raises(DataError, match="no run to report") as error:
        newest_ablation([dataset])
    assert "cxremb ablate" in error.value.hint
    with pytest.raises(DataError, match="needs a run"):
        runs_named([])
    with pytest.raises(DataError, match="controls"):
        runs_named(list(chosen.controls.values()))
    with pytest.raises(DataError, match="more than one data set: planted, other"):
        runs_named([chosen.arms["image"], run_like(chosen.arms["text"], dataset="other")])


def run_like(run: Run, **changes: object) -> Run:
    """The run as if it had been made otherwise."""
    return replace(run, record=replace(run.record, **changes))  # type: ignore[arg-type]


def test_two_runs_of_one_arm_get_their_ids(chosen: ReportRuns) -> None:
    first = chosen.arms["image"]
    second = run_like(first, run_id="20990101T000000-ffffffff")
    found = runs_named([first, second, first])
    assert list(found.arms) == [f"image {first.run_id}", "image 20990101T000000-ffffffff"]


def test_an_ablation_is_not_mixed_of_two(chosen: ReportRuns) -> None:
    text, image, fusion = (chosen.arms[arm] for arm in ("text", "image", "fusion"))
    newest = [run_like(text, text="pre-read"), image, fusion, run_like(text, arm="findings"), text]
    kept = list(agreeing(newest))
    assert [run.arm for run in kept] == ["text", "image", "findings"]  # the older fusion read another text
    other = run_like(image, keys={"image": "another store"})
    assert [run.arm for run in agreeing([fusion, other, text])] == ["fusion", "text"]


def test_matrices_say_how_often_a_row_counts(chosen: ReportRuns) -> None:
    subject = subject_of(chosen)
    doubled = {arm: it.take(np.tile(np.arange(len(it.items)), 2)) for arm, it in subject.tests.items()}
    once, twice = confusion_drawing(subject), confusion_drawing(replace(subject, tests=doubled))
    assert once is not None
    assert twice is not None
    assert "Each row counts" not in once.caption
    assert "Each row counts 2 times, once for each repeat and seed." in twice.caption


def test_controls_of_another_ablation_stay_out(chosen: ReportRuns) -> None:
    arms, main = list(chosen.arms.values()), chosen.arms["fusion"]
    assert {"label-shuffle", "image-shuffle", "tf-idf", "majority"} <= chosen.controls.keys()
    assert all(controls_for(run, main, arms) for run in chosen.controls.values())
    shuffle, words, simple = (chosen.controls[name] for name in ("image-shuffle", "tf-idf", "majority"))
    for other in (
        run_like(shuffle, text="impression"),
        run_like(words, text="impression"),
        run_like(shuffle, keys={**shuffle.record.keys, "image": "another store"}),
        run_like(shuffle, preset="iu_fusion_mlp"),
        run_like(simple, seeds=(3,)),
        run_like(simple, repeats=(1,)),
        run_like(simple, split_key="0" * 12),
    ):
        assert not controls_for(other, main, arms)
    repeated = run_like(main, repeats=(0, 1), seeds=(0, 1))  # label-shuffle is judged on the first repeat alone
    assert controls_for(chosen.controls["label-shuffle"], repeated, arms)


def test_a_run_whose_store_is_gone_is_reported(root: Path, result: Ablation, page: Page, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(copy / "planted" / "embeddings")
    chosen = newest_ablation([open_dataset(copy)])
    assert drawing(page_of(chosen), "arms").spoken == drawing(page, "arms").spoken
    for table in (copy / "planted").glob("*.parquet"):
        table.unlink()
    bare = page_of(newest_ablation([open_dataset(copy)]))
    assert drawing(bare, "arms").spoken == drawing(page, "arms").spoken
    assert dict(section(bare, "The data").facts)["not read"]
    (next(iter(chosen.arms.values())).folder / "predictions.parquet").unlink()
    with pytest.raises(StoreError, match="missing or damaged"):
        page_of(newest_ablation([open_dataset(copy)]))


def test_runs_of_an_earlier_format_are_reported(tmp_path: Path) -> None:
    copy = shutil.copytree(GOLDEN, tmp_path / "stores")
    shown = page_of(newest_ablation([open_dataset(copy)]))
    read(render(shown))
    assert drawing(shown, "arms").spoken


@pytest.mark.parametrize("label_set", ["kind", "found"])
def test_several_labels_have_a_page(label_set: str, tmp_path: Path) -> None:
    plant(tmp_path, Planted(studies=300, image=1.0, text=1.0, kinds=2.0))
    result = cxremb.ablate("text", label_set=label_set, alone=True, controls=False, root=tmp_path)
    shown = page_of(chosen_runs(result, dataset=None, root=tmp_path))
    read(render(shown))
    names = {one.name for one in shown.drawings}
    assert {"arms", "roc", "precision-recall", "epochs-text"} <= names
    assert ("confusion" in names) == (label_set == "kind")
    several = {"kind": "The mean over the classes, each against the others", "found": "The mean over the labels"}
    assert several[label_set] in drawing(shown, "roc").caption
    assert not names & {"reliability", "scores"}
    called = {"kind": "a row called its likeliest class", "found": "each label called from a probability of .5 on"}
    assert called[label_set] in drawing(shown, "comparison").caption
    assert "do not exclude" not in render(shown)
    assert "positive test rows" not in dict(section(shown, "The data").facts)  # the table has those of each label
    [table] = section(shown, "The data").tables
    assert table.headings[2] == {"kind": "val by class", "found": "val positive"}[label_set]
    test = open_run(result.rows[0].run_id, open_dataset(tmp_path)).predictions()
    own = test.take(test.fold == 1)
    of_each = np.nansum(own.y, axis=0).astype(int)
    words = ", ".join(f"{count} {label}" for count, label in zip(of_each, own.labels, strict=True))
    assert table.rows[1][3:] == [str(len(own.items)), words]
    assert (of_each.sum() == len(own.items)) == (label_set == "kind")


@pytest.mark.parametrize(("kind", "words"), [("claim", "CLAIM, 2024 update"), ("tripod", "TRIPOD+AI, 2024")])
def test_a_checklist_is_a_section_of_the_page(root: Path, result: Ablation, kind: str, words: str, cxremb) -> None:
    path = root / f"{kind}.html"
    said = cxremb("report", "--checklist", kind, "--output", path, "--root", root)
    assert said.code == 0, said.err
    shown = path.read_text(encoding="utf-8")
    read(shown)
    assert f"<h2>Checklist: {words}</h2>" in shown
    main = next(row.run_id for row in result.rows if row.arm == result.reference)
    found = checklist(main, kind, root=root)
    assert f"of run {main}: " in shown
    assert shown.count("to be written") >= sum(row.answer == "to be written" for row in found.rows) > 0
    for row in found.rows:
        assert escape(row.answer) in shown


def test_an_unknown_checklist_is_refused(root: Path, cxremb) -> None:
    said = cxremb("report", "--checklist", "clam", "--output", root / "no.html", "--root", root)
    assert (said.code, (root / "no.html").exists()) == (1, False)
    assert "did you mean claim?" in said.err


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, #rrggbb (WCAG 2.2)."""
    lights = []
    for colour in (first, second):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_and_lines_stand_out(document: str, scheme: int) -> None:
    style = re.findall(r":root \{(.*?)\}", document, flags=re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", style))
    for name in ("ink", "soft", *(f"line{i}" for i in range(6))):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    assert contrast(colours["warn"], colours["warn-paper"]) >= 4.5
    assert contrast(colours["warn"], colours["paper"]) >= 4.5  # the marks inside figures
