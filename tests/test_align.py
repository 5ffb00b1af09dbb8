"""Films and reports in one space: against the best that can be, chance, and rankings made the slow way."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import write_store
from safetensors.numpy import load_file
from written import write_dataset

from cxremb.alignment.align import Aligned, align
from cxremb.alignment.pairs import load_pairs
from cxremb.alignment.project import AlignOptions, PairVectors, fit
from cxremb.alignment.retrieval import retrieval
from cxremb.embedding.asked import newest_of_each
from cxremb.encoders.weights import suggested
from cxremb.errors import TrainError
from cxremb.features import Inputs, load_features
from cxremb.splits import LEAKY, StoredSplit, choose_split, fold_parts
from cxremb.store.check import check_store
from cxremb.store.clean import collect
from cxremb.store.dataset import Dataset, open_dataset
from cxremb.store.files import replace_table, sha256_of
from cxremb.store.layout import IMAGES, LABEL_SOURCE, LABELS, REPORTS, STUDIES, DatasetPaths
from cxremb.store.reader import list_stores, open_store
from cxremb.store.sql import query
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.presets import find_preset

QUICK = AlignOptions(dim=16, epochs=60, learning_rate=5e-3)
LATENT, IMAGE_DIM, TEXT_DIM = 12, 24, 20
TEXTS = "findings+impression"


def said(number: int, shared: int) -> str:
    """The text of a study; the first `shared` say the same, in other letters and punctuation."""
    if number < shared:
        return ("Clear lungs. No effusion.", "clear lungs; no effusion", "CLEAR LUNGS - no effusion!")[number % 3]
    return f"Opacity number {number}."


def two_sides(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 24) and (n, 20): a shared latent of 12 dimensions, mixed, plus noise; columns of unlike scale."""
    random = np.random.default_rng(seed)
    z = random.standard_normal((n, LATENT))
    sides = []
    for dim in (IMAGE_DIM, TEXT_DIM):
        mix = np.linalg.qr(np.random.default_rng(dim).standard_normal((dim, LATENT)))[0]
        sides.append((z @ mix.T + noise * random.standard_normal((n, dim))) * np.linspace(0.5, 4, dim) + 3)
    return sides[0], sides[1]


def build(root: Path, n: int = 600, noise: float = 0.2, shared: int = 0, related: bool = True) -> Dataset:
    """n studies in pairs of one patient, every fourth with two films, and a store for each side."""
    studies = [{"study_id": f"s{i:04d}", "patient_id": f"p{i // 2:04d}"} for i in range(n)]
    film = {"path": "x.png", "sha256": "0", "width": 1, "height": 1}
    images = [
        {**row, **film, "image_id": f"{row['study_id']}-{view}", "view": view}
        for i, row in enumerate(studies)
        for view in (["frontal", "lateral"] if i % 4 == 0 else ["frontal"])
    ]
    reports = [
        {"study_id": row["study_id"], "section": "findings", "role": LABEL_SOURCE, "text": said(i, shared)}
        for i, row in enumerate(studies)
    ]
    labels = [
        {"study_id": row["study_id"], "label_set": "normal_abnormal", "label": "abnormal", "value": float(i % 3 > 0)}
        for i, row in enumerate(studies)
    ]
    rows = {"studies": studies, "images": images, "reports": reports, "labels": labels}
    schemas = {"studies": STUDIES, "images": IMAGES, "reports": REPORTS, "labels": LABELS}
    tables = {name: pa.Table.from_pylist(rows[name], schema=schemas[name]) for name in rows}
    about = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": True}
    binary = {"task": "binary", "means": "planted", "labels": ["abnormal"], "policy": "", "version": "0"}
    about["label_sets"] = {"normal_abnormal": binary}
    dataset = write_dataset(DatasetPaths(root, "paired"), tables, about)
    x, t = two_sides(n, noise)
    if not related:
        t = two_sides(n, noise, seed=1)[1]
    place = [int(row["study_id"][1:]) for row in images]
    films = x[place] + 0.01 * np.random.default_rng(9).standard_normal((len(place), IMAGE_DIM))
    write_store(dataset, "efficientnet_b1", "image", [row["image_id"] for row in images], films)
    write_store(dataset, "biobert", "text", [row["study_id"] for row in studies], t)
    return dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build(tmp_path_factory.mktemp("align") / "root", shared=120)


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> StoredSplit:
    return choose_split(dataset, "normal_abnormal")


