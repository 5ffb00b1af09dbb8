"""The simulator of films: what terms change, what seeds keep, what lies on the disk."""

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as PilImage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxremb.datasets.phantoms import draw_film, write_films
from cxremb.datasets.phantoms.anatomy import LEFT, RIGHT
from cxremb.datasets.phantoms.files import file_name, photometric, write_film
from cxremb.datasets.phantoms.film import body_of, dice, expose
from cxremb.datasets.phantoms.findings import KINDS, DrawnFinding, read_finding, reshape
from cxremb.datasets.phantoms.marks import MARKS
from cxremb.errors import DataError
from cxremb.images import decode_file
from cxremb.types import Study

VIEWS = ("Frontal", "Lateral")


def study(number: int, *terms: str) -> Study:
    return Study(f"s{number}", f"p{number}", {}, {"mesh": terms or ("normal",)})


def change(number: int, *terms: str, view: str = "Frontal") -> np.ndarray:
    """How much brighter each pixel of a study becomes when it gets findings; 256 x 256, -1 to 1."""
    return expose(study(number, *terms), view) - expose(study(number), view)


def halves(values: np.ndarray) -> tuple[float, float]:
    """The mean of the left and of the right half of the lung fields' height: the patient's right and left."""
    lungs = values[60:200]
    return float(lungs[:, 20:120].mean()), float(lungs[:, 136:236].mean())


@pytest.mark.parametrize("view", VIEWS)
def test_the_same_film_in_a_new_process(view: str) -> None:
    code = (
        "import sys; from cxremb.datasets.phantoms import draw_film; from cxremb.types import Study; "
        "s = Study('s7', 'p7', {}, {'mesh': ('Opacity/lung/base/left', 'Cardiomegaly/mild', 'Pulmonary Edema')}); "
        f"sys.stdout.buffer.write(draw_film(s, {view!r}, 3).tobytes())"
    )
    here = draw_film(study(7, "Pulmonary Edema", "Opacity/lung/base/left", "Cardiomegaly/mild"), view, 3)
    for hash_seed in ("1", "2"):  # Python's own hash() differs between the two
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        there = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment).stdout
        assert there == here.tobytes()


def test_study_view_seed_and_take_each_change_the_film() -> None:
    films = [
        draw_film(study(1), "Frontal"),
        draw_film(study(2), "Frontal"),
        draw_film(study(1), "Lateral"),
        draw_film(study(1), "Frontal", seed=1),
        (expose(study(1), "Frontal", take=1) * 255).astype(np.uint8),
    ]
    assert len({film.tobytes() for film in films}) == len(films)
    for film in films:
        assert (film.dtype, film.shape, film.min()) == (np.uint8, (256, 256), 0)
    assert all(film.max() == 255 for film in films[:4])
    assert draw_film(study(1), "Frontal", side=128).shape == (128, 128)


def test_terms_that_draw_nothing_change_nothing() -> None:
    assert np.array_equal(draw_film(study(4), "Frontal"), draw_film(study(4, "No Indexing", "Arthritis"), "Frontal"))


@pytest.mark.parametrize(("word", "brighter"), [("left", 1), ("right", 0)])
def test_an_effusion_whitens_the_side_it_names(word: str, brighter: int) -> None:
    for number in range(6):
        sides = halves(change(number, f"Pleural Effusion/{word}/severe"))
        assert sides[brighter] > 0.03
        assert sides[brighter] > 4 * abs(sides[1 - brighter])


@pytest.mark.parametrize("view", VIEWS)
def test_an_effusion_lies_at_the_bottom_and_a_severe_one_is_larger(view: str) -> None:
    small, severe = (change(1, f"Pleural Effusion/bilateral/{word}", view=view) for word in ("moderate", "severe"))
    assert severe[130:].sum() > 3 * severe[:130].sum()
    assert severe.sum() > 1.2 * small.sum() > 0


@pytest.mark.parametrize(("lobe", "rows"), [("upper lobe", slice(50, 115)), ("base", slice(125, 200))])
def test_an_opacity_lies_where_its_lobe_is(lobe: str, rows: slice) -> None:
    for number in range(4):
        shadow = np.clip(change(number, f"Opacity/lung/{lobe}/right/severe"), 0, 1)
        right = shadow[:, :128]
        assert right.sum() > 5
        assert right[rows].sum() > 0.75 * shadow.sum()


