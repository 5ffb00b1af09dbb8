"""Controls do what their names say: shuffles leave nothing, look-ups are plain ones, and leaks are told in words."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from planted import Planted, plant, planted_tables, write_store
from predicted import within
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from test_audit_lookups import twenty
from written import write_dataset

from cxremb.ablation import ablate
from cxremb.ablation.compare import ArmResult
from cxremb.ablation.controls import CONTROLS, DRAWS, ControlResult, one_control, run_controls
from cxremb.ablation.trial import Trial
from cxremb.ablation.verdicts import limits, unread, verdicts
from cxremb.ablation.words import STRENGTHS, by_words
from cxremb.errors import TrainError
from cxremb.features import Features, Inputs, load_features
from cxremb.reporting.chosen import newest_ablation
from cxremb.reporting.subject import ablation_of
from cxremb.splits import choose_split, new_split
from cxremb.splits.spec import SplitSpec
from cxremb.store.dataset import Dataset
from cxremb.store.layout import FACTS, REPORTS, DatasetPaths
from cxremb.table import bare, span
from cxremb.training.bundle import load_bundle
from cxremb.training.data import Place
from cxremb.training.fit import FitJob, Plan, fit, rows_of
from cxremb.training.parts import parts_of_plan
from cxremb.training.presets import PRESETS
from cxremb.training.runs import list_runs, open_run
from cxremb.training.shuffles import draw_patients, draw_rows, exchanged, labels_drawn
from cxremb.types import unwatched


def control(results: list[ControlResult], name: str) -> ControlResult:
    return next(one for one in results if one.name == name)


def test_what_a_control_cannot_say_stands_below_the_table(tmp_path):
    dataset = plant(tmp_path, Planted(studies=200, text=1.0))
    lines = ablate(dataset, ["text"], trial=Trial(alone=True)).controls_in_words
    assert "patient is not testable here: no test patient is in train, so it has nothing to look up" in lines
    assert not any(line.startswith("metadata does not read") for line in lines)  # it reads all that there is


def test_metadata_names_the_facts_that_it_leaves_out(tmp_path):
    tables, _ = planted_tables(Planted(studies=200))
    images = tables["images"]
    place = images.schema.get_field_index("view")
    tables["images"] = images.set_column(place, images.schema.field(place), pa.nulls(len(images), pa.string()))
    values = [
        {"level": "study", "id": f"s{i:05d}", "name": name, "text": "7", "number": 7.0, "day": None}
        for i in range(200)
        for name in ("age", "crp")
    ]
    tables["facts"] = pa.Table.from_pylist(values, schema=FACTS)
    binary = {"task": "binary", "means": "planted", "labels": ["abnormal"], "policy": "", "version": "0"}
    about = {"simulated": True, "label_sets": {"normal_abnormal": binary}}
    dataset = write_dataset(DatasetPaths(tmp_path, "facts"), tables, about)
    X = np.random.default_rng(0).standard_normal((len(images), 6)).astype(np.float32)
    write_store(dataset, "efficientnet_b1", "image", images["image_id"].to_pylist(), X)
    lines = ablate(dataset, ["image"], trial=Trial(alone=True)).controls_in_words
    wanted = "metadata does not read the view (not known), nor the columns age, crp (`cxremb audit` does)"
    assert wanted in lines


PATIENT = "not testable here: no test patient is in train, so it has nothing to look up"


def made(results: list[ControlResult]) -> list[ControlResult]:
    """All but that of the patient, which a grouped split leaves nothing to look up."""
    alone = control(results, "patient")
    assert (alone.row, alone.reason) == (None, PATIENT)
    return [one for one in results if one is not alone]


def judged_rows(dataset: Dataset, result: ControlResult):
    """The test rows of a control's run, in a frame."""
    rows = open_run(result.row.run_id, dataset).prediction_rows.to_pandas()
    return rows[rows["part"] == "test"]


@pytest.fixture(scope="module")
def strong(tmp_path_factory) -> Dataset:
    """Texts tell the label, films do not."""
    return plant(tmp_path_factory.mktemp("strong"), Planted(studies=400, text=2.0, seed=1))


