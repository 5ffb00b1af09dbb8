"""`cxremb similar`: the cosines of a slow loop, who is left out, conditions, other data sets, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import collection, save_film
from planted import Planted, plant
from test_marks import reports

import cxremb as package
from cxremb.alignment.publish import partner, read_projection, source_of
from cxremb.api.data import embed, open_store
from cxremb.catalog import add_collection
from cxremb.similarity import cosines as module
from cxremb.similarity.cosines import candidates, cosines, rough_cosines
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.reader import list_stores

STUDIES = 12  # of `collection`; the lateral film of the last study is the frontal one of the first


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets with a store of the same key; the second has the first film of the first, of somebody else."""
    here = tmp_path_factory.mktemp("similar")
    root = here / "stores"
    add_collection(collection(here / "films", STUDIES), root)
    other = collection(here / "others", 4, name="other")
    save_film(here / "others" / "2_Frontal.png", 0)
    add_collection(other, root)
    for name in ("small", "other"):
        embed("tiny", dataset=name, root=root)
    embed("tiny_text", dataset="small", root=root)
    return root


def similar(root: Path, *words: Any, **options: Any) -> Any:
    return package.similar(*words, root=root, **{"dataset": "small", **options})


def slow_cosines(root: Path, dataset: str, model: str, section: str, to: np.ndarray) -> dict[str, float]:
    """item -> cosine, one row and one number at a time."""
    ids, vectors = open_store(model, dataset=dataset, root=root).vectors(section)
    found = {}
    for item, vector in zip(ids, vectors.tolist(), strict=True):
        dot = sum(a * b for a, b in zip(vector, to.tolist(), strict=True))
        found[item] = dot / (sum(a * a for a in vector) ** 0.5 * sum(b * b for b in to.tolist()) ** 0.5)
    return found


def vector_of(root: Path, item: str, model: str = "tiny", section: str = "image") -> np.ndarray:
    return open_store(model, dataset="small", root=root).matrix([item], section)[0]


def test_cosines_are_those_of_a_slow_loop_and_the_film_itself_is_first(root: Path) -> None:
    found = similar(root, "3_Frontal", limit=500)
    slow = {
        (name, item): cosine
        for name in ("small", "other")
        for item, cosine in slow_cosines(root, name, "tiny", "image", vector_of(root, "3_Frontal")).items()
    }
    assert {(row.dataset, row.item_id) for row in found.rows} == set(slow)
    for row in found.rows:
        assert row.similarity == pytest.approx(slow[row.dataset, row.item_id], abs=1e-8)
    assert [row.rank for row in found.rows] == list(range(1, len(slow) + 1))
    assert [row.similarity for row in found.rows] == sorted((row.similarity for row in found.rows), reverse=True)
    first = found.rows[0]
    assert (first.item_id, first.similarity, first.study_id, first.patient_id) == ("3_Frontal", 1.0, "3", "3")
    assert first.labels == "abnormal 1"
    assert found.searched == len(slow) == 32


def test_ties_have_a_fixed_order_with_the_film_itself_first(root: Path) -> None:
    """Five films have the same bytes."""
    same = [("other", "0_Frontal"), ("other", "2_Frontal"), ("other", "3_Lateral")]
    same += [("small", "0_Frontal"), ("small", "11_Lateral")]
    for asked in ("0_Frontal", "11_Lateral"):
        rows = similar(root, asked, limit=5).rows
        assert [row.similarity for row in rows] == [1.0] * 5
        others = [pair for pair in same if pair != ("small", asked)]
        assert [(row.dataset, row.item_id) for row in rows] == [("small", asked), *others]
    assert len(similar(root, "0_Frontal", limit=2).rows) == 2