def test_a_heart_with_severe_cardiomegaly_is_wider() -> None:
    def width(film: np.ndarray) -> float:
        row = film[128:150].mean(axis=0)  # across the heart, above the diaphragm
        dark = (row[40:100].min() + row[156:216].min()) / 2
        threshold = (dark + row[110:146].max()) / 2
        return float((row[60:200] > threshold).sum())

    for number in range(6):
        healthy, large = (width(expose(study(number, term), "Frontal")) for term in ("normal", "Cardiomegaly/severe"))
        assert large > healthy * 1.1, number
    assert np.abs(change(1, "Cardiomegaly/severe", view="Lateral")).mean() > 0.003


def test_healthy_and_mildly_enlarged_hearts_overlap() -> None:
    healthy = [body_of(dice(n), []).heart for n in range(400)]
    mild = [read_finding("Cardiomegaly/mild", dice("mild", n)) for n in range(400)]
    enlarged = [body_of(dice("other", n), [finding]).heart for n, finding in enumerate(mild) if finding]
    auc = roc_auc_score([0] * 400 + [1] * 400, healthy + enlarged)
    assert 0.6 < auc < 0.95


@pytest.mark.parametrize("kind", sorted({kind for _, _, kind in KINDS}))
def test_every_kind_is_drawn_in_both_views(kind: str) -> None:
    stem, word = next((stem, word) for stem, word, drawn in KINDS if drawn == kind)
    term = "/".join(part for part in (stem, word, "left", "severe") if part)
    finding = read_finding(term, dice(0))
    assert finding is not None
    assert finding.kind == kind
    body = body_of(dice(0), [])
    assert (kind in MARKS) == (reshape(body, finding) == body)
    for view in VIEWS:
        if (kind, view) not in {("bend", "Lateral"), ("stoop", "Frontal")}:  # seen from one direction only
            assert np.abs(change(3, term, view=view)).max() > 0.05, view


def test_terms_are_read_as_side_level_and_strength() -> None:
    found = read_finding("Nodule/lung/upper lobe/right/large", dice(0))
    assert found is not None
    assert (found.kind, found.sides, found.level) == ("nodule", (RIGHT,), -0.35)
    assert 1.2 < found.strength < 3.0
    assert sides("Opacity/lung/lingula") == (LEFT,)
    assert sides("Opacity/lung/middle lobe") == (RIGHT,)
    assert sides("Pleural Effusion/bilateral") == (RIGHT, LEFT)
    assert {sides("Nodule/lung", seed) for seed in range(20)} == {(LEFT,), (RIGHT,)}
    assert read_finding("Diaphragm", dice(0)) is None
    weak = [strength("Nodule/lung", seed) < 0.25 for seed in range(500)]
    assert 0.22 < np.mean(weak) < 0.34
    assert min(strength("Nodule/lung/severe", seed) for seed in range(100)) > 1


def sides(term: str, seed: int = 0) -> tuple[int, ...]:
    return finding_of(term, seed).sides


def strength(term: str, seed: int) -> float:
    return finding_of(term, seed).strength


def finding_of(term: str, seed: int) -> DrawnFinding:
    found = read_finding(term, dice("strength", seed))
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("view", "position"), [("Frontal", "PA"), ("Lateral", "LL")])
def test_a_dicom_copy_decodes_to_the_drawn_pixels(kind: str, view: str, position: str, tmp_path: Path) -> None:
    image_id = next(f"film-{n}" for n in count() if photometric(f"film-{n}") == kind)
    path = tmp_path / f"{image_id}.dcm"
    write_film(path, expose(study(5), view), image_id, view=view)
    difference = decode_file(path)[0].astype(int) - draw_film(study(5), view)
    assert np.abs(difference).max() <= 1
    tags = pydicom.dcmread(path)
    assert (tags.PhotometricInterpretation, tags.ViewPosition, tags.BitsStored) == (kind, position, 12)
    assert tags.PatientName == "PHANTOM"
    assert "simulated" in tags.ImageComments
    corner = int(tags.pixel_array[-1, 0])  # air outside the patient
    assert corner == (4095 if kind == "MONOCHROME1" else 0)


def films_of(n: int) -> tuple[list[Study], dict[str, list[tuple[str, str]]]]:
    """n studies with a frontal, a lateral and one further frontal film each."""
    studies = [study(number, "Cardiomegaly") for number in range(n)]
    views = {s.study_id: [(f"{s.study_id}-{i}", VIEWS[i % 2]) for i in range(3)] for s in studies}
    return studies, views