@pytest.fixture(scope="module")
def features(strong) -> Features:
    return load_features(strong, ["image", "text"])


@pytest.fixture(scope="module")
def results(strong, features) -> list[ControlResult]:
    return run_controls(strong, features, choose_split(strong, "normal_abnormal"))


@pytest.fixture(scope="module")
def arms(strong, features):
    plans = [Plan(arm) for arm in ("image", "text", "fusion")]
    return {
        run.arm: run
        for run in fit([FitJob(strong, features, choose_split(strong, "normal_abnormal"), plan) for plan in plans])
    }


def test_every_control_judges_the_rows_of_the_arms(strong, results, arms):
    rows = arms["fusion"].prediction_rows.to_pandas().query("part == 'test'")
    wanted = set(zip(rows["item_id"], rows["fold"], strict=True))
    assert [one.name for one in results] == [one.name for one in CONTROLS]
    for one in made(results):
        assert isinstance(one.row, ArmResult)
        assert one.row.arm == f"control:{one.name}"
        own = judged_rows(strong, one)
        assert set(zip(own["item_id"], own["fold"], strict=True)) == wanted
        assert (one.row.n, one.row.patients) == (len(wanted), 400)


def test_shuffled_labels_are_at_chance_though_a_single_draw_need_not_be(results):
    found = control(results, "label-shuffle")
    assert len(found.draws) == len(set(found.draws)) == DRAWS  # two for each of five folds
    auroc = found.row.auroc
    assert auroc.value == pytest.approx(np.mean(found.draws), abs=0.02)  # folds weigh by their pairs
    assert auroc.low < 0.5 < auroc.high
    assert auroc.high - auroc.low >= 2 * 2.262 * np.std(found.draws, ddof=1) / DRAWS**0.5 - 1e-3


def test_what_label_shuffle_could_have_shown_is_said(results):
    auroc = control(results, "label-shuffle").row.auroc
    (line,) = limits(results)
    assert line.startswith("label-shuffle finds a leak of labels into training if the leak alone gives an AUROC of ")
    least = float(line.split("an AUROC of ")[1].split(" ")[0])
    assert 0 <= least - (0.5 + auroc.value - auroc.low) < 0.01
    assert line.endswith(
        " or more; it does not find one film under two patients, or an answer that stands in the input"
    )
    assert not list(limits([control(results, "tf-idf")]))


def twice(folder, n: int = 150) -> Dataset:
    """Labels of noise; each film is filed twice, under two patients."""
    tables, _ = planted_tables(Planted(studies=2 * n))
    rng = np.random.default_rng(0)
    images, labels = tables["images"], tables["labels"]
    frontal = images.filter(pc.equal(images["view"], "frontal"))
    digests = pa.array([f"{number % n:064d}" for number in range(2 * n)])
    place = images.schema.get_field_index("sha256")
    tables["images"] = frontal.set_column(place, images.schema.field(place), digests)
    values = pa.array(np.tile(rng.integers(0, 2, n).astype(float), 2))
    place = labels.schema.get_field_index("value")
    tables["labels"] = labels.set_column(place, labels.schema.field(place), values)
    about = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": True}
    binary = {"task": "binary", "means": "planted", "labels": ["abnormal"], "policy": "", "version": "0"}
    dataset = write_dataset(DatasetPaths(folder, "twice"), tables, about | {"label_sets": {"normal_abnormal": binary}})
    vectors = np.tile(rng.standard_normal((n, 64)), (2, 1)).astype(np.float32)
    write_store(dataset, "efficientnet_b1", "image", frontal["image_id"].to_pylist(), vectors)
    return dataset


def test_films_under_two_patients_are_told_where_no_control_can(tmp_path):
    """The arm has learnt labels of noise by heart, and shuffled labels are at chance all the same."""
    dataset = twice(tmp_path)
    features = load_features(dataset, ["image"])
    split, plan = choose_split(dataset, "normal_abnormal"), Plan("image")
    [run] = fit([FitJob(dataset, features, split, plan)])
    parts = parts_of_plan(features, split, plan, blocks=())
    content = np.array([int(item[1:6]) % 150 for item in features.item_ids])
    met = max(np.isin(content[own == "test"], content[own == "train"]).sum() for own in parts.values())
    found = run_controls(dataset, features, split)
    assert run.metric("auroc")[0] > 0.75
    assert not control(found, "label-shuffle").row.auroc.low > 0.5
    said = verdicts({"image": run}, found)
    assert said[0].startswith(f"images that are in train byte for byte: test {met} of ")
    assert "can be remembered, which no control sees; remove one copy" in said[0]


