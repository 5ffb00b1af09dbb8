"""The demo's collection: real IU X-ray reports, simulated films."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from cxremb.datasets.iu_labels import NORMAL_ABNORMAL, label_studies
from cxremb.datasets.iu_reports import read_openi_reports
from cxremb.datasets.iu_xray import CITATION, LICENCE
from cxremb.datasets.phantoms import write_films
from cxremb.errors import DataError
from cxremb.types import Collection, Image, Note, Progress, Study, unwatched

PACKAGE = "torchxrayvision"
ARCHIVE = Path("data") / "NLMCXR_reports.tgz"
VIEWS = ("Frontal", "Lateral")  # of a study's first, second, third ... image; the reports do not name them


FEWEST = 100  # studies, for five folds with both classes


def demo_collection(name: str, films: Path, limit: int | None = None, *, progress: Progress = unwatched) -> Collection:
    """The first `limit` studies (all 3,955 without one), with films drawn into the folder `films` from their terms.

    Raises `DataError` if the package that carries the reports is not installed, or the limit is too small.
    """
    archive = reports_archive()
    studies, listed = read_openi_reports(archive)
    chosen = spread(studies, limit)
    by_study: dict[str, list[Image]] = {study.study_id: [] for study in chosen}
    for image in listed:
        if image.study_id in by_study:
            by_study[image.study_id].append(image)
    images = write_films(chosen, films, name_views(by_study), progress=progress)
    labelled, label_sets, label_notes = label_studies(chosen)
    bare = [study for study, its in by_study.items() if not its]
    bare_notes = [Note("reports without an image in the original collection", len(bare), bare[:10])] if bare else []
    return Collection(
        name=name,
        studies=labelled,
        images=images,
        licence=f"reports: {LICENCE}; images: simulated, no licence needed",
        citation=f"{CITATION} (reports; the films are simulated)",
        source={"reports": str(archive.resolve()), "images": str(films.resolve())},
        notes=[*bare_notes, *label_notes],
        simulated=True,
        label_sets=label_sets,
        default_label_set=NORMAL_ABNORMAL,
    )


def reports_archive() -> Path:
    """The official XML reports inside the installed package, found without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).parent / ARCHIVE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise DataError(f"the demo's reports come with the package {PACKAGE}", hint='pip install "cxremb[demo]"')
    return path


def spread(studies: Sequence[Study], limit: int | None) -> list[Study]:
    """`limit` studies spaced evenly over the collection, in its order."""
    if limit is None or limit >= len(studies):
        return list(studies)
    if limit < FEWEST:
        raise DataError(f"{limit} studies are too few for five folds with both classes", hint=f"take {FEWEST} or more")
    return [studies[index * len(studies) // limit] for index in range(limit)]


def name_views(by_study: Mapping[str, Sequence[Image]]) -> dict[str, list[tuple[str, str]]]:
    """Study -> (image_id, view) of each of its images."""
    return {
        study: [(image.image_id, VIEWS[index % len(VIEWS)]) for index, image in enumerate(images)]
        for study, images in by_study.items()
    }