def test_films_are_written_once_and_redrawn_for_another_seed(tmp_path: Path) -> None:
    studies, views = films_of(70)
    folder = tmp_path / "films here"
    images = write_films(studies, folder, views, workers=1)
    assert [(i.image_id, i.view) for i in images] == [film for s in studies for film in views[s.study_id]]
    assert [(i.study_id, i.patient_id) for i in images[:4]] == [("s0", "p0")] * 3 + [("s1", "p1")]
    paths = [i.path for i in images if i.path is not None]
    assert sorted(p.name for p in folder.iterdir()) == sorted([p.name for p in paths] + ["phantoms.json"])
    assert 1 <= sum(p.suffix == ".dcm" for p in paths) <= 12
    drawn = draw_film(studies[0], "Frontal")
    assert np.abs(decode_file(paths[0])[0].astype(int) - drawn).max() <= 1
    assert not np.array_equal(decode_file(paths[2])[0], drawn)  # a second frontal film is no copy of the first
    png = next(p for p in paths if p.suffix == ".png")
    number = paths.index(png)
    views_of = [(study, view) for study in studies for _, view in views[study.study_id]]
    study, view = views_of[number]
    with PilImage.open(png) as picture:
        assert "simulated" in picture.info["Comment"]
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), draw_film(study, view))  # by another reader, to the last bit

    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in paths}
    paths[4].unlink()
    asked: list[int] = []

    def watch(items, total, what):
        asked.append(total)
        yield from items

    assert write_films(studies, folder, views, progress=watch, workers=1) == images
    assert asked == [1]
    assert paths[4].read_bytes() == before[paths[4]][1]
    assert all(p.stat().st_mtime_ns == before[p][0] for p in paths if p != paths[4])

    write_films(studies[:1], folder, views, workers=1, seed=9)
    assert json.loads((folder / "phantoms.json").read_text())["seed"] == 9
    assert len(list(folder.iterdir())) == 4  # nothing of the old seed is left to be taken for the new one
    assert paths[0].read_bytes() != before[paths[0]][1]


def test_processes_write_what_one_process_writes(tmp_path: Path) -> None:
    studies, views = films_of(25)
    one, two = (write_films(studies, tmp_path / str(n), views, workers=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert a.path is not None
        assert b.path is not None
        assert a.path.read_bytes() == b.path.read_bytes()


def test_films_of_other_origin_are_not_touched(tmp_path: Path) -> None:
    studies, views = films_of(1)
    stranger = tmp_path / "real.png"
    stranger.write_bytes(b"a real film")
    with pytest.raises(DataError, match=r"real\.png.*no phantoms\.json") as caught:
        write_films(studies, tmp_path, views)
    assert "empty folder" in caught.value.hint
    assert list(tmp_path.iterdir()) == [stranger]


def test_what_cannot_be_drawn_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="view 'Oblique'") as caught:
        write_films([study(1)], tmp_path / "a", {"s1": [("x", "Oblique")]})
    assert "Frontal, Lateral" in caught.value.hint
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_films([study(1)], tmp_path / "file" / "b", {"s1": [("x", "Frontal")]})


def test_one_film_in_fifty_is_dicom_and_half_of_those_inverted() -> None:
    dicom = [f"image-{n}" for n in range(7466) if file_name(f"image-{n}").endswith(".dcm")]
    assert 110 < len(dicom) < 190
    assert 0.35 < np.mean([photometric(name) == "MONOCHROME1" for name in dicom]) < 0.65


def test_pixels_tell_the_planted_label_and_not_perfectly() -> None:
    findings = ("Pleural Effusion/left", "Opacity/lung/base/right", "Cardiomegaly", "Lung/hyperdistention")
    y = np.arange(400) % 2
    films = [study(n, findings[n // 2 % 4] if n % 2 else "normal") for n in range(400)]
    X = np.stack([small(draw_film(film, "Frontal", side=128)) for film in films])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=500))
    auc = roc_auc_score(y, cross_val_predict(model, X, y, cv=5, method="decision_function"))
    assert 0.58 < auc < 0.92


def small(film: np.ndarray) -> np.ndarray:
    """Means of 8 x 8 pixels, flat."""
    return film.reshape(16, 8, 16, 8).mean(axis=(1, 3)).ravel()