@pytest.fixture(scope="module")
def aligned(dataset: Dataset, split: StoredSplit) -> Aligned:
    return align(dataset, split, options=QUICK)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def best_recall(x: np.ndarray, t: np.ndarray, noise: float) -> float:
    """recall@1 of who knows how the vectors were made: candidates by p(text | film) / p(text), all Gaussian."""
    a, b = (np.linalg.qr(np.random.default_rng(d).standard_normal((d, LATENT)))[0] for d in (IMAGE_DIM, TEXT_DIM))
    x, t = ((side - 3) / np.linspace(0.5, 4, side.shape[1]) for side in (x, t))
    known = noise**2
    mean = x @ a / (1 + known) @ b.T  # E[text | film]: the latent shrinks by 1 / (1 + noise^2)
    given = np.linalg.inv(b @ b.T * known / (1 + known) + known * np.eye(TEXT_DIM))
    alone = np.linalg.inv(b @ b.T + known * np.eye(TEXT_DIM))
    off = t - mean[:, None]
    scores = ((t @ alone) * t).sum(axis=1) - ((off @ given) * off).sum(axis=2)
    return float(np.mean(scores.argmax(axis=1) == np.arange(len(x))))


@pytest.mark.parametrize("noise", [0.4, 0.6])
def test_a_planted_signal_is_found_nearly_as_well_as_can_be(noise: float) -> None:
    x, t = two_sides(3400, noise)
    numbers = np.arange(3400)
    vectors = PairVectors(x.astype(np.float32), t.astype(np.float32), numbers)
    fitted = fit(
        vectors, numbers[:2600], numbers[2600:3000], options=AlignOptions(dim=16, epochs=80, learning_rate=5e-3)
    )
    held = numbers[3000:]
    best = best_recall(x[held], t[held], noise)
    found, back = retrieval(fitted.image(x[held]), fitted.text(t[held]), held, patients=held.astype(str))
    assert 0.2 < best < 0.97  # else nearly anything would do
    assert found.figures["recall@1"].value > best - 0.08  # a cosine cannot use how long the vectors are
    assert back.figures["recall@1"].value > best - 0.08  # a cosine cannot use how long the vectors are
    assert found.figures["recall@1"].value < best + 0.03  # nobody is better than that, but for luck


def test_unrelated_sides_stay_at_chance(tmp_path: Path) -> None:
    dataset = build(tmp_path, related=False)
    found = align(dataset, choose_split(dataset, "normal_abnormal"), options=QUICK)
    for direction in found.retrieval:
        for name in ("recall@5", "recall@10", "median_rank"):
            figure = direction.figures[name]
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low <= figure.chance <= figure.high, (direction.name, name, figure)


def slow_rank(scores: np.ndarray, right: set[int], random: np.random.Generator) -> float:
    """The mean rank of the first right candidate over many orders of the ties."""
    ranks = []
    for _ in range(1500):
        dice = random.random(len(scores))
        order = sorted(range(len(scores)), key=lambda c: (-scores[c], dice[c]))
        ranks.append(1 + min(order.index(c) for c in right))
    return float(np.mean(ranks))


def test_ranks_as_the_slow_way_has_them_with_ties_and_equal_texts() -> None:
    random = np.random.default_rng(5)
    texts = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 6, 7])
    patients = np.array([f"p{i}" for i in range(12)])
    image = unit(random.integers(0, 3, (12, 3)) + 0.5)  # few directions, so many ties
    text = unit(random.integers(0, 3, (8, 3)) + 0.5)[texts]
    to_text, to_image = retrieval(image, text, texts, patients=patients)
    once = np.unique(texts, return_index=True)[1]
    films = [slow_rank(np.round(text[once] @ image[i], 5), {texts[i]}, random) for i in range(12)]
    by_text = [slow_rank(np.round(image @ text[once[k]], 5), set(np.flatnonzero(texts == k)), random) for k in range(8)]
    for direction, ranks in ((to_text, films), (to_image, by_text)):
        assert direction.figures["median_rank"].value == pytest.approx(np.median(ranks), abs=0.15)
        for depth in (1, 5):
            hits = np.array(ranks) <= depth + 0.08  # the mean of 1500 orders is that near
            assert direction.figures[f"recall@{depth}"].value == pytest.approx(np.mean(hits))
    assert (to_text.queries, to_text.candidates, to_image.queries, to_image.candidates) == (12, 8, 8, 12)


