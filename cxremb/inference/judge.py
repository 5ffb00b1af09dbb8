"""What the models of a run say of rows: those that tested it of a film of the collection, the mean of all of a new one.

So a film of the collection gets the probability that its test figures rest on, and no model judges what it has learned
from unless all have.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxremb.inference.cases import WHAT_IT_READS, Given, nothing_judged
from cxremb.inference.choice import Model
from cxremb.inference.distance import Near, Space, space_of
from cxremb.inference.results import FilmJudged, Judgements, LabelJudged, StudyJudged
from cxremb.inference.rows import InputRow, InputRows, rows_of
from cxremb.inference.scales import Members, Scales, members_of, scales_of
from cxremb.inference.words import calibration_in_words, notes_of, space_in_words, threshold_in_words
from cxremb.similarity.find import Neighbour, described
from cxremb.training.bundle import Bundle, Present, Vectors
from cxremb.types import Progress, unwatched

Doubles = NDArray[np.float64]
SEEN = "is in the training or validation part of every model: they have learned from it"


@dataclass(frozen=True)
class Said:
    """(models, n, k) what each model says of each row."""

    names: Sequence[str]
    prob: Doubles
    calibrated: Doubles


@dataclass(frozen=True)
class BesideTraining:
    """A row beside the training rows. Nothing where a run has no vectors to compare."""

    distance: float | None = None
    limit: float | None = None
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Judge:
    """A model with what its outputs mean. Spaces are measured when they are first needed, and kept."""

    model: Model
    scales: Scales
    members: Members
    spaces: dict[str, Space] = field(default_factory=dict, repr=False)

    def space(self, block: str) -> Space:
        """That of one modality."""
        if block not in self.spaces:
            self.spaces[block] = space_of(self.model, block, self.members)
        return self.spaces[block]


def judge_of(model: Model) -> Judge:
    """A model that is ready to judge again and again."""
    return Judge(model, scales_of(model.run), members_of(model.run, model.dataset))


def judge(model: Model, given: Given, *, neighbours: int = 5, progress: Progress = unwatched) -> Judgements:
    """Probabilities of every case, with what must be known to read them.

    Raises `DataError` if nothing at all could be judged, and as `rows_of`.
    """
    return judged(judge_of(model), given, rows_of(model, given, progress=progress), neighbours=neighbours)


def judged(by: Judge, given: Given, rows: InputRows, *, neighbours: int) -> Judgements:
    """Probabilities of the rows that were made of what was given. Raises `DataError` if there are none."""
    model, scales, members = by.model, by.scales, by.members
    failed = [*given.failed, *rows.failed]
    if not rows.rows:
        raise nothing_judged(failed, next(iter(rows.hints.values()), WHAT_IT_READS))
    said = asked_of_models(model, rows.rows, scales)
    parts = [members.parts(row.image, row.study, row.patient or "") if row.study else {} for row in rows.rows]
    judging = [judges(own, said.names) for own in parts]
    spaces = {block: by.space(block) for block in blocks_compared(model, rows.rows)}
    films = [
        film_judged(model, said, scales, row=row, place=place, names=judging[place], own=parts[place], spaces=spaces,
                    neighbours=neighbours)
        for place, row in enumerate(rows.rows)
    ]  # fmt: skip
    studies = tuple(studies_of(model, rows, films))
    alarms = [space.false_alarms(set(space.limits)) for space in spaces.values() if space.limits]
    return Judgements(
        run_id=model.run.run_id,
        arm=model.run.arm,
        dataset=model.dataset.name,
        why=model.chosen,
        calibration=calibration_in_words(scales),
        threshold=threshold_in_words(scales),
        space=space_in_words(spaces, from_pixels=model.run.record.from_pixels),
        false_alarms=alarms[0] if alarms else None,
        asked=given.asked,
        judged=given.asked - len(failed),
        studies=studies,
        failed=tuple(failed),
        notes=tuple(notes_of(scales, members, spaces)),
        caveats=tuple(model.run.caveats),
    )


def asked_of_models(model: Model, rows: Sequence[InputRow], scales: Scales) -> Said:
    """What every model says of every row."""
    names = model.bundle.models
    prob, logit = outputs(model, rows)
    calibrated = [
        scales.calibrations[name].apply(logit[place], model.bundle.task)[1]
        if name in scales.calibrations
        else prob[place]
        for place, name in enumerate(names)
    ]
    return Said(names, prob, np.stack(calibrated))


def outputs(model: Model, rows: Sequence[InputRow]) -> tuple[Doubles, Doubles]:
    """(probabilities, logits), each (models, n, k). Networks have been asked already, while the films were read."""
    if not isinstance(model.bundle, Bundle):
        said = np.stack([row.read["image"][0] for row in rows], axis=2)
        return said[0], said[1]
    vectors, present = blocks_of(model, rows)
    found = [model.bundle.predict(vectors, present, name) for name in model.bundle.models]
    prob, logit = (np.stack([getattr(one, name) for one in found]).astype(np.float64) for name in ("prob", "logit"))
    return prob, logit


def blocks_of(model: Model, rows: Sequence[InputRow]) -> tuple[Vectors, Present]:
    """Modality -> the vectors of the rows, zeros where there are none, and whether there are."""
    vectors: dict[str, NDArray[np.float32]] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    for block in model.reads:
        bag = block == "image" and model.run.record.unit == "study"
        views = max([1, *(len(row.read.get(block, ())) for row in rows)])
        block_vectors = np.zeros((len(rows), views, model.run.record.dims[block]), np.float32)
        there = np.zeros((len(rows), views), np.bool_)
        for place, row in enumerate(rows):
            for view, vector in enumerate(row.read.get(block, ())):
                block_vectors[place, view], there[place, view] = vector, True
        vectors[block] = block_vectors if bag else block_vectors[:, 0]
        present[block] = there if bag else there[:, 0]
    return vectors, present


def judges(parts: Mapping[str, str], names: Sequence[str]) -> frozenset[str]:
    """The models that judge a row: those that tested it; all of them where none did."""
    return frozenset(name for name in names if parts.get(name) == "test") or frozenset(names)


def blocks_compared(model: Model, rows: Sequence[InputRow]) -> list[str]:
    """The modalities in whose space some row is compared, that of films where it has one. Of a network none."""
    if model.run.record.from_pixels:
        return []
    return list(dict.fromkeys(space_block(model, row) for row in rows))


def space_block(model: Model, row: InputRow) -> str:
    """The modality whose vectors say how unusual a row is."""
    return next(block for block in model.reads if block in row.read)


def film_judged(  # noqa: PLR0913
    model: Model,
    said: Said,
    scales: Scales,
    *,
    row: InputRow,
    place: int,
    names: Set[str],
    own: Mapping[str, str],
    spaces: Mapping[str, Space],
    neighbours: int,
) -> FilmJudged:
    """One row with all that is known of it."""
    chosen = [number for number, name in enumerate(said.names) if name in names]
    block = space_block(model, row)
    beside = (
        compared(model, spaces[block], row, block=block, names=names, neighbours=neighbours)
        if spaces
        else BesideTraining()
    )
    labels = labels_judged(
        model, said.calibrated[chosen, place].mean(axis=0), said.prob[chosen, place].mean(axis=0),
        scales=scales, names=[said.names[number] for number in chosen],
    )  # fmt: skip
    return FilmJudged(
        film=row.film,
        item=row.item,
        labels=labels,
        models=tuple(name for name in said.names if name in names),
        parts=own,
        distance=beside.distance,
        limit=beside.limit,
        unusual=None if beside.distance is None or beside.limit is None else beside.distance > beside.limit,
        neighbours=beside.neighbours,
    )


def compared(
    model: Model, space: Space, row: InputRow, *, block: str, names: Set[str], neighbours: int
) -> BesideTraining:
    """How far a row lies from what the models that judge it were trained on, and what is nearest there."""
    near = space.near(np.stack(row.read[block]), names, trained=neighbours > 0)
    nearest = nearest_cases(model, space, near, block=block, count=neighbours)
    measured = [name for name in names if name in space.limits]
    if not measured:
        return BesideTraining(neighbours=nearest)
    distances = [space.distance(near, name, row.patient).max() for name in measured]
    limits = [space.limits[name] for name in measured]
    return BesideTraining(float(np.mean(distances)), float(np.mean(limits)), nearest)


def labels_judged(
    model: Model, prob: Doubles, raw: Doubles, *, scales: Scales, names: Sequence[str]
) -> tuple[LabelJudged, ...]:
    """(k,) the labels of one row. prob, raw: (k,) calibrated, and as the models give it."""
    found = []
    for number, label in enumerate(model.bundle.labels):
        own = [scales.thresholds[name][label] for name in names if label in scales.thresholds.get(name, {})]
        threshold = float(np.mean(own)) if len(own) == len(names) else None
        above = None if threshold is None else bool(prob[number] >= threshold)
        if model.bundle.task == "multiclass":
            above = bool(number == int(prob.argmax()))
        found.append(LabelJudged(label, float(prob[number]), float(raw[number]), threshold, above))
    return tuple(found)


def nearest_cases(model: Model, space: Space, near: Near, *, block: str, count: int) -> tuple[Neighbour, ...]:
    """The nearest training items, each as near as to the nearest of the vectors."""
    if not count or not len(near.rows):
        return ()
    best = near.cosine.max(axis=0)
    order = np.lexsort((near.rows, -best))[:count]
    items = [space.matrix.ids[row].as_py() for row in near.rows[order].tolist()]
    cosines = [round(value, 6) for value in best[order].tolist()]
    found = [(cosine, True, model.dataset, item) for cosine, item in zip(cosines, items, strict=True)]
    return tuple(described(found, block, label_set=model.run.record.label_set))


def studies_of(model: Model, rows: InputRows, films: Sequence[FilmJudged]) -> list[StudyJudged]:
    """The films by study; of each label the mean over them."""
    found = []
    for number, case in enumerate(rows.cases):
        own = [(row, film) for row, film in zip(rows.rows, films, strict=True) if row.case == number]
        if not own:
            continue
        judged = [film for _, film in own]
        notes = list(rows.notes.get(number, ()))
        known = [film for film in judged if film.parts]
        notes += [f"{film.film or case.name} {SEEN}" for film in known if "test" not in film.parts.values()]
        labels = tuple(
            mean_of([film.labels[place] for film in judged], model.bundle.task)
            for place in range(len(model.bundle.labels))
        )
        if model.bundle.task == "multiclass":
            best = max(labels, key=lambda one: one.probability)
            labels = tuple(LabelJudged(**{**vars(one), "above": one is best}) for one in labels)
        reads = tuple(block for block in model.reads if any(block in row.read for row, _ in own))
        found.append(StudyJudged(case.name, labels, tuple(judged), reads, tuple(notes)))
    return found


def mean_of(labels: Sequence[LabelJudged], task: str) -> LabelJudged:
    """One label over the films of a study, as `Predictions.by_study` has it."""
    prob, raw = (float(np.mean([getattr(one, name) for one in labels])) for name in ("probability", "uncalibrated"))
    own = [one.threshold for one in labels if one.threshold is not None]
    threshold = float(np.mean(own)) if len(own) == len(labels) else None
    return LabelJudged(labels[0].label, prob, raw, threshold, None if threshold is None else prob >= threshold)