def test_blocks_and_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = (rng.standard_normal((n, 17)).astype(np.float16) for n in (103, 2))
    vectors[5] = 0
    whole = cosines(vectors, queries)
    monkeypatch.setattr(module, "BLOCK_ROWS", 7)
    np.testing.assert_array_equal(cosines(vectors, queries), whole)
    rows = np.array([100, 5, 3])
    np.testing.assert_array_equal(cosines(vectors, queries, rows), whole[rows])
    assert whole[5] == -np.inf
    x, q = vectors.astype(float), queries.astype(float)
    for row in (0, 50, 102):
        each = [x[row] @ one / np.linalg.norm(x[row]) / np.linalg.norm(one) for one in q]
        assert whole[row] == pytest.approx(max(each), abs=1e-9)


@pytest.mark.parametrize("count", [1, 10, 103])
@pytest.mark.parametrize("block", [7, 512])
def test_no_neighbour_is_lost_to_a_rough_look(count: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of vectors so alike that float32 cannot order them, and of others; some rows are not asked for, one is zeros."""
    monkeypatch.setattr(module, "ROUGH_ROWS", block)
    rng = np.random.default_rng(1)
    for spread in (1.0, 1e-3):
        vectors = (1 + spread * rng.standard_normal((150, 640))).astype(np.float16)
        vectors[5], vectors[90] = 0, vectors[17]
        rows = np.setdiff1d(np.arange(150), rng.choice(150, 47, replace=False))
        exact = cosines(vectors, vectors[17:19], rows)
        wanted = rows[exact >= np.sort(exact)[-count]]
        found = candidates(vectors, vectors[17:19], rows, count=count)
        assert set(wanted) <= set(found) <= set(rows)
        assert found.tolist() == sorted(found)
        if spread == 1 and count < 103:
            assert len(found) < 103 / 2  # else nothing was saved
        rough = rough_cosines(vectors, module.unit(vectors[17:19]).astype(np.float32), rows)
        there = exact > -np.inf
        assert rough[there] == pytest.approx(exact[there], abs=1e-5)
        assert (rough == -np.inf).tolist() == (~there).tolist()


def test_a_file_is_encoded_as_the_store_was(root: Path, tmp_path: Path) -> None:
    """The same bytes under another name lie at 1; a new film has the cosines of its own vector."""
    copy = save_film(tmp_path / "copy.png", 6)  # 3_Frontal
    rows = similar(root, copy, limit=3).rows
    assert (rows[0].item_id, rows[0].similarity) == ("3_Frontal", 1.0)
    new = save_film(tmp_path / "new.png", 4_711)
    added = collection(tmp_path / "more", 1, name="new")
    save_film(tmp_path / "more" / "0_Frontal.png", 4_711)
    add_collection(added, tmp_path / "stores")
    embed("tiny", root=tmp_path / "stores")
    vector = open_store("tiny", root=tmp_path / "stores").matrix(["0_Frontal"])[0]
    slow = slow_cosines(root, "small", "tiny", "image", vector)
    found = similar(root, new, where="dataset = 'small'", limit=500)
    assert {row.item_id: row.similarity for row in found.rows} == pytest.approx(slow, abs=1e-8)


def test_a_study_is_as_near_as_the_nearest_of_its_films(root: Path) -> None:
    frontal, lateral = (
        slow_cosines(root, "small", "tiny", "image", vector_of(root, f"5_{view}")) for view in ("Frontal", "Lateral")
    )
    found = similar(root, "5", where="dataset = 'small'", limit=500)
    for row in found.rows:
        assert row.similarity == pytest.approx(max(frontal[row.item_id], lateral[row.item_id]), abs=1e-8)
    assert {row.item_id for row in found.rows[:2]} == {"5_Frontal", "5_Lateral"}


def test_texts_find_texts_by_section(root: Path) -> None:
    found = similar(root, text="Opacity number 3. Abnormal.", limit=500)
    slow = slow_cosines(
        root, "small", "tiny_text", "findings+impression", vector_of(root, "3", "tiny_text", "findings+impression")
    )
    assert {row.item_id: row.similarity for row in found.rows} == pytest.approx(slow, abs=1e-8)
    assert (found.rows[0].item_id, found.rows[0].similarity) == ("3", 1.0)
    by_id = similar(root, "3", model="tiny_text", limit=500)
    assert [row.item_id for row in by_id.rows] == [row.item_id for row in found.rows]
    film = similar(root, "3_Lateral", model="tiny_text", limit=1).rows[0]
    assert film.item_id == "3"  # the text of its study
    impressions = similar(root, text="Normal.", section="impression", limit=500)
    assert {row.study_id for row in impressions.rows if row.similarity == 1.0} == {
        str(study) for study in range(STUDIES) if study % 3
    }
    assert similar(root, text="A", limit=1).heading().startswith("the 1 texts nearest to text 'A', of 12 in tiny_text")


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("view = 'Lateral' and dataset = 'small'", {f"{study}_Lateral" for study in range(STUDIES)}),
        ("dataset = 'small' and reports['findings'] is null", {"1_Frontal", "1_Lateral"}),
        (
            "labels['normal_abnormal']['abnormal'] = 1 and view = 'Frontal' and dataset = 'small'",
            {f"{study}_Frontal" for study in range(0, STUDIES, 3)},
        ),
        ("width > 1000", set()),
        ("null", set()),
    ],
)
def test_a_condition_keeps_what_it_holds_for(condition: str, kept: set[str], root: Path) -> None:
    found = similar(root, "3_Frontal", where=condition, limit=500)
    assert {row.item_id for row in found.rows} == kept
    assert found.searched == len(kept)


@pytest.mark.parametrize(
    "condition",
    [
        "veiw = 'PA'",
        "view",  # text, which is no condition
        "1 = 1) from known; drop table studies; select (1",
        "(select count(*) from read_csv('/etc/passwd')) > 0",
        "true from known union all select '3_Frontal', true from known where (true",
    ],
)
def test_a_wrong_condition_is_an_error_and_reads_nothing_else(condition: str, root: Path) -> None:
    with pytest.raises(package.CxrembError) as caught:
        similar(root, "3_Frontal", where=condition)
    reads = "SQL reads the tables, and files under" if "passwd" in condition else "view = 'PA'"
    assert reads in caught.value.hint


def test_a_wrong_condition_is_said_before_anything_is_encoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxremb.similarity.find.query_of", lambda *given, **more: pytest.fail("it was encoded"))
    with pytest.raises(package.CxrembError) as caught:
        similar(root, "3_Frontal", where="geschlecht = 'W'")
    assert "Candidate" not in str(caught.value)
    assert "a row has image_id, study_id" in caught.value.hint


def test_other_patients_are_all_but_those_who_hang_together(root: Path) -> None:
    """Patients 0 and 11 share a film; whose bytes are also those of patient 2 of the other data set."""
    found = similar(root, "0_Frontal", other_patients=True, limit=500)
    everyone = {("small", str(n)) for n in range(STUDIES)} | {("other", str(n)) for n in range(4)}
    lateral = {("other", "3"), ("other", "0")}  # 3_Lateral repeats 0_Frontal there, which has the bytes too
    assert {(row.dataset, row.patient_id) for row in found.rows} == everyone - {
        ("small", "0"),
        ("small", "11"),
        ("other", "2"),
        *lateral,
    }
    texts = similar(root, "0", model="tiny_text", other_patients=True, limit=500)
    assert {row.patient_id for row in texts.rows} == {str(n) for n in range(1, STUDIES - 1)}
    assert not found.notes


def test_who_is_nobody_leaves_nobody_out(root: Path, tmp_path: Path) -> None:
    found = similar(root, save_film(tmp_path / "new.png", 99), other_patients=True, limit=500)
    assert len(found.rows) == found.searched == 32
    assert "left nobody out" in found.notes[0]


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Sixty studies of films and texts whose vectors go together, aligned; and real encoders behind them."""
    here = tmp_path_factory.mktemp("aligned")
    root = here / "stores"
    dataset = add_collection(collection(here / "films", 60), root).dataset
    embed("tiny", root=root)
    embed("tiny_text", root=root)
    from cxremb.alignment.align import align
    from cxremb.alignment.project import AlignOptions
    from cxremb.splits import choose_split

    align(dataset, choose_split(dataset, None, "holdout"), options=AlignOptions(dim=8, epochs=5))
    return open_dataset(root)


def test_films_find_texts_in_one_space(aligned: Dataset) -> None:
    root = aligned.paths.root
    image, text = (next(one for one in list_stores(aligned) if one.encoder == f"align_{m}") for m in ("image", "text"))
    assert partner(aligned, image) == text
    assert partner(aligned, text) == image
    ids, vectors = text.vectors("findings+impression")
    own = image.matrix(["7_Frontal"])[0].astype(float)
    slow = {
        item: float(own @ one / np.linalg.norm(own) / np.linalg.norm(one))
        for item, one in zip(ids, vectors.astype(float), strict=True)
    }
    found = package.similar("7_Frontal", to="text", limit=500, root=root)
    assert {row.item_id: row.similarity for row in found.rows} == pytest.approx(slow, abs=1e-8)
    assert found.to == "text"
    back = package.similar(text="Opacity number 9. Abnormal.", to="image", limit=500, root=root)
    known = package.similar("9", model=text.name, to="image", limit=500, root=root)
    assert [row.similarity for row in back.rows] == [row.similarity for row in known.rows]  # the text of study 9


def test_a_new_film_goes_through_the_projection(aligned: Dataset, tmp_path: Path) -> None:
    copy = save_film(tmp_path / "copy.png", 14)  # 7_Frontal
    for model in ("align_image", None):
        found = package.similar(copy, to="text", model=model, limit=500, root=aligned.paths.root)
        known = package.similar("7_Frontal", to="text", limit=500, root=aligned.paths.root)
        assert [row.similarity for row in found.rows] == [row.similarity for row in known.rows]


def test_a_projection_that_was_changed_is_refused(aligned: Dataset, tmp_path: Path) -> None:
    store = next(one for one in list_stores(aligned) if one.encoder == "align_image")
    assert source_of(aligned, store).encoder == "tiny"
    path = store.folder / "projection.safetensors"
    kept = path.read_bytes()
    path.write_bytes(kept[:-4] + b"\0\0\0\0")
    try:
        with pytest.raises(package.CxrembError, match="not the projection that made align_image"):
            package.similar(save_film(tmp_path / "x.png", 5), model="align_image", root=aligned.paths.root)
        path.unlink()
        with pytest.raises(package.CxrembError, match="cannot be read"):
            read_projection(store)
    finally:
        path.write_bytes(kept)


def test_what_cannot_be_found(root: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(save_film(tmp_path / "whole.png", 1).read_bytes()[:200])
    words = tmp_path / "words.png"
    words.write_text("no film")
    for asked, message in (
        (damaged, "damaged.png"),
        (words, "words.png: not a readable image"),
        (tmp_path, "not a file"),
        ("3_Frontl", "no film or study of small, and no file"),
    ):
        with pytest.raises(package.CxrembError, match=message):
            similar(root, asked)
    with pytest.raises(package.CxrembError) as caught:
        similar(root, "3_Frontl")
    assert "did you mean 3_Frontal" in caught.value.hint


@pytest.mark.parametrize(
    ("call", "message", "hint"),
    [
        ({}, "nothing to compare with", "--text"),
        ({"query": "3", "text": "x"}, "or two things", ""),
        ({"query": "3", "dataset": None}, "an id of several data sets: other, small", "--dataset"),
        ({"query": "3", "to": "report"}, "of kind 'report'", "--to image"),
        ({"query": "3", "limit": 0}, "the nearest 0", ""),
        ({"query": "3", "to": "text"}, "no two stores that were aligned", "cxremb align"),
        ({"query": "3_Frontal", "model": "tiny", "to": "text"}, "is not of two that were aligned", "cxremb align"),
        ({"text": "x", "model": "tiny"}, "tiny reads no texts", "--model"),
        ({"text": "x", "dataset": "other"}, "other has no store of texts", "cxremb embed --model"),
        ({"text": "x", "section": "findngs"}, "no text called 'findngs'; it has indication", ""),
        ({"text": " "}, "the text is empty", ""),
        ({"text": "long " * 100_000}, "500,000 letters, which is no report", ""),
        ({"query": "1", "model": "tiny_text", "section": "findings"}, "no vector of a findings text of 1", "refresh"),
    ],
)
def test_errors_say_what_to_do(call: dict[str, Any], message: str, hint: str, root: Path) -> None:
    with pytest.raises(package.CxrembError, match=message) as caught:
        package.similar(**{"dataset": "small", **call}, root=root)
    assert hint in caught.value.hint


def test_an_encoder_that_is_another_by_now_is_refused_for_new_films_alone(tmp_path: Path) -> None:
    """A planted store says that efficientnet_b1 made it, with weights that nobody has."""
    dataset = plant(tmp_path / "root", Planted(studies=30, image=1.0), modalities=("image",))
    assert len(package.similar("s00001-frontal", root=dataset.paths.root).rows) == 10
    with pytest.raises(package.CxrembError, match="does not say how it was asked for") as caught:
        package.similar(save_film(tmp_path / "x.png", 5), root=dataset.paths.root)
    assert "cxremb embed --model efficientnet_b1" in caught.value.hint


def test_other_weights_are_refused_with_the_command(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the weights on this machine were others than those the store was made with."""
    from cxremb.encoders import tiny

    whole = tiny.fixed_projection
    monkeypatch.setattr(tiny, "fixed_projection", lambda rows, dim: whole(rows, dim) * np.float32(2))
    with pytest.raises(package.CxrembError, match="differs in weights sha256") as caught:
        similar(root, save_film(tmp_path / "x.png", 5))
    assert "cxremb embed --model tiny" in caught.value.hint
    assert similar(root, "3_Frontal").rows[0].similarity == 1.0  # of what is stored nothing is computed anew


def test_edited_texts_are_read_as_the_store_read_them(tmp_path: Path) -> None:
    dataset = add_collection(reports(40), tmp_path / "root").dataset
    from cxremb.encoders.base import What

    embed(What("tiny_text", xxxx="drop"), root=tmp_path / "root")
    (store,) = list_stores(dataset)
    study, text = next(
        (row["study_id"], row["text"])
        for row in dataset.reports.to_pylist()
        if row["section"] == "findings" and "XXXX" in row["text"]
    )
    found = package.similar(text=text, model=store.name, section="findings", root=tmp_path / "root")
    assert found.rows[0].similarity == 1.0
    assert study in {row.study_id for row in found.rows if row.similarity == 1.0}


def test_the_command_prints_what_python_gives(
    root: Path, cxremb: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("similar", "3_Frontal", "--dataset", "small", "--limit", 5, "--root", root)
    found = similar(root, "3_Frontal", limit=5)
    said = json.loads(cxremb(*words, "--format", "json").out)
    assert said["rows"] == found.to_arrow().to_pylist()
    lines = cxremb(*words, "--format", "csv").out.splitlines()
    assert lines[0] == "rank,similarity,item_id,study_id,patient_id,labels,dataset"
    assert lines[1] == "1,1.0,3_Frontal,3,3,abnormal 1,small"
    monkeypatch.setenv("COLUMNS", "80")
    table = cxremb(*words).out
    assert max(map(len, table.splitlines())) <= 80
    assert "1.0000" in table
    refused = cxremb("similar", "nobody", "--dataset", "small", "--root", root)
    assert refused.code == 1
    assert f"--root {root}" in refused.err