def test_equal_texts_are_no_errors_and_a_blind_encoder_gains_nothing() -> None:
    random = np.random.default_rng(0)
    texts = np.repeat(np.arange(20), 3)
    vectors = unit(random.standard_normal((20, 8)))[texts]  # films of equal texts are equal: nothing tells them apart
    patients = np.arange(60).astype(str)
    for direction in retrieval(vectors, vectors, texts, patients=patients):
        assert direction.figures["recall@1"].value == 1
        assert direction.figures["median_rank"].value == 1
    same = unit(np.ones((60, 8)))
    to_text, to_image = retrieval(same, same, texts, patients=patients)
    assert to_text.figures["median_rank"].value == 10.5  # the middle of 20, not the first
    assert to_image.figures["recall@1"].value == 0
    assert to_text.figures["recall@1"].chance == pytest.approx(1 / 20)


def test_chance_is_that_of_shuffled_orders() -> None:
    random = np.random.default_rng(3)
    texts = np.repeat(np.arange(9), [1, 1, 1, 2, 2, 3, 5, 8, 7])
    vectors = unit(random.standard_normal((30, 4)))
    _, direction = retrieval(vectors, vectors, texts, patients=np.arange(30).astype(str))
    firsts = []
    for _ in range(4000):
        order = random.permutation(texts)
        firsts.append([1 + int(np.argmax(order == text)) for text in range(9)])
    for depth in (1, 5, 10):
        expected = np.mean(np.array(firsts) <= depth)
        assert direction.figures[f"recall@{depth}"].chance == pytest.approx(expected, abs=0.01)
    assert direction.figures["median_rank"].chance == pytest.approx(np.median(firsts), abs=1)