def test_films_of_their_own_are_not_called_copies(results):
    assert {one.copies for one in results} == {""}


def test_of_several_labels_the_one_that_a_control_gives_away_is_named(tmp_path):
    dataset = twenty(tmp_path, 7)
    images = dataset.images["image_id"].to_pylist()
    noise = np.random.default_rng(0).standard_normal((len(images), 4)).astype(np.float32)
    write_store(dataset, "efficientnet_b1", "image", images, noise)
    features = load_features(dataset, ["image"], Inputs("many"))
    reference = FitJob(dataset, features, choose_split(dataset, "many"), Plan("image"))
    found = one_control(reference, next(one for one in CONTROLS if one.name == "metadata"), unwatched)
    assert found.row.auroc.value < 0.55  # the mean over the labels hides it
    assert (found.worst.label, found.worst.looked_at) == ("label7", 19)
    assert found.worst.auroc.value == pytest.approx(0.96, abs=0.04)
    (line,) = unread([found])
    assert "metadata (view, size, which sections are empty, by a small tree; AUROC .9" in line
    assert "of label7, the worst of 19 labels (corrected)" in line


def test_shuffles_say_in_which_precision_they_were_trained(strong, results, arms):
    for name in ("label-shuffle", "text-shuffle", "image-shuffle"):
        told = open_run(control(results, name).row.run_id, strong).record.precision
        assert told == arms["fusion"].record.precision


def test_a_shuffled_modality_leaves_the_other(results, arms):
    without_text, without_films = (control(results, name).row.auroc for name in ("text-shuffle", "image-shuffle"))
    assert abs(without_text.value - arms["image"].metric("auroc")[0]) < 0.1
    assert abs(without_films.value - arms["text"].metric("auroc")[0]) < 0.05


def test_a_second_call_trains_nothing(strong, features, results):
    before = len(list_runs(strong))
    again = run_controls(strong, features, choose_split(strong, "normal_abnormal"))
    assert len(list_runs(strong)) == before
    assert all(one.row.reused for one in made(again))
    assert [one.row.auroc for one in made(again)] == [one.row.auroc for one in made(results)]


def test_no_weights_are_kept_and_no_store_is_claimed(strong, results, arms):
    for one in made(results):
        run = open_run(one.row.run_id, strong)
        assert run.record.is_control
        assert not any(run.weights().values())
        assert bool(run.record.stores) == bool(one.shuffles)
        assert run.record.rows_from == arms["fusion"].record.rows_from
        assert "A control keeps no parameters" in (run.folder / "README.md").read_text()
        with pytest.raises(TrainError, match=f"is control:{one.name}: a control keeps its predictions and no model"):
            load_bundle(run.folder)
    assert set(arms["fusion"].record.rows_from) == {"image", "text"}
    assert not arms["fusion"].record.is_control
    told = open_run(control(results, "tf-idf").row.run_id, strong)
    assert any("label recovery" in caveat for caveat in told.caveats)
    assert not any("label recovery" in c for c in open_run(control(results, "majority").row.run_id, strong).caveats)


def test_films_that_the_fusion_does_without_are_told(results, arms):
    said = verdicts(arms, results)
    assert len(said) == 1
    assert said[0].startswith("fusion is not measurably worse with every image exchanged for another row's: AUROC")
    assert "]; nothing here shows" in said[0]


