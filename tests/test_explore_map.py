"""The map of a store: components as NumPy has them, the same each time, a job that ends, rows inside a lasso."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from explored import SPLIT, STUDIES_MADE, make_explored
from matplotlib.path import Path as Outline
from planted import write_store

from cxremb.errors import DataError
from cxremb.explorer import mapping
from cxremb.explorer.far import make_distances
from cxremb.explorer.job import MapJob
from cxremb.explorer.lasso import corners, within
from cxremb.explorer.mapping import LEAST, Epochs, make_map, placed, principal
from cxremb.store.clean import leftovers, remove
from cxremb.store.maps import has_map
from cxremb.store.reader import open_store
from cxremb.store.sql import query

SAID: list[str] = []


def vectors(n: int = 300, dim: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n, dim)) * np.linspace(3, 1, dim) + 2).astype(np.float16)


def test_components_are_those_of_a_singular_value_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "BLOCK_ROWS", 64)  # several blocks, the last one shorter
    X = vectors()
    unit = X.astype(float) / np.linalg.norm(X.astype(float), axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    ours = principal(X, SAID.append)
    assert ours.shape == (300, 12)
    np.testing.assert_allclose(np.abs(ours), np.abs(centred @ axes.T), atol=1e-8)
    np.testing.assert_array_equal(ours, principal(X, SAID.append))
    assert any(words == "principal components: 300 of 300 rows" for words in SAID)


@pytest.mark.parametrize("n", [1, 2, LEAST - 1])
def test_a_few_rows_get_components(n: int) -> None:
    points, method = placed(vectors(n), SAID.append)
    assert (points.shape, method) == ((n, 2), "pca")
    assert np.isfinite(points).all()


def test_without_umap_it_is_two_components_and_sql_sees_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "find_spec", lambda name: None)
    dataset = make_explored(tmp_path)
    store = open_store(dataset, "efficientnet_b1")
    assert not has_map(dataset, store)
    path = make_map(dataset, store, SAID.append)
    assert has_map(dataset, store)
    first = path.read_bytes()
    assert make_map(dataset, store, SAID.append).read_bytes() == first
    rows = query(tmp_path, "select * from maps join images on image_id = item_id and maps.dataset = images.dataset")
    assert rows.num_rows == 2 * STUDIES_MADE
    assert set(rows["method"].to_pylist()) == {"pca"}
    matrix = store.load()
    x = dict(zip(rows["item_id"].to_pylist(), rows["x"].to_pylist(), strict=True))
    ours = principal(matrix.vectors, SAID.append)[:, 0]
    np.testing.assert_allclose([x[item] for item in matrix.ids.to_pylist()], ours, atol=1e-6)


def test_a_store_that_has_changed_has_no_map_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "find_spec", lambda name: None)
    dataset = make_explored(tmp_path)
    make_map(dataset, open_store(dataset, "biobert"), SAID.append)
    ids = dataset.studies["study_id"].to_pylist()
    write_store(dataset, "biobert", "text", ids, vectors(len(ids), 6))
    assert not has_map(dataset, open_store(dataset, "biobert"))
    assert query(tmp_path, "select count(*) as n from maps")["n"].to_pylist() == [len(ids)]  # until it is made again


def test_what_a_removed_store_leaves_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "find_spec", lambda name: None)
    dataset = make_explored(tmp_path)
    kept, gone = open_store(dataset, "biobert"), open_store(dataset, "efficientnet_b1")
    files = [make_map(dataset, store, SAID.append) for store in (kept, gone)]
    far = make_distances(dataset, gone, SPLIT, say=SAID.append)
    assert leftovers(dataset.paths) == []
    remove(gone.folder)
    assert leftovers(dataset.paths) == []  # it took them along
    assert [path.is_file() for path in (*files, far)] == [True, False, False]
    assert query(tmp_path, "select distinct store from maps")["store"].to_pylist() == [kept.name]
    assert query(tmp_path, "from distances").num_rows == 0


def test_rounds_are_counted_as_umap_says_them() -> None:
    said: list[str] = []
    out = Epochs(said.append)
    for text in ("\r", "12 200", "Fri Nov 27 Construct", "x 3"):
        out.write(text)
    assert said == ["UMAP: 12 of 200 rounds"]


@pytest.mark.slow
def test_a_job_makes_the_map_and_says_how_far_it_is(tmp_path: Path) -> None:
    dataset = make_explored(tmp_path)
    said: list[str] = []
    job = MapJob(watching=said.append)
    job.start_where_needed(dataset, "image", SPLIT)
    assert job.state == "running"
    end = time.monotonic() + 240  # UMAP is compiled first
    while job.state == "running" and time.monotonic() < end:
        time.sleep(0.1)
    assert (job.state, said[-1]) == ("done", "made")
    assert has_map(dataset, open_store(dataset, "efficientnet_b1"))
    again = MapJob()
    again.start_where_needed(dataset, "image", SPLIT)
    assert again.state == "none"


def test_a_job_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    dataset = make_explored(tmp_path)
    job = MapJob()
    job.start_where_needed(dataset, "study", None)
    job.stop()
    assert job.process is not None
    assert job.process.returncode != 0
    assert not list(dataset.paths.maps.glob("*"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_while_the_map_is_made_ends_everything_at_once(tmp_path: Path, number: int) -> None:
    """The command and the process beside it, in the middle of its work; nothing of a table is left."""
    dataset = make_explored(tmp_path)
    stage = "loading UMAP" if find_spec("umap") else "reading vectors"
    command = [sys.executable, "-m", "cxremb", "explore", "--root", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        said = iter(started.stderr.readline, "")
        try:
            assert any(stage in line for line in said)
            children = children_of(started.pid)
            begin = time.monotonic()
            started.send_signal(number)
            _, err = started.communicate(timeout=60)
            seconds = time.monotonic() - begin
        finally:
            started.kill()
    assert (started.returncode, "Traceback" in err) == (0, False)
    assert seconds < 20
    assert children
    end = time.monotonic() + 10  # Python's own tracker of resources ends a moment after who started it
    while any(map(stat_of, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(stat_of, children))
    assert list(dataset.paths.maps.glob("*")) + list(dataset.paths.distances.glob("*")) == []


def stat_of(process: int) -> list[str]:
    """State, parent and more of a process that is not over; nothing of one that is."""
    with suppress(OSError):
        found = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return found if found[0] != "Z" else []
    return []


def children_of(process: int) -> list[int]:
    """The processes that a process has started and that are not over."""
    everyone = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [one for one in everyone if (stat := stat_of(one)) and int(stat[1]) == process]


def test_a_data_set_without_vectors_has_no_map(tmp_path: Path) -> None:
    dataset = make_explored(tmp_path)
    for name in ("efficientnet_b1", "biobert"):
        remove(open_store(dataset, name).folder)
    job = MapJob()
    job.start_where_needed(dataset, "image", SPLIT)
    assert (job.state, job.process) == ("none", None)
    assert "cxremb embed" in job.words


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    dataset = make_explored(tmp_path)
    store = open_store(dataset, "efficientnet_b1")
    store.part_paths[0].write_bytes(b"nothing")
    job = MapJob()
    job.start(dataset, store)
    assert job.thread is not None
    job.thread.join(timeout=60)
    assert job.state == "failed"
    assert "cannot be read" in job.words


@pytest.mark.parametrize("seed", range(5))
def test_points_inside_a_lasso_are_those_of_matplotlib(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 30))
    radius = rng.uniform(0.3, 1.0, 30)
    lasso = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    points = rng.uniform(-1, 1, (2000, 2))
    ours = within(points[:, 0], points[:, 1], lasso.ravel().tolist())
    np.testing.assert_array_equal(ours, Outline(np.vstack([lasso, lasso[:1]])).contains_points(points))
    assert 100 < ours.sum() < 1900


@pytest.mark.parametrize("text", ["1", "1,2,3,4", "1,2,3,4,5", "a,b,c,d,e,f", "1,2,3,4,5,inf", "1,2," * 300])
def test_what_is_no_lasso_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="lasso"):
        corners(text)
