"""The demo, small: the whole route on real reports, real frozen weights and simulated films, twice."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cxremb.store.sql import query
from cxremb.table import bare

pytestmark = pytest.mark.slow

LIMIT = 120


def run_demo(root: Path) -> str:
    """What the demo prints."""
    wide = {**os.environ, "COLUMNS": "1000"}  # a command to type next takes one line
    command = [sys.executable, "-m", "cxremb", "demo", "--limit", str(LIMIT), "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=wide)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("demo root") / "stores"
    return root, run_demo(root)


def test_the_whole_route(demo: tuple[Path, str]) -> None:
    root, printed = demo
    name = f"demo_{LIMIT}"
    assert query(root, "select count(*) as n from studies").to_pylist() == [{"n": LIMIT}]
    labelled = query(root, "select label_set, count(distinct study_id) as n from labels group by label_set").to_pylist()
    assert {"normal_abnormal", "normal_abnormal_clean", "actionable", "mesh", "problems"} <= {
        row["label_set"] for row in labelled if row["n"] > LIMIT * 0.8
    }
    stores = query(root, "select encoder, dim, failed, rows from stores order by encoder").to_pylist()
    assert [(store["encoder"], store["dim"], store["failed"]) for store in stores] == [
        ("efficientnet_lite1", 1280, 0),
        ("minilm", 384, 0),
    ]
    films = query(root, "select count(path) as n from images").to_pylist()[0]["n"]
    assert stores[0]["rows"] == films
    arms = {row["arm"]: row["n"] for row in query(root, "select arm, count(*) as n from runs group by arm").to_pylist()}
    controls = {arm for arm in arms if arm.startswith("control:")}
    assert {"control:label-shuffle", "control:tf-idf", "control:majority"} <= controls
    assert {arm: n for arm, n in arms.items() if arm not in controls} == {"fusion": 2, "image": 1, "text": 1}
    assert printed.count("simulated") >= 3
    assert "label recovery, not diagnosis" in printed
    page = (root / name / "report.html").read_text(encoding="utf-8")
    assert "simulated" in page
    assert "http://" not in page.replace("http://www.w3.org", "")  # self-contained: hospitals have no network


def test_the_picture_shows_the_figures_of_the_runs(demo: tuple[Path, str]) -> None:
    root, printed = demo
    drawn = (root / f"demo_{LIMIT}" / "ablation.svg").read_text(encoding="utf-8")
    assert "<title>Real reports, simulated films: " in drawn
    assert "SIMULATED FILMS" in drawn
    assert str(root / f"demo_{LIMIT}" / "ablation.svg") in printed
    latest = "run_id in (select max(run_id) from runs group by arm)"  # of two runs of the fusion, the ablation's
    sql = "select arm, value, low, high from metrics join runs using (run_id) where part = 'test' and metric = 'auroc'"
    sql += f" and {latest} and arm <> 'control:label-shuffle'"  # whose interval is over shuffles, not over patients
    rows = query(root, sql).to_pylist()
    assert {"image", "text", "fusion", "control:tf-idf"} <= {row["arm"] for row in rows}
    assert "label-shuffle ." in drawn
    for row in rows:
        name = row["arm"].removeprefix("control:")
        interval = "" if row["low"] is None else f" [{bare(row['low'])}, {bare(row['high'])}]"  # majority has none
        assert f"{name} {bare(row['value'])}{interval}" in drawn


def test_all_studies_or_some(cxremb: object, tmp_path: Path) -> None:
    assert cxremb("demo", "--full", "--limit", "300", "--root", tmp_path).code == 2  # type: ignore[operator]
    assert not any(tmp_path.iterdir())


def test_real_text_recovers_the_label(demo: tuple[Path, str]) -> None:
    """The label is coded from the report: a text arm that does not find it is broken."""
    sql = "select value from metrics join runs using (run_id) where arm = 'text' and part = 'test' and metric = 'auroc'"
    assert query(demo[0], sql).to_pylist()[0]["value"] > 0.75


def test_the_queries_to_type_next_give_one_figure_a_run(demo: tuple[Path, str]) -> None:
    root, printed = demo
    words = shlex.split(next(line for line in printed.splitlines() if line.startswith("  cxremb sql")))
    assert Path(words[3]) == root
    runs = query(root, "select run_id, arm from runs").to_pylist()
    aurocs = "select value from metrics where part = 'test' and metric = 'auroc' order by 1"
    assert sorted(query(root, words[4])["value"].to_pylist()) == query(root, aurocs)["value"].to_pylist()
    assert len(runs) == query(root, words[4]).num_rows
    arms = {run["run_id"] for run in runs if not run["arm"].startswith("control:")}
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    asked = re.search(r'cxremb sql "(select.*?)"', readme, re.DOTALL)
    assert asked
    told = query(root, asked[1].replace("\\\n", "")).to_pylist()
    assert len(told) == len(arms)
    assert {row["run_id"] for row in told} == arms


def test_a_second_time_it_reuses_the_stores_and_says_so(demo: tuple[Path, str]) -> None:
    root, first = demo
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")}
    second = run_demo(root)
    assert len(re.findall("re-used as it was", second)) == 2
    assert "re-used as it was" not in first
    assert "re-used: image, text, fusion" in second
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.parquet")} == before
