"""What `make fuzz` found stays mended: each case is tried as it was then. Its folder is named by the target."""

import importlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import save_film

from cxremb.embedding.decode import Decoders, all_failed, decode
from cxremb.errors import ImageError
from cxremb.images import FilmFile, Frame, is_tame
from cxremb.reporting.cases import film_of
from cxremb.store.dataset import open_dataset
from cxremb.store.reader import open_store

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "format3"
CASES = sorted((Path(__file__).parent / "fuzzed").glob("*/*"))


@pytest.fixture(scope="module")
def targets() -> Any:
    """The targets, as fuzzing has them."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("fuzz_steps.targets")
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("case", [one for one in CASES if one.parent.name != "dicom"], ids=lambda one: one.name)
def test_a_case_that_was_found(case: Path, targets: Any, tmp_path: Path) -> None:
    root = Path(shutil.copytree(GOLDEN, tmp_path / "root"))
    targets.TARGETS[case.parent.name].check(targets.Place(tmp_path, root), case.read_bytes())


@pytest.mark.slow
def test_films_that_end_the_process_of_their_codec_are_failures(tmp_path: Path) -> None:
    """GDCM raises through C on some damaged frames, which ends the process: so another than that of the command."""
    films = [Path(shutil.copy(case, tmp_path / f"{case.name}.dcm")) for case in CASES if case.parent.name == "dicom"]
    assert [is_tame(film) for film in films] == [False] * 3
    decoders: Decoders[Any] = Decoders(work, all_failed, 1, processes=False)
    answers = list(decoders.run([[FilmFile(str(film), "")] for film in films], 3))
    decoders.close()
    for film, (error,) in zip(films, answers, strict=True):
        assert isinstance(error, ImageError)
        assert f"{film.name}: the process that decoded it was killed" in str(error)


def test_runs_of_fuzzing_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An hour may be run in parts; what checked its inputs in another way does not count."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    results = importlib.import_module("fuzz_steps.results")
    path = tmp_path / "fuzz.json"
    assert results.earlier_runs(path, "png") == []
    results.add_run(path, "png", {"executions": 7, "minutes": 2.02, "ends": {}, "found": ["a.py"]})
    results.add_run(path, "sql", {"executions": 5, "minutes": 1.0, "ends": {}, "found": []})
    results.add_run(path, "png", {"executions": 4, "minutes": 3.5, "ends": {"timeout": 2}, "found": ["a.py", "b.py"]})
    one = json.loads(path.read_text())["png"]
    assert (one["executions"], one["minutes"], one["ends"], one["found"]) == (11, 5.52, 2, ["a.py", "b.py"])
    assert [(run["executions"], run["commit"]) for run in one["runs"]] == [
        (7, one["commits"][0]),
        (4, one["commits"][0]),
    ]
    monkeypatch.setattr(results, "checks", lambda: "other")
    results.add_run(path, "png", {"executions": 3, "minutes": 1.0, "ends": {}, "found": []})
    found = json.loads(path.read_text())
    assert (found["png"]["executions"], len(found["png"]["runs"]), found["sql"]["executions"]) == (3, 1, 5)


@pytest.mark.slow
def test_a_job_goes_on_after_films_that_end_the_process_of_their_codec(tmp_path: Path, cxremb: Any) -> None:
    """Each is named and counted under failed; the others are encoded, and no case of a report needs it."""
    for case in CASES:
        if case.parent.name == "dicom":
            (tmp_path / "films").mkdir(exist_ok=True)
            shutil.copy(case, tmp_path / "films" / f"{case.name}.dcm")
    good = [save_film(tmp_path / "films" / f"good{number}.png", number).stem for number in range(4)]
    at = ("--root", tmp_path / "root")
    assert cxremb("data", "add", "folder", tmp_path / "films", "--name", "mixed", *at).code == 0
    done = cxremb("embed", "--model", "tiny", *at)
    assert "7 asked = 0 re-used + 4 new + 3 failed" in done.out
    dataset = open_dataset(tmp_path / "root")
    store = open_store(dataset, "tiny")
    assert (store.manifest.written, store.manifest.failed, sorted(store.vectors()[0])) == (4, 3, good)
    said = cxremb("sql", "select path, message from failures order by path", "--format", "json", *at)
    failures = json.loads(said.out)
    bad = sorted(case.name for case in CASES if case.parent.name == "dicom")
    assert [row["path"] for row in failures] == [f"{name}.dcm" for name in bad]
    assert all("the process that decoded it was killed" in row["message"] for row in failures)
    assert cxremb("store", "check", *at).code == 0
    assert film_of(dataset, bad[0], bad[0]) is None
    assert film_of(dataset, good[0], good[0]) is not None


def work(files: Any) -> Any:
    """As an embed has it."""
    return decode(files, Frame(16))


@pytest.mark.parametrize("name", ["png", "jpeg", "tiff", "npy", "npz", "csv", "xml"])
def test_the_inputs_that_fuzzing_begins_with_are_read(name: str, targets: Any, tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        seeds = importlib.import_module("fuzz_steps.seeds")
    finally:
        sys.path.pop(0)
    found = seeds.seeds(name, tmp_path)
    assert found
    for content in found:
        targets.TARGETS[name].check(targets.Place(tmp_path, tmp_path), content)
