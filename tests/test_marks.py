"""XXXX and ___ in reports: what is left of a text without them, which store is read when, and what they give away."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Result

from cxremb.ablation import Trial, ablate
from cxremb.ablation.guesses import texts_of
from cxremb.alignment.project import Projection
from cxremb.alignment.publish import Derived
from cxremb.catalog import add_collection
from cxremb.datasets.iu_xray import read
from cxremb.embedding.asked import newest_of_each
from cxremb.embedding.choose import check_text, choose_stores, edited_store
from cxremb.embedding.encode import NO_WORD
from cxremb.embedding.jobfile import read_job
from cxremb.embedding.plan import wanted_items
from cxremb.embedding.start import run
from cxremb.encoders.base import What, load_encoder
from cxremb.encoders.machine import choose_machine
from cxremb.errors import DataError, EncoderError, StoreError
from cxremb.features import Inputs, load_features
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store, list_stores, open_store
from cxremb.store.sql import query
from cxremb.store.texts import MARK, edited, way_of
from cxremb.types import Collection, LabelSet, Study

HERE = choose_machine(["cpu"])
KEPT = "29508ae75802dd7864211fdfa7cbd72022c721d78e62bd5dc162e1b785804e76"  # of tiny_text before there was a choice
LABELS = [LabelSet("ill", "binary", "1: ill", ("ill",))]


@pytest.mark.parametrize(
    ("text", "dropped", "masked"),
    [
        ("Clear lungs.", "Clear lungs.", "Clear lungs."),
        ("Two  spaces , and no mark..", "Two  spaces , and no mark..", "Two  spaces , and no mark.."),
        ("The XXXX are intact.", "The are intact.", "The [MASK] are intact."),
        ("XXXX-year-old male, XXXX.", "year-old male.", "[MASK]-year-old male, [MASK]."),
        ("Compared to XXXX, XXXX. Clear.", "Compared to. Clear.", "Compared to [MASK], [MASK]. Clear."),
        ("Normal. XXXX. Clear.", "Normal. Clear.", "Normal. [MASK]. Clear."),
        ("Seen XXXX; stable", "Seen; stable", "Seen [MASK]; stable"),
        ("Nodule XXXX? XXXX: no", "Nodule? no", "Nodule [MASK]? [MASK]: no"),
        ("Chest x-XXXX. 53XXXX male", "Chest x. 53 male", "Chest x-[MASK]. 53[MASK] male"),
        ("XXXX's mid-XXXX-lobe, XXXX/XXXX", "mid lobe", "[MASK]'s mid-[MASK]-lobe, [MASK]/[MASK]"),
        ("Dr. XXXX (XXXX) called.", "Dr. called.", "Dr. [MASK] ([MASK]) called."),
        ("Film (XXXX, PA) and (AP, XXXX).", "Film (PA) and (AP).", "Film ([MASK], PA) and (AP, [MASK])."),
        ("___M with cough, dated ___.", "M with cough, dated.", "[MASK]M with cough, dated [MASK]."),
        ("COMPARISON: ___\n\n  ___.\nClear __ XXX", "COMPARISON. Clear __ XXX",
         "COMPARISON: [MASK]\n\n  [MASK].\nClear __ XXX"),
        ("lungs clear, XXXX", "lungs clear", "lungs clear, [MASK]"),
        ("XXXX", "", "[MASK]"),
        (" (XXXX) - XXXX, ____. ", "", " ([MASK]) - [MASK], [MASK]. "),
    ],
)  # fmt: skip
def test_texts_without_their_marks(text: str, dropped: str, masked: str) -> None:
    assert edited(text, "keep") == text
    assert edited(text, "drop") == dropped
    assert edited(text, "mask") == masked


def test_texts_as_they_are_written_keep_their_keys() -> None:
    plain, kept = load_encoder(What("tiny_text")), load_encoder(What("tiny_text", xxxx="keep"))
    assert plain.recipe == kept.recipe
    assert plain.recipe.key == KEPT
    assert load_encoder(What("minilm")).recipe.key == "34d26965be5ffad905a68a7fd552d7bcdf50713d416d33b5670e05c51a096dce"
    dropped = load_encoder(What("tiny_text", xxxx="drop")).recipe
    assert dropped.input["xxxx"] == {"way": "drop", "rules": 1}
    assert replace(dropped, input=plain.recipe.input) == plain.recipe
    assert dropped.key != KEPT


def test_an_encoder_reads_what_is_left() -> None:
    plain, dropped, masked = (load_encoder(What("minilm", xxxx=way)) for way in ("keep", "drop", "mask"))
    assert masked.recipe.input["xxxx"] == {"way": "mask", "rules": 1, "token": "[MASK]"}
    assert len({one.recipe.key for one in (plain, dropped, masked)}) == 3
    texts = ["XXXX-year-old with XXXX.", "Clear lungs."]
    for encoder, left in ((dropped, "year-old with."), (masked, "[MASK]-year-old with [MASK].")):
        wanted = plain.encode([left, texts[1]])
        for pooling, vectors in encoder.encode(texts).items():
            np.testing.assert_array_equal(vectors, wanted[pooling])
        assert encoder.lengths(texts) == plain.lengths([left, texts[1]])
    assert plain.tokeniser("[MASK]")["input_ids"][1:-1] == [plain.tokeniser.mask_token_id]
    assert dropped.lengths(["XXXX.", texts[1], " "]) == [0, *plain.lengths([texts[1], " "])]
    assert dropped.lengths(["XXXX."]) == [0]


@pytest.mark.parametrize(
    ("model", "xxxx", "says", "hint"),
    [
        ("tiny_text", "mask", "tiny_text has no mask token", "--xxxx drop"),
        ("tiny", "drop", "tiny reads no texts", "leave --xxxx out"),
        ("tiny_text", "blur", "unknown xxxx 'blur'", "keep, drop, mask"),
    ],
)
def test_what_cannot_be_done_with_marks(model: str, xxxx: str, says: str, hint: str) -> None:
    with pytest.raises(EncoderError, match=says) as caught:
        load_encoder(What(model, xxxx=xxxx))
    assert hint in caught.value.hint


def reports(n: int = 200, seed: int = 0) -> Collection:
    """n studies whose words say nothing; only how often XXXX stands among them tells who is ill."""
    rng = np.random.default_rng(seed)
    words = ["clear", "lungs", "heart", "size", "normal", "film", "chest", "bones"]
    studies = []
    for number in range(n):
        ill = number % 2
        said = [*rng.choice(words, 8), *["XXXX"] * (rng.integers(3, 6) if ill else rng.integers(0, 2))]
        texts = {"findings": " ".join(rng.permutation(said)) + f" {number}.", "comparison": "XXXX." if ill else "None."}
        studies.append(Study(f"s{number:03}", f"s{number:03}", texts, labels={"ill": {"ill": float(ill)}}))
    return Collection("marked", studies, [], "none", "none", {}, label_sets=LABELS)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """`reports` with a store as written, and a newer one without the marks."""
    dataset = add_collection(reports(), tmp_path_factory.mktemp("marked")).dataset
    for xxxx in ("keep", "drop"):
        run(dataset, What("tiny_text", xxxx=xxxx), HERE)
    return dataset


def test_only_the_marks_tell_and_only_their_arm_knows(marked: Dataset) -> None:
    arms = ["text", "text[xxxx=drop]"]
    found = ablate(marked, arms, Inputs("ill", text="findings"), trial=Trial(reference="text", controls=False))
    kept, dropped = found.rows
    assert [row.arm for row in found.rows] == arms
    assert kept.auroc.low > 0.95
    assert dropped.auroc.low < 0.5 < dropped.auroc.high
    assert dropped.difference.high < -0.3
    stores = {store.xxxx: store for store in list_stores(marked)}
    assert found.stores == {"text": f"{stores['keep'].name} v1"}
    assert found.notes == (f"text[xxxx=drop] reads {stores['drop'].name} v1 xxxx=drop; pooling text mean",)
    assert query(marked.paths.root, "select arm, stores from runs order by arm").to_pylist() == [
        {"arm": "text", "stores": [f"{stores['keep'].name} v1"]},
        {"arm": "text[xxxx=drop]", "stores": [f"{stores['drop'].name} v1 xxxx=drop"]},
    ]


def test_controls_read_the_text_of_the_reference(marked: Dataset) -> None:
    arms, inputs = ["text[xxxx=drop]", "text"], Inputs("ill", text="findings")
    as_written, without = (
        ablate(marked, arms, inputs, trial=Trial(reference=arm)) for arm in ("text", "text[xxxx=drop]")
    )
    for found, best in ((as_written, (0.95, 1)), (without, (0.3, 0.6))):
        auroc = {control.name: control.row.auroc.value for control in found.controls if control.row}
        for name in ("tf-idf", "length"):
            assert best[0] <= auroc[name] <= best[1], (name, auroc[name])
    beaten = [said.split(" beats ")[1].split(":")[0].split(", ") for said in without.verdicts if " beats " in said]
    assert not any("text" in arms or "all arms" in arms for arms in beaten)
    dropped = load_features(marked, ("text",), Inputs("ill", text_model=edited_name(marked), text="findings"))
    assert dropped.xxxx == "drop"
    assert not any("XXXX" in text for text in texts_of(marked, dropped))


def edited_name(dataset: Dataset) -> str:
    return next(store.name for store in list_stores(dataset) if store.xxxx == "drop")


def test_nothing_reads_edited_texts_unasked(marked: Dataset, cxremb: Callable[..., Result]) -> None:
    root, dropped = marked.paths.root, edited_name(marked)
    kept = open_store(marked, "tiny_text")
    assert list_stores(marked)[0].name == dropped  # the newest
    assert (kept.xxxx, kept.manifest.key) == ("keep", KEPT)
    assert Store.open(root, "tiny_text") == kept
    assert choose_stores(marked, ("text",), {"text": None}) == ({"text": kept}, [])
    assert edited_store(marked, None, "drop").name == edited_store(marked, dropped, "drop").name == dropped
    assert {store.xxxx for store in newest_of_each(list_stores(marked))} == {"keep", "drop"}
    words = ("--label-set", "ill", "--text", "findings", "--epochs", "2", "--root", root)
    assert "xxxx" not in cxremb("train", "text", *words).out
    assert f"{dropped} v1 xxxx=drop" in " ".join(cxremb("train", "text", "--text-model", dropped, *words).out.split())
    near = "select distinct store from nearest('tiny_text{}', 's001', of := 'findings')"
    assert query(root, near.format("")).to_pylist() == [{"store": kept.name}]
    assert query(root, near.format("_drop")).to_pylist() == [{"store": dropped}]


def test_a_twin_that_is_not_there(marked: Dataset, cxremb: Callable[..., Result]) -> None:
    asked = ("ablate", "--arms", "text[xxxx=mask]", "--label-set", "ill", "--text", "findings")
    result = cxremb(*asked, "--root", marked.paths.root)
    assert result.code == 1
    assert f"no store like {open_store(marked, 'tiny_text').name} of texts with xxxx=mask" in result.err
    assert "run `cxremb embed --model tiny_text --xxxx mask --root" in " ".join(result.err.split())


def test_a_store_of_edited_texts_alone_is_named_in_full(tmp_path: Path, cxremb: Callable[..., Result]) -> None:
    dataset = add_collection(reports(40), tmp_path).dataset
    assert cxremb("embed", "--model", "tiny_text", "--xxxx", "drop", "--root", tmp_path).code == 0
    name = edited_name(dataset)
    for words in (("train", "text"), ("train", "text", "--text-model", "tiny_text")):
        result = cxremb(*words, "--label-set", "ill", "--root", tmp_path)
        assert result.code == 1
        told = " ".join(result.err.split())
        assert f"{name} v1 xxxx=drop" in told
        assert "or read one that is there: --text-model tiny_text@" in told
    assert load_features(dataset, ("text",), Inputs("ill", text_model=name, text="findings")).xxxx == "drop"
    with pytest.raises(StoreError, match="holds no text called 'comparisons'"):
        check_text(dataset, open_store(dataset, name), "comparisons")


def test_a_text_of_nothing_but_marks_is_counted_and_has_no_vector(
    tmp_path: Path, cxremb: Callable[..., Result]
) -> None:
    whole = reports(40)
    dataset = add_collection(whole, tmp_path).dataset
    told = json.loads(
        cxremb("embed", "--model", "tiny_text", "--xxxx", "drop", "--format", "json", "--root", tmp_path).out
    )
    # of 40 studies with findings, comparison, findings+impression and pre-read, 20 have no comparison, so no pre-read
    assert (told["asked"], told["added"], told["failed"], told["xxxx"]) == (160, 120, 40, "drop")
    store = open_store(dataset, edited_name(dataset))
    failures = pq.read_table(store.failure_path).to_pylist()
    assert {row["item_id"] for row in failures} == {f"s{number:03}" for number in range(1, 40, 2)}
    assert {(row["section"], row["stage"], row["message"]) for row in failures} == {
        (section, "text", NO_WORD) for section in ("comparison", "pre-read")
    }
    inputs = Inputs("ill", text_model=store.name, text="findings")
    assert load_features(dataset, ("text",), inputs).left_out == {}
    with_comparison = load_features(dataset, ("text",), replace(inputs, text="comparison"))
    assert (len(with_comparison.y), with_comparison.left_out) == (20, {"no comparison text": 20})
    stale = "select xxxx, failed, stale from stores"
    assert query(tmp_path, stale).to_pylist() == [{"xxxx": "drop", "failed": 40, "stale": False}]
    again = cxremb("refresh", "--root", tmp_path).out
    assert "nothing to do" in again
    assert f"{NO_WORD} (40 of them)" in " ".join(again.split())
    assert "texts with xxxx=drop" in " ".join(again.split())

    mended = [
        replace(whole.studies[1], sections={"findings": "Clear.", "comparison": "Older XXXX."}),
        *whole.studies[2:],
    ]
    dataset = add_collection(replace(whole, studies=[whole.studies[0], *mended]), tmp_path).dataset
    assert query(tmp_path, stale).to_pylist() == [{"xxxx": "drop", "failed": 40, "stale": True}]
    told = json.loads(cxremb("refresh", "--model", store.name, "--format", "json", "--root", tmp_path).out)
    # findings, findings+impression, comparison and pre-read of one study
    assert (told["asked"], told["reused"], told["added"], told["failed"]) == (160, 118, 4, 38)
    assert [one.version for one in list_stores(dataset)] == [2]
    vectors = dict(zip(*open_store(dataset, store.name).vectors("comparison"), strict=True))
    older = load_encoder(What("tiny_text")).encode(["Older."])["mean"][0]
    np.testing.assert_array_equal(vectors["s001"], older.astype(np.float16).astype(np.float32))


def test_real_reports_lose_what_the_docs_say(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "iu_xray"
    whole = read(
        images=source / "images", reports=source / "indiana_reports.csv", projections=source / "indiana_projections.csv"
    )
    items = wanted_items(add_collection(whole, tmp_path).dataset, "text")
    read_as = {item.key: edited(item.source, "drop") for item in items}
    assert not any(MARK.search(text) for text in read_as.values())
    emptied = Counter(section for (_, section), text in read_as.items() if not text)
    assert emptied == {"comparison": 790, "indication": 200, "pre-read": 98}  # as docs/embedding.md has it
    untouched = sum(read_as[item.key] == item.source for item in items)
    assert untouched == sum("XXXX" not in item.source for item in items)


def test_stores_say_what_became_of_the_marks(marked: Dataset, cxremb: Callable[..., Result]) -> None:
    root = marked.paths.root
    listed = json.loads(cxremb("store", "ls", "--format", "json", "--root", root).out)
    assert {row["store"]: row["xxxx"] for row in listed} == {
        store.name: store.manifest.recipe.input.get("xxxx", {"way": "keep"})["way"] for store in list_stores(marked)
    }
    assert cxremb("store", "ls", "--root", root).out.count("xxxx=drop") == 1
    assert '"xxxx": {"way": "drop", "rules": 1}' in cxremb("store", "show", edited_name(marked), "--root", root).out


def test_a_job_file_says_it(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text("[[encode]]\nmodel = 'minilm'\nxxxx = 'mask'\n")
    assert read_job(path)[1] == [What("minilm", xxxx="mask")]
    path.write_text("[[encode]]\nmodel = 'minilm'\nxxxx = 'blur'\n")
    with pytest.raises(DataError, match="xxxx = 'blur'"):
        read_job(path)


def test_a_projection_of_edited_texts_is_one_too(marked: Dataset) -> None:
    projection = Projection(np.zeros(32), np.ones(32), np.eye(32, 4))
    for store in list_stores(marked):
        assert way_of(Derived(store, projection, "align", {"projected_from": {}}).recipe.input) == store.xxxx
