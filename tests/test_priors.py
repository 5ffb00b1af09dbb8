"""What has changed since the examination before: vectors are those of a plain loop, and a planted change is found."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from planted import write_store
from written import write_dataset

from cxremb.ablation import ablate, parse_arms
from cxremb.ablation.run import jobs_of
from cxremb.ablation.trial import Trial
from cxremb.errors import CxrembError, DataError, TrainError
from cxremb.features import Inputs
from cxremb.inference.loaded import load_run
from cxremb.store.dataset import Dataset
from cxremb.store.layout import FACTS, IMAGES, LABELS, REPORTS, STUDIES, DatasetPaths
from cxremb.store.reader import open_store
from cxremb.training.runs import read_run

PATIENTS, VISITS, DIM = 200, 3, 6
ALONE = Trial(alone=True, controls=False)


def planted(root: Path, *, days: bool = True) -> Dataset:
    """Patients of three visits, a frontal and often a lateral film each; dimension 0 is how ill the patient is.

    The label is whether that rose since the visit before; of a first visit it is drawn. So one film knows next to
    nothing of it. Lateral films have dimension 0 turned round, so that they say nothing beside a frontal one.
    """
    rng = np.random.default_rng(0)
    ill = 3 * rng.standard_normal(PATIENTS)[:, None] + rng.standard_normal((PATIENTS, VISITS))
    worse = np.column_stack([rng.random(PATIENTS) < 0.5, ill[:, 1:] > ill[:, :-1]]).astype(float)
    tables: dict[str, list[dict[str, object]]] = {
        name: [] for name in ("studies", "images", "labels", "facts", "reports")
    }
    ids, vectors = [], []
    for patient in range(PATIENTS):
        for visit in rng.permutation(VISITS).tolist():
            study = f"p{patient:03d}v{(visit * 7 + patient) % 10}x{visit}"  # ids that are in no order of time
            tables["studies"].append({"study_id": study, "patient_id": f"p{patient:03d}"})
            label = {"study_id": study, "label_set": "worse", "label": "worse", "value": worse[patient, visit]}
            tables["labels"].append(label)
            tables["reports"].append({"study_id": study, "section": "findings", "role": "label source", "text": "x"})
            if days:
                day = date(2024, 1, 1) + timedelta(days=30 * visit + patient % 20)
                text = {"text": day.isoformat(), "day": day, "number": None}
                tables["facts"].append({"level": "study", "id": study, "name": "day", **text})
            for view in ("PA", "Lateral")[: 1 + (patient + visit) % 2]:
                image = f"{study}-{view}"
                film = {"image_id": image, "study_id": study, "patient_id": f"p{patient:03d}", "view": view}
                tables["images"].append(
                    {**film, "path": "x.png", "sha256": f"{len(ids):064d}", "width": 1, "height": 1}
                )
                ids.append(image)
                own = rng.standard_normal(DIM)
                own[0] = ill[patient, visit] * (1 if view == "PA" else -1) + 0.2 * rng.standard_normal()
                vectors.append(own)
    schemas = {"studies": STUDIES, "images": IMAGES, "labels": LABELS, "facts": FACTS, "reports": REPORTS}
    binary = {"task": "binary", "means": "planted", "labels": ["worse"], "policy": "", "version": "0"}
    about = {"licence": "none", "citation": "none", "source": {}, "notes": [], "simulated": True}
    about["label_sets"] = {"worse": binary}
    made = {name: pa.Table.from_pylist(rows, schema=schemas[name]) for name, rows in tables.items()}
    dataset = write_dataset(DatasetPaths(root, "visits"), made, about)
    write_store(dataset, "resnet50", "image", ids, np.array(vectors, dtype=np.float32))
    return dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return planted(tmp_path_factory.mktemp("visits"))


def test_a_change_is_told_by_the_film_before_and_not_by_one(dataset: Dataset) -> None:
    result = ablate(dataset, ["image[head=linear]", "image+prior[head=linear]"], trial=ALONE)
    alone, prior = result.rows
    assert prior.arm == "image+prior[head=linear]"
    assert alone.auroc.value < 0.75
    assert prior.auroc.value > 0.95
    assert prior.difference.low > 0
    assert alone.n == prior.n
    assert result.left_out == {"no film of such a view on an earlier day": dataset.images.num_rows - prior.n}


def test_the_vectors_are_those_of_a_plain_loop(dataset: Dataset) -> None:
    (job,), _, _ = jobs_of(dataset, ["image+prior"], Inputs(), trial=ALONE)
    matrix = open_store(dataset, "resnet50").load("image")
    films, facts = dataset.images.to_pylist(), dataset.facts.to_pylist()
    day = {row["id"]: row["day"] for row in facts}
    of_patient: dict[str, set[str]] = {}
    for film in films:
        of_patient.setdefault(film["patient_id"], set()).add(film["study_id"])
    expected = {}
    for film in films:
        earlier = [one for one in of_patient[film["patient_id"]] if day[one] < day[film["study_id"]]]
        if not earlier:
            continue
        before = max(earlier, key=lambda one: day[one])
        same = [one["image_id"] for one in films if one["study_id"] == before and one["view"] == film["view"]]
        if same:
            now = matrix.vectors[matrix.rows([film["image_id"]])[0]].astype(np.float32)
            then = matrix.vectors[matrix.rows(same)].astype(np.float32).mean(axis=0)
            expected[film["image_id"]] = np.concatenate([now, now - then])
    found = dict(zip(job.features.item_ids.tolist(), job.features.blocks["image"], strict=True))
    assert found.keys() == expected.keys()
    assert len(found) >= 2 * PATIENTS
    for film, vector in expected.items():
        np.testing.assert_allclose(found[film], vector, rtol=1e-6)


def test_it_is_a_run_of_its_own_and_no_film_is_judged_by_it(dataset: Dataset, cxremb) -> None:
    root = ("--root", dataset.paths.root)
    shown = cxremb("ablate", "--arms", "image,image+prior", "--alone", "--no-controls", *root)
    assert shown.code == 0, shown.err
    rows = ablate(dataset, ["image", "image+prior"], trial=ALONE).rows
    assert all(row.reused for row in rows)
    runs = [read_run(dataset.paths.runs / row.run_id) for row in rows]
    assert [run.record.prior for run in runs] == [False, True]
    assert [run.record.dims["image"] for run in runs] == [DIM, 2 * DIM]
    with pytest.raises(TrainError, match="reads what has changed since an earlier film"):
        load_run(runs[1].folder)


def test_arms_are_written_short_and_read_again() -> None:
    for words, names in (
        ("image+prior", ["image+prior"]),
        ("image[prior=difference]", ["image+prior"]),
        ("image+prior[head=linear|mlp]", ["image+prior[head=linear]", "image+prior"]),
        ("fusion[prior=difference]", ["fusion[prior=difference]"]),
    ):
        found = parse_arms([words])
        assert [arm.name for arm in found] == names
        assert parse_arms(names) == found
    for words in ("text[prior=difference]", "image+prior[head=attention]", "image+prior[prior=ratio]"):
        with pytest.raises(TrainError) as caught:
            parse_arms([words])
        assert caught.value.hint


def test_without_days_it_says_what_is_needed(tmp_path: Path) -> None:
    dataset = planted(tmp_path, days=False)
    with pytest.raises(DataError, match="no row has an earlier film") as caught:
        ablate(dataset, ["image+prior"], trial=ALONE)
    assert "day" in caught.value.hint
    with pytest.raises(CxrembError, match="has films for rows"):
        ablate(dataset, ["image+prior"], Inputs(unit="study"), trial=ALONE)
