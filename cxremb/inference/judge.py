"""What the models of a run say of rows: those that tested it of a film of the collection, the mean of all of a new one.

So a film of the collection gets the probability that its test figures rest on, and no model judges what it has learned
from unless all have.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import count_of
from cxremb.inference.cases import WHAT_IT_READS, Given, nothing_judged
from cxremb.inference.choice import Model
from cxremb.inference.distance import ALARMS, NEIGHBOUR, Near, Space, space_of
from cxremb.inference.results import FilmJudged, Judgements, LabelJudged, StudyJudged
from cxremb.inference.rows import InputRow, InputRows, rows_of
from cxremb.inference.scales import RULE, Members, Scales, members_of, scales_of
from cxremb.similarity.find import Neighbour, described
from cxremb.training.bundle import Present, Vectors
from cxremb.types import Progress, unwatched

Doubles = NDArray[np.float64]
SEEN = "is in the training or validation part of every model: they have learned from it"
FEW = "no limit of what is unusual: too few training or validation rows have a vector"


@dataclass(frozen=True)
class Said:
    """(models, n, k) what each model says of each row."""

    names: Sequence[str]
    prob: Doubles
    calibrated: Doubles


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
        space=space_in_words(spaces),
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
    vectors, present = blocks_of(model, rows)
    names = list(model.bundle.weights)
    found = [model.bundle.predict(vectors, present, name) for name in names]
    calibrated = [
        scales.calibrations[name].apply(np.asarray(one.logit, np.float64), model.bundle.task)[1]
        if name in scales.calibrations
        else np.asarray(one.prob, np.float64)
        for name, one in zip(names, found, strict=True)
    ]
    return Said(names, np.stack([np.asarray(one.prob, np.float64) for one in found]), np.stack(calibrated))


def blocks_of(model: Model, rows: Sequence[InputRow]) -> tuple[Vectors, Present]:
    """Modality -> the vectors of the rows, zeros where there are none, and whether there are."""
    vectors: dict[str, NDArray[np.float32]] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    for block in model.reads:
        bag = block == "image" and model.run.record.unit == "study"
        views = max([1, *(len(row.vectors.get(block, ())) for row in rows)])
        block_vectors = np.zeros((len(rows), views, model.run.record.dims[block]), np.float32)
        there = np.zeros((len(rows), views), np.bool_)
        for place, row in enumerate(rows):
            for view, vector in enumerate(row.vectors.get(block, ())):
                block_vectors[place, view], there[place, view] = vector, True
        vectors[block] = block_vectors if bag else block_vectors[:, 0]
        present[block] = there if bag else there[:, 0]
    return vectors, present


def judges(parts: Mapping[str, str], names: Sequence[str]) -> frozenset[str]:
    """The models that judge a row: those that tested it; all of them where none did."""
    return frozenset(name for name in names if parts.get(name) == "test") or frozenset(names)


def blocks_compared(model: Model, rows: Sequence[InputRow]) -> list[str]:
    """The modalities in whose space some row is compared, that of films where it has one."""
    return list(dict.fromkeys(space_block(model, row) for row in rows))


def space_block(model: Model, row: InputRow) -> str:
    """The modality whose vectors say how unusual a row is."""
    return next(block for block in model.reads if block in row.vectors)


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
    space, vectors = spaces[block], np.stack(row.vectors[block])
    measured = [name for name in names if name in space.limits]
    near = space.near(vectors, names, trained=neighbours > 0)
    distance = limit = None
    if measured:
        each = [space.distance(near, name, row.patient).max() for name in measured]
        distance = float(np.mean(each))
        limit = float(np.mean([space.limits[name] for name in measured]))
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
        distance=distance,
        limit=limit,
        unusual=None if distance is None or limit is None else distance > limit,
        neighbours=nearest_cases(model, space, near, block=block, count=neighbours),
    )


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
        reads = tuple(block for block in model.reads if any(block in row.vectors for row, _ in own))
        found.append(StudyJudged(case.name, labels, tuple(judged), reads, tuple(notes)))
    return found


def mean_of(labels: Sequence[LabelJudged], task: str) -> LabelJudged:
    """One label over the films of a study, as `Predictions.by_study` has it."""
    prob, raw = (float(np.mean([getattr(one, name) for one in labels])) for name in ("probability", "uncalibrated"))
    own = [one.threshold for one in labels if one.threshold is not None]
    threshold = float(np.mean(own)) if len(own) == len(labels) else None
    return LabelJudged(labels[0].label, prob, raw, threshold, None if threshold is None else prob >= threshold)


def calibration_in_words(scales: Scales) -> str:
    """Whether probabilities are calibrated, and on what."""
    if not scales.calibrations:
        return "probabilities as the models give them"  # the reason is a note
    spread = sorted(one.temperature for one in scales.calibrations.values())
    own = " to ".join(dict.fromkeys(f"{one:.2f}" for one in (spread[0], spread[-1])))
    return (
        f"probabilities calibrated: the logits of each of {count_of(len(spread), 'model')} divided by a temperature "
        f"({own}) that was fitted on its validation rows"
    )


def threshold_in_words(scales: Scales) -> str:
    """How the thresholds came about, on which rows, with which prevalence."""
    if not scales.chosen_on:
        return "no threshold: of several classes the likeliest is called" if not scales.reasons else "no threshold"
    on = "; ".join(
        f"{label}: {rows:,} rows, prevalence {scales.prevalence[label]:.2f}" for label, rows in scales.chosen_on.items()
    )
    return f"threshold: {RULE.title()}'s, chosen for each model on its validation rows ({on}); of several their mean"


def space_in_words(spaces: Mapping[str, Space]) -> str:
    """What `unusual` compares, and how often it is wrong."""
    lines = []
    for block, space in spaces.items():
        if space.limits:
            beyond, looked_at = (sum(one[place] for one in space.alarms.values()) for place in (0, 1))
            few = f" (too few patients for {ALARMS:.0%})" if space.expected > ALARMS else ""
            lines.append(
                f"unusual: further (1 - cosine) from its {NEIGHBOUR}th nearest training {block} vector than all but "
                f"{space.expected:.0%} of ordinary ones{few}, by validation rows; of the {looked_at:,} test ones, "
                f"which are ordinary, it calls {beyond:,} unusual: false alarms"
            )
    return "; ".join(lines) or FEW


def notes_of(scales: Scales, members: Members, spaces: Mapping[str, Space]) -> list[str]:
    """What could not be known."""
    lacking = [FEW] if any(not space.limits for space in spaces.values()) else []
    return [*scales.reasons, *([members.reason] if members.reason else []), *lacking]