def test_a_reference_with_another_head_is_told_too(strong) -> None:
    """Its control is called by the head, the arm by the grammar: what is compared is what was trained alike."""
    reference, half = "fusion[head=late]", "fusion[head=late,train-fraction=0.5]"
    words = ["fusion", reference, half]
    found = ablate(strong, words, trial=Trial(reference=reference))
    said = [sentence for sentence in found.verdicts if "not measurably worse" in sentence]
    runs = {run.arm: run for run in reversed(list_runs(strong))}
    folder = control(found.controls, "image-shuffle").folder
    gap = open_run(Path(folder).name, strong).predictions().difference(runs[reference].predictions(), ("auroc",))
    assert gap["auroc"].high >= 0
    assert [sentence.partition("; ")[0] for sentence in said] == [
        f"{reference} is not measurably worse with every image exchanged for another row's: AUROC "
        f"{span(gap['auroc'].value, gap['auroc'].low, gap['auroc'].high, sign='+')}"
    ]
    assert [one for one in ablation_of(newest_ablation([strong])).verdicts if one in said] == said  # the report's
    of_half = ablate(strong, [half], trial=Trial(reference=half)).verdicts
    assert not any("not measurably worse" in sentence for sentence in of_half)  # no control learned from half


def test_a_majority_answer_ranks_nothing(results, features):
    found = control(results, "majority").row
    prevalence = features.y.mean()
    assert (found.auroc.value, found.auroc.low, found.auroc.high) == (0.5, None, None)  # nothing varies
    assert found.auroc.reason
    assert found.accuracy.value == pytest.approx(max(prevalence, 1 - prevalence))


def test_a_head_on_one_modality_is_at_chance_without_it(tmp_path):
    dataset = plant(tmp_path, Planted(studies=200, text=2.0), modalities=("text",))
    features = load_features(dataset, ["text"])
    found = run_controls(dataset, features, choose_split(dataset, "normal_abnormal"))
    shuffle = control(found, "text-shuffle")
    assert (shuffle.reference, shuffle.at_chance) == ("text", True)
    assert shuffle.row.auroc.low < 0.5 < shuffle.row.auroc.high
    missing = control(found, "image-shuffle")
    assert (missing.row, missing.reason) == (None, "no arm here reads images")


def test_drawing_keeps_every_part_and_every_study_whole(strong, features):
    parts = list(parts_of_plan(features, choose_split(strong, "normal_abnormal"), Plan("fusion"), blocks=()).values())
    places = np.unique(np.column_stack(parts), axis=0, return_inverse=True)[1].reshape(-1)
    order = draw_rows(places, np.random.default_rng(0))
    assert sorted(order) == list(range(len(places)))
    giver = draw_patients(places, features, np.random.default_rng(0))
    for one in parts:
        assert (one[order] == one).all()
        assert (one[giver] == one).all()
    for study in np.unique(features.study_ids):
        assert len(set(features.y[giver][features.study_ids == study, 0])) == 1
    assert (features.patient_ids[giver] != features.patient_ids).mean() > 0.8
    rows = rows_of(features, ("image", "text"))
    drawn = exchanged(rows, parts, what="image", draw=(0, 0))
    before, after = (np.asarray(some.blocks["image"]) for some in (rows, drawn))
    np.testing.assert_array_equal(drawn.blocks["text"], rows.blocks["text"])
    assert sorted(after[:, 0]) == sorted(before[:, 0])
    assert (after != before).any(axis=1).mean() > 0.8
    first, second = (labels_drawn(features, parts[0], Place(0, 0, seed)) for seed in (0, 1))
    assert (first != rows.y).mean() > 0.3
    assert (first != second).mean() > 0.3  # each model learns labels of its own


def leaky_texts(folder) -> Dataset:
    """Films of noise; texts in which a word, their length and a missing section give the label away."""
    plan = Planted(studies=300)
    tables, y = planted_tables(plan)
    rng = np.random.default_rng(0)
    studies = tables["studies"]["study_id"].to_pylist()
    reports = []
    for study, value in zip(studies, y, strict=True):
        told = value if rng.random() < 0.9 else 1 - value
        words = ["opacity" if told else "clear", *rng.choice(["lung", "heart", "bone"], 3 + 4 * int(value)).tolist()]
        reports.append({"study_id": study, "section": "findings", "role": "label source", "text": " ".join(words)})
        if value == 1:
            reports.append({"study_id": study, "section": "comparison", "role": "before reading", "text": "none"})
    tables["reports"] = pa.Table.from_pylist(reports, schema=REPORTS)
    about = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": True}
    binary = {"task": "binary", "means": "planted", "labels": ["abnormal"], "policy": "", "version": "0"}
    dataset = write_dataset(DatasetPaths(folder, "leaky"), tables, about | {"label_sets": {"normal_abnormal": binary}})
    ids = tables["images"]["image_id"].to_pylist()
    write_store(dataset, "efficientnet_b1", "image", ids, rng.standard_normal((len(ids), 4)).astype(np.float32))
    noise = rng.standard_normal((len(studies), 4)).astype(np.float32)
    write_store(dataset, "biobert", "text", studies, noise, section="findings+impression")
    return dataset