def test_intervals_resample_patients_and_each_text_counts_once() -> None:
    random = np.random.default_rng(1)
    texts = np.concatenate([np.zeros(40, int), np.arange(1, 41)])
    image, text = unit(random.standard_normal((80, 6))), unit(random.standard_normal((80, 6)))
    text[:40] = text[0]
    apart = retrieval(image, text, texts, patients=np.arange(80).astype(str))
    together = retrieval(image, text, texts, patients=(np.arange(80) // 4).astype(str))
    for one, other in zip(apart, together, strict=True):
        for name, figure in one.figures.items():
            assert figure.value == pytest.approx(other.figures[name].value)
        assert {n: f.low for n, f in one.figures.items()} != {n: f.low for n, f in other.figures.items()}
    scores = image @ text[np.r_[0, 40:80]].T
    slow = [1 + min((scores[:, k] > scores[i, k]).sum() for i in np.flatnonzero(texts == k)) for k in range(41)]
    assert apart[1].figures["recall@10"].value == pytest.approx(np.mean(np.array(slow) <= 10))
    few = retrieval(image, text, texts, patients=(np.arange(80) // 10).astype(str))[0].figures["recall@1"]
    assert few.low is None
    assert "8 patients" in (few.reason or "")


def test_the_loss_shares_the_answer_among_equal_texts() -> None:
    import torch

    from cxremb.alignment.project import PairBatch, contrastive

    random = np.random.default_rng(2)
    x, t = (random.standard_normal((6, 3)).astype(np.float32) for _ in range(2))
    texts = np.array([0, 1, 0, 2, 2, 0])
    weights = {"image": torch.eye(3), "text": torch.eye(3), "log_scale": torch.tensor(1.5)}
    found = contrastive(PairBatch(torch.from_numpy(x), torch.from_numpy(t), torch.from_numpy(texts)), weights)
    logits = np.exp(1.5) * unit(x).astype(float) @ unit(t).astype(float).T
    total = 0.0
    for table in (logits, logits.T):
        for i in range(6):
            chances = np.exp(table[i]) / np.exp(table[i]).sum()
            same = [j for j in range(6) if texts[j] == texts[i]]
            total -= np.mean([np.log(chances[j]) for j in same])
    assert float(found) == pytest.approx(total / 12, rel=1e-5)


def test_stores_like_any_other(dataset: Dataset, split: StoredSplit, aligned: Aligned) -> None:
    for store, base in ((aligned.image, "efficientnet_b1"), (aligned.text, "biobert")):
        source = open_store(dataset, base)
        assert check_store(store.folder) == []
        assert store.rows == source.rows
        assert store.table(["item_id"]).equals(source.table(["item_id"]))
        path = store.folder / store.manifest.provenance["projection"]
        assert sha256_of(path) == store.manifest.recipe.weights_sha256
        tensors = load_file(path)
        raw = source.vectors("image" if base == "efficientnet_b1" else TEXTS)[1]
        by_hand = unit(((raw - tensors["mean"]) / tensors["scale"]).clip(-10, 10) @ tensors["weight"])
        np.testing.assert_allclose(
            store.vectors("image" if base == "efficientnet_b1" else TEXTS)[1], by_hand, atol=1e-3
        )
        collect(store.folder)
        assert path.exists()
        assert (store.folder / "patients.parquet").exists()
    root = dataset.paths.root
    near = query(root, "from nearest('align_image', 's0004-frontal', 1)").to_pylist()
    assert near[0]["item_id"] == "s0004-lateral"
    rows = query(root, "select store, dim, rows from stores where encoder like 'align%' order by 1").to_pylist()
    assert [(row["dim"], row["rows"]) for row in rows] == [(16, aligned.image.rows), (16, aligned.text.rows)]


RECALL = """
WITH here AS (SELECT study_id FROM splits WHERE part = 'test' AND fold = 0),
films AS (SELECT image_id, images.study_id, embedding
          FROM images JOIN align_image ON image_id = item_id SEMI JOIN here ON images.study_id = here.study_id),
texts AS (SELECT item_id, embedding FROM align_text SEMI JOIN here ON item_id = here.study_id)
SELECT image_id, any_value(study_id) AS study_id, arg_max(item_id, cosine(films.embedding, texts.embedding)) AS best
FROM films CROSS JOIN texts GROUP BY image_id
"""


def test_the_figures_can_be_had_again_in_sql(dataset: Dataset, aligned: Aligned, tmp_path: Path) -> None:
    other = build(tmp_path)  # where all texts differ, and the mean of equal ones is no matter
    found = align(other, choose_split(other, "normal_abnormal"), options=QUICK)
    rows = query(tmp_path, RECALL).to_pylist()
    hits = np.mean([row["study_id"] == row["best"] for row in rows])
    assert found.retrieval[0].figures["recall@1"].value == pytest.approx(hits, abs=1e-9)
    assert found.retrieval[0].queries == len(rows)
    assert hits > 0.5


def test_the_same_seed_gives_the_same_vectors_and_reuses_the_stores(
    dataset: Dataset, split: StoredSplit, aligned: Aligned, tmp_path: Path
) -> None:
    again = align(dataset, split, options=QUICK)
    assert again.reused
    assert (again.image.name, again.text.name) == (aligned.image.name, aligned.text.name)
    assert again.image.version == 1
    assert not aligned.reused
    twin = build(tmp_path, shared=120)
    there = align(twin, choose_split(twin, "normal_abnormal"), options=QUICK)
    assert there.image.name == aligned.image.name
    assert there.image.table().equals(aligned.image.table())
    other = align(twin, choose_split(twin, "normal_abnormal"), options=AlignOptions(dim=16, epochs=3, seed=1))
    assert other.image.name != aligned.image.name


def test_it_does_not_align_its_own_stores_unless_asked(dataset: Dataset, split: StoredSplit, aligned: Aligned) -> None:
    assert "efficientnet_b1@" in aligned.image.manifest.recipe.model
    again = align(dataset, split, options=QUICK)  # the newest image store is now its own
    assert "efficientnet_b1@" in again.image.manifest.recipe.model
    named = align(dataset, split, Inputs(image_model=aligned.image.name), options=AlignOptions(dim=8, epochs=1))
    assert aligned.image.name in named.image.manifest.recipe.model


def test_nothing_takes_a_projected_store_unasked(dataset: Dataset, aligned: Aligned) -> None:
    assert list_stores(dataset)[0].encoder.startswith("align_")
    assert load_features(dataset, ("image", "text")).stores["image"].startswith("efficientnet_b1@")
    assert {store.encoder for store in newest_of_each(list_stores(dataset))} == {"efficientnet_b1", "biobert"}


def test_whoever_was_trained_on_is_not_evaluated(dataset: Dataset, split: StoredSplit, aligned: Aligned) -> None:
    listed = set(pq.read_table(aligned.text.folder / "patients.parquet")["patient_id"].to_pylist())
    part = fold_parts(split.table, 0, 0)
    patient = dict(zip(*(dataset.studies[name].to_pylist() for name in ("study_id", "patient_id")), strict=True))
    assert listed == {patient[study] for study, name in part.items() if name == "train"}
    assert not listed & {patient[study] for study, name in part.items() if name != "train"}
    features = load_features(dataset, ("image",), Inputs(image_model=aligned.image.name))
    options = find_preset("default", "binary").options
    assert fit_run(
        FitJob(dataset, features, split, Plan("linear-image", "default", options, folds=(0,)))
    ).metrics.num_rows
    with pytest.raises(TrainError, match="align_image@") as caught:
        fit_run(FitJob(dataset, features, split, Plan("linear-image", "default", options, folds=(1,))))
    assert split.title in caught.value.hint
    with pytest.raises(TrainError, match="was fine-tuned on"):
        align(dataset, split, Inputs(image_model=aligned.image.name), fold=1, options=QUICK)


def test_caveats_and_leaks_are_told(dataset: Dataset, aligned: Aligned) -> None:
    assert aligned.caveats == ("simulated images",)
    assert open_store(dataset, aligned.image.name).manifest.provenance["caveats"] == ["simulated images"]
    leaky = choose_split(dataset, "normal_abnormal", "image-80-20", allow_leaky=True)
    found = align(dataset, leaky, options=AlignOptions(dim=8, epochs=2))
    assert found.caveats == ("simulated images", LEAKY)


def keep_reports(dataset: Dataset, kept: int) -> None:
    """Write the text store with the first `kept` vectors alone."""
    t = two_sides(kept, 0.2)[1]
    write_store(dataset, "newer", "text", [f"s{i:04d}" for i in range(kept)], t, created="2026-12-01T00:00:00+00:00")


def test_what_cannot_be_aligned(tmp_path: Path, cxremb: object) -> None:
    dataset = build(tmp_path)
    split = choose_split(dataset, "normal_abnormal")
    keep_reports(dataset, 20)
    with pytest.raises(TrainError, match=r"training pairs.*20 are the least.*no findings\+impression text"):
        align(dataset, split, options=QUICK)
    t = two_sides(600, 0.2)[1]
    t[3, 2] = np.nan
    ids = dataset.studies["study_id"].to_pylist()
    write_store(dataset, "broken", "text", ids, t, created="2026-12-02T00:00:00+00:00")
    with pytest.raises(TrainError, match=r"2 of .* vectors of broken@.* no number|1 of .* vectors of broken@"):
        align(dataset, split, options=QUICK)
    with pytest.raises(TrainError, match="epochs"):
        AlignOptions(epochs=0)
    call = ["align", "--root", tmp_path]
    result = cxremb(*call, "--text-model", "biobert", "--text", "pre-read")  # type: ignore[operator]
    assert (result.code, "no text called 'pre-read'" in result.err) == (1, True), result.err
    for path in dataset.paths.embeddings.iterdir():
        if not path.name.startswith("efficientnet"):
            path.rename(tmp_path / path.name)
    result = cxremb(*call)  # type: ignore[operator]
    assert result.code == 1
    assert "no text store yet" in result.err
    assert f"cxremb embed --model {suggested('text')}" in result.err


def test_the_same_text_everywhere_is_refused(tmp_path: Path) -> None:
    dataset = build(tmp_path, n=200, shared=200)
    with pytest.raises(TrainError, match="are the same"):
        align(dataset, choose_split(dataset, "normal_abnormal", "image-80-20", allow_leaky=True), options=QUICK)


def test_the_command(dataset: Dataset, aligned: Aligned, cxremb: object) -> None:
    call = ["align", "--root", dataset.paths.root, "--dim", "16", "--epochs", "5", "--image-model", "efficientnet_b1"]
    shown = cxremb(*call)  # type: ignore[operator]
    assert shown.code == 0, shown.err
    for words in ("image to text", "text to image", "recall@10", "  chance", "simulated images", "align_text@"):
        assert words in shown.out
    told = json.loads(cxremb(*call, "--format", "json").out)  # type: ignore[operator]
    assert told["reused"]
    assert [way["name"] for way in told["retrieval"]] == ["image to text", "text to image"]
    assert told["retrieval"][0]["figures"]["recall@1"]["chance"] == pytest.approx(
        1 / told["retrieval"][0]["candidates"]
    )
    stored = json.loads(
        (sorted(Path(open_store(dataset, told["stores"]["image"]).folder).glob("0*.json"))[-1]).read_text()
    )
    assert stored["provenance"]["retrieval"][0]["figures"] == told["retrieval"][0]["figures"]


def test_it_is_a_command_and_no_head(dataset: Dataset, cxremb: object) -> None:
    shown = cxremb("train", "align", "--root", dataset.paths.root, "--image-model", "efficientnet_b1")  # type: ignore[operator]
    assert shown.code == 1
    assert "no head called 'align'" in shown.err


def test_failures_of_the_source_are_carried_over(tmp_path: Path) -> None:
    from dataclasses import replace

    from cxremb.store.layout import FAILURES
    from cxremb.store.manifest import publish

    dataset = build(tmp_path)
    source = open_store(dataset, "efficientnet_b1")
    row = {"item_id": "gone", "study_id": "s0000", "section": "image", "path": "x", "stage": "decode", "message": "no"}
    replace_table(source.folder / "failures-x.parquet", pa.Table.from_pylist([row], schema=FAILURES))
    more = {"asked": source.manifest.asked + 1, "failed": 1, "failures": "failures-x.parquet"}
    publish(replace(source.manifest, version=2, **more), source.folder)
    store = align(dataset, choose_split(dataset, "normal_abnormal"), options=AlignOptions(dim=8, epochs=1)).image
    assert (store.manifest.asked, store.failed) == (more["asked"], 1)
    assert check_store(store.folder) == []
    assert query(tmp_path, "from failures").num_rows == 2


def test_vectors_of_texts_that_have_changed_since_are_said(
    dataset: Dataset, split: StoredSplit, tmp_path: Path
) -> None:
    assert not any("changed since" in note for note in load_pairs(dataset, split, Inputs()).notes)
    root = Path(shutil.copytree(dataset.paths.root, tmp_path / "root"))
    copy = open_dataset(root, dataset.name)
    reports = copy.reports.to_pylist()
    study = next(row["study_id"] for row in reports if row["section"] == "findings")
    for row in reports:
        row["text"] += " Seen again." if row["study_id"] == study else ""
    tables = {name: getattr(copy, name) for name in ("studies", "images", "labels")}
    about = {name: copy.descriptor[name] for name in ("licence", "citation", "simulated", "label_sets")}
    later = write_dataset(copy.paths, tables | {"reports": pa.Table.from_pylist(reports, copy.reports.schema)}, about)
    films = later.images["study_id"].to_pylist().count(study)
    pairs = load_pairs(later, split, Inputs())
    (said,) = (note for note in pairs.notes if "changed since" in note)
    assert said.startswith(f"{films} of {len(pairs.parts):,} rows read vectors of texts that have changed since: ")
