"""What a run says of films and reports, as plain data and as a table."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from cxremb.inference.cases import NotJudged
from cxremb.similarity.find import Neighbour
from cxremb.tabular import Tabular
from cxremb.types import PARTS

NOTICE = "Research software, no medical device: what it prints is neither a diagnosis nor a ground for one."
COLUMNS = pa.schema(
    [
        ("level", pa.string()),  # study: all of it; film: one of its films
        *((name, pa.string()) for name in ("study", "film", "label")),
        *((name, pa.float64()) for name in ("probability", "uncalibrated", "threshold")),
        ("above", pa.bool_()),
        *((name, pa.float64()) for name in ("distance", "limit")),
        ("unusual", pa.bool_()),
        ("part", pa.string()),  # of how many models it is in each; null: it is not in the collection
        ("models", pa.list_(pa.string())),  # that judged it
        ("nearest", pa.list_(pa.string())),  # training items, the nearest first
    ]
)


@dataclass(frozen=True)
class LabelJudged:
    """One label of one film, or of one study."""

    label: str
    probability: float  # calibrated, where the run can be
    uncalibrated: float
    threshold: float | None  # None: of classes that exclude each other, or no threshold could be chosen
    above: bool | None  # whether it reaches the threshold; of several classes, whether it is the likeliest


@dataclass(frozen=True)
class FilmJudged:
    """One film; of a run that reads texts alone, or all films of a study at once, the study as a whole."""

    film: str | None  # as it was given
    item: str | None  # its id in the collection, if it is there
    labels: tuple[LabelJudged, ...]
    models: tuple[str, ...]  # that judged it: those that tested it, or all
    parts: Mapping[str, str]  # model -> train, val or test; empty: it is not in the collection
    distance: float | None  # one minus the cosine to the 10th nearest training vector
    limit: float | None
    unusual: bool | None  # beyond the limit; None: it could not be measured
    neighbours: tuple[Neighbour, ...]  # nearest training cases

    @property
    def part(self) -> str | None:
        """Of how many models it is in each part: `train 3, val 1, test 1`."""
        parts = list(self.parts.values())
        return ", ".join(f"{part} {parts.count(part)}" for part in PARTS if part in parts) or None


@dataclass(frozen=True)
class StudyJudged:
    """One study: the mean of its films."""

    study: str
    labels: tuple[LabelJudged, ...]
    films: tuple[FilmJudged, ...]
    reads: tuple[str, ...]  # the modalities that were there
    notes: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Judgements(Tabular):
    """All that was judged, what was not, and what must stand beside it. asked = judged + failed."""

    run_id: str
    arm: str
    dataset: str
    why: str  # why this run
    calibration: str  # whether the probabilities are calibrated, on how many rows
    threshold: str  # how thresholds were chosen, on which rows, with which prevalence
    space: str  # what is compared for `unusual`, and its false alarms
    false_alarms: float | None  # share of test items beyond the limit; None: not measured
    asked: int
    judged: int
    studies: tuple[StudyJudged, ...]
    failed: tuple[NotJudged, ...]
    notes: tuple[str, ...]
    caveats: tuple[str, ...]
    notice: str = NOTICE

    def to_arrow(self) -> pa.Table:
        """A row for each study and label, then one for each of its films and label."""
        rows = []
        for study in self.studies:
            limits = [film for film in study.films if film.distance is not None]
            worst = max(limits, key=lambda film: (film.distance or 0) / (film.limit or 1), default=study.films[0])
            rows += [line("study", study.study, None, label, worst) for label in study.labels]
            rows += [
                line("film", study.study, film.film, label, film)
                for film in study.films
                if film.film is not None
                for label in film.labels
            ]
        return pa.Table.from_pylist(rows, schema=COLUMNS)

    def heading(self) -> str:
        """What judged how much."""
        return (
            f"run {self.run_id}, {self.arm} on {self.dataset}: {self.asked:,} asked = {self.judged:,} judged + "
            f"{len(self.failed):,} failed"
        )


def line(level: str, study: str, film: str | None, label: LabelJudged, at: FilmJudged) -> dict[str, object]:  # noqa: PLR0917
    """A row of the table. at: whose distance it is; of a study, its most unusual film."""
    return {
        "level": level,
        "study": study,
        "film": film,
        **vars(label),
        "distance": at.distance,
        "limit": at.limit,
        "unusual": at.unusual,
        "part": at.part,
        "models": list(at.models),
        "nearest": [row.item_id for row in at.neighbours],
    }