@pytest.fixture(scope="module")
def leaky(tmp_path_factory) -> Dataset:
    return leaky_texts(tmp_path_factory.mktemp("leaky"))


@pytest.fixture(scope="module")
def leaks(leaky) -> tuple[Features, list[ControlResult]]:
    features = load_features(leaky, ["image", "text"])
    return features, run_controls(leaky, features, choose_split(leaky, "normal_abnormal"))


def test_planted_leaks_are_told_in_words(leaky, leaks):
    features, results = leaks
    plans = [Plan(arm) for arm in ("image", "fusion")]
    split = choose_split(leaky, "normal_abnormal")
    runs = {run.arm: run for run in fit([FitJob(leaky, features, split, plan) for plan in plans])}
    said = verdicts(runs, results)
    closest = max(run.metric("auroc")[0] for run in runs.values())
    for name in ("length", "metadata", "tf-idf"):
        gap = control(results, name).row.auroc.value - closest
        assert sum(line.startswith(f"{name} beats image, fusion: AUROC {bare(gap, '+')} [+.") for line in said) == 1, (
            said
        )
        assert sum(name in line for line in said) == 1
    alone = verdicts({"fusion": runs["fusion"]}, [control(results, "length")])
    assert alone[0].startswith("length beats fusion: AUROC +.")
    assert all(line.endswith(" at least") for line in said if " beats " in line)
    assert "at least" not in alone[0]
    four = {f"fusion{number}": runs["fusion"] for number in range(4)}
    assert verdicts(four, [control(results, "length")])[0].startswith("length beats all arms: AUROC +.")
    assert not any(line.startswith(("majority", "patient", "label-shuffle")) for line in said)
    assert control(results, "length").row.auroc.value == pytest.approx(1.0)
    assert control(results, "metadata").row.auroc.value == pytest.approx(1.0)


def test_what_needs_no_encoder_is_told_though_it_beats_no_arm(leaks, results):
    _, controls = leaks
    (line,) = unread(controls)
    assert line == (
        "Above chance without pixels or an encoder: length (how many words the text has, by a small tree), metadata "
        "(view, size, which sections are empty, by a small tree), tf-idf (logistic regression on words and pairs of "
        "words of the same text)"
    )
    assert not list(unread(results))  # of films and texts without a leak


def test_a_control_says_nothing_of_an_arm_that_reads_another_text(leaky, leaks):
    features, results = leaks
    [run] = fit([FitJob(leaky, features, choose_split(leaky, "normal_abnormal"), Plan("fusion"))])
    other = replace(run, record=replace(run.record, text="indication"))
    said = verdicts({"fusion": other}, results)
    assert not any(line.startswith(("tf-idf", "length")) for line in said)
    assert any(line.startswith("metadata beats fusion") for line in said)


def test_tf_idf_is_a_plain_pipeline_of_scikit_learn(leaky, leaks):
    features, results = leaks
    texts = {row["study_id"]: row["text"] for row in leaky.reports.to_pylist() if row["section"] == "findings"}
    found = judged_rows(leaky, control(results, "tf-idf")).set_index("item_id")
    y = features.y[:, 0]
    for parts in parts_of_plan(features, choose_split(leaky, "normal_abnormal"), Plan("fusion"), blocks=()).values():
        words = np.array([texts[study] for study in features.study_ids])
        counts = TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=50_000, sublinear_tf=True)
        known = counts.fit_transform(words[parts == "train"])
        best, least = None, np.inf
        for strength in (0.01, 0.1, 1, 10, 100):
            model = LogisticRegression(C=strength, max_iter=1000).fit(known, y[parts == "train"])
            loss = log_loss(y[parts == "val"], model.predict_proba(counts.transform(words[parts == "val"])))
            best, least = (model, loss) if loss < least else (best, least)
        wanted = best.predict_proba(counts.transform(words[parts == "test"]))[:, 1]
        assert found.loc[features.item_ids[parts == "test"], "y_prob"].to_numpy() == pytest.approx(wanted)
    expected = within(found["y_true"], found["y_prob"], found["fold"])
    assert control(results, "tf-idf").row.auroc.value == pytest.approx(expected)


def test_a_patient_on_both_sides_is_found_by_look_up(tmp_path):
    dataset = plant(tmp_path, Planted(studies=300, image=0.5))
    features = load_features(dataset, ["image", "text"])
    for name, above in (("image-80-20", True), ("patient-5fold", False)):
        split = choose_split(dataset, "normal_abnormal", name, allow_leaky=True)
        plan = Plan("fusion", "cnn-llm/as-coded", PRESETS["cnn-llm/as-coded"].options, folds=(0,))
        reference = FitJob(dataset, features, split, plan)
        found = one_control(reference, next(one for one in CONTROLS if one.name == "patient"), unwatched)
        said = verdicts({}, [found])
        assert bool(said) == above
        if not above:
            assert (found.row, found.reason) == (None, PATIENT)
            continue
        if above:
            assert said[0].startswith("patient is above chance: AUROC .")
            assert "the split shares patients" in said[0]
            assert found.row.leaky
        rows = judged_rows(dataset, found)
        parts = parts_of_plan(features, split, plan, blocks=())[0, 0]
        train = dict(zip(features.patient_ids[parts == "train"], features.y[parts == "train", 0], strict=True))
        answers = rows["y_prob"].to_numpy()
        for patient, answer in zip(rows["patient_id"], answers, strict=True):
            if patient in train:  # films of one study: all have its label
                assert answer == pytest.approx(train[patient])
            else:
                assert answer == pytest.approx(features.y.mean())


@pytest.mark.parametrize("label_set", ["kind", "found"])
def test_several_labels_have_controls_too(tmp_path, label_set):
    dataset = plant(tmp_path, Planted(studies=250, kinds=2.0), modalities=("text",))
    features = load_features(dataset, ["text"], Inputs(label_set))
    found = run_controls(dataset, features, choose_split(dataset, label_set))
    for one in found:
        assert (one.row is None) == (one.name in ("image-shuffle", "patient"))
        if one.row:
            assert one.row.auroc.value is not None
            rows = judged_rows(dataset, one)
            assert np.isfinite(rows["y_prob"]).all()
            if label_set == "kind":
                assert rows.groupby(["item_id", "repeat", "seed"])["y_prob"].sum().to_numpy() == pytest.approx(1.0)
    assert control(found, "majority").row.auroc.value == pytest.approx(0.5)


def test_repeats_and_seeds_are_those_of_the_reference(tmp_path):
    dataset = plant(tmp_path, Planted(studies=120, text=1.0))
    split = new_split(dataset, "normal_abnormal", SplitSpec("twice", repeats=2))
    features = load_features(dataset, ["image", "text"])
    found = run_controls(dataset, features, split, trial=Trial(repeats=2, seeds=2))
    places = {
        one.name: set(judged_rows(dataset, one)[["repeat", "seed"]].itertuples(index=False, name=None))
        for one in made(found)
    }
    both = {(repeat, seed) for repeat in (0, 1) for seed in (0, 1)}
    assert places["text-shuffle"] == places["image-shuffle"] == both
    assert places["tf-idf"] == places["length"] == {(0, 0), (1, 0)}
    assert places["label-shuffle"] == {(0, 0), (0, 1)}
    plans = [Plan("image", repeats=(0, 1), seeds=(0, 1))]
    said = verdicts({run.arm: run for run in fit([FitJob(dataset, features, split, plan) for plan in plans])}, found)
    assert all("AUROC" in line for line in said)


@pytest.mark.parametrize("label_set", ["normal_abnormal", "kind", "found"])
def test_without_validation_rows_a_guess_takes_the_usual_penalty_and_every_control_answers(tmp_path, label_set):
    dataset = plant(tmp_path, Planted(studies=120, text=1.0, kinds=2.0))
    kinds = np.random.default_rng(0)
    features = load_features(dataset, ["image", "text"], Inputs(label_set))
    told = dict(zip(features.study_ids.tolist(), features.y.argmax(axis=1) + features.y[:, 0], strict=True))
    words = {study: f"w{told[study] if kinds.random() < 0.7 else 9} seen" for study in told}
    texts = tuple(words[study] for study in features.study_ids.tolist())
    split = choose_split(dataset, label_set, "image-80-20", allow_leaky=True)
    plan = Plan("fusion", "cnn-llm/as-coded", PRESETS["cnn-llm/as-coded"].options, folds=(0,))
    parts = parts_of_plan(features, split, plan, blocks=())[0, 0]
    train, test = (np.flatnonzero(parts == part) for part in ("train", "test"))
    assert len(train) + len(test) == len(parts)  # no row is for validation
    counts = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    X = counts.fit_transform(np.array(texts)[train])
    Z = counts.transform(np.array(texts)[test])
    model = LogisticRegression(C=1.0, max_iter=1000)
    if label_set == "kind":
        wanted = model.fit(X, features.y[train].argmax(axis=1)).predict_proba(Z)
    else:
        columns = ((y, np.isfinite(y)) for y in features.y[train].T)
        wanted = np.column_stack([model.fit(X[known], y[known]).predict_proba(Z)[:, 1] for y, known in columns])
    assert by_words(features, texts)(parts, test) == pytest.approx(wanted)
    assert np.ptp(wanted) > 0.1
    reference = FitJob(dataset, features, split, plan)
    for name in ("patient", "length", "metadata", "tf-idf", "majority"):
        found = one_control(reference, next(one for one in CONTROLS if one.name == name), unwatched)
        assert found.row.n == len(test)
    if label_set == "normal_abnormal":  # the preset that needs no validation rows is for such labels
        trial = Trial("cnn-llm/as-coded", "image-80-20", allow_leaky=True, folds=(0,))
        whole = ablate(dataset, ["image"], trial=trial)
        assert {one.name: one.row.n for one in whole.controls} == dict.fromkeys((o.name for o in CONTROLS), len(test))
        assert any(line.startswith("patient is above chance") for line in whole.caption)
        assert set(whole.to_arrow()["tuned_over"].to_pylist()) == {1}  # tf-idf too: nothing is there to choose on
        assert not any("Settings tried" in line for line in whole.caption)


def test_a_text_of_several_rows_counts_as_often_as_they_are():
    rng = np.random.default_rng(0)
    phrases = [f"word{a} word{b} seen" for a, b in rng.integers(0, 12, (60, 2))]
    texts = [phrases[number] for number in rng.integers(0, 60, 500)]
    y = np.column_stack([[float(text[4] in "123") for text in texts], rng.integers(0, 2, 500)])
    y[:, 0] = np.where(rng.random(500) < 0.2, 1 - y[:, 0], y[:, 0])
    y[::9, 1] = np.nan
    parts = rng.choice(["train", "val", "test"], 500, p=[0.6, 0.2, 0.2])
    train, val, test = (np.flatnonzero(parts == part) for part in ("train", "val", "test"))
    counts = TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=50_000, sublinear_tf=True)
    X = counts.fit_transform(np.array(texts)[train])
    X_val, Z = (counts.transform(np.array(texts)[rows]) for rows in (val, test))
    wanted = []
    for label in y.T:
        here, there = np.isfinite(label[train]), np.isfinite(label[val])
        models = [LogisticRegression(C=c, max_iter=1000).fit(X[here], label[train][here]) for c in STRENGTHS]
        losses = [log_loss(label[val][there], one.predict_proba(X_val[there])[:, 1]) for one in models]
        wanted.append(models[int(np.argmin(losses))].predict_proba(Z)[:, 1])
    found = by_words(SimpleNamespace(y=y, task="multilabel"), texts)(parts, test)
    np.testing.assert_allclose(found, np.column_stack(wanted), rtol=0, atol=1e-8)
    assert np.ptp(found[:, 0]) > 0.5
