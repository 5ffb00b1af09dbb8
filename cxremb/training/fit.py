"""Jobs -> finished runs. Models of jobs that share rows, head and recipe are trained together, as one stack."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import TrainError
from cxremb.features import Features
from cxremb.predictions import Predictions, joined
from cxremb.store.files import OTHER_ROOT, refuse_unwritable
from cxremb.store.stored_rows import StoredRows
from cxremb.training.data import Member, Place, Rows, Trained
from cxremb.training.finish import FitResult, finish_run, key_of, predictions_of_model
from cxremb.training.heads import HeadSpec
from cxremb.training.parts import Parts, judged_rows, parts_of_job, refuse_seen_by_job
from cxremb.training.plan import LABELS, FitJob, Plan
from cxremb.training.runs import Run, find_run
from cxremb.training.shots import few_rows
from cxremb.training.shuffles import exchanged, labels_drawn
from cxremb.types import Progress, unwatched

__all__ = ["FitJob", "Plan", "fit", "fit_run", "rows_of"]

Share = tuple[float, int | None]  # of the training patients, and how many rows of each class; None: all
Model = tuple[Share, Place]  # of one stack
PartsOfFolds = Mapping[tuple[int, int], Parts]  # (repeat, fold) -> the part of each row


def fit_run(job: FitJob, progress: Progress = unwatched, device: str = "cpu") -> Run:
    """The run that answers one job; as `fit`."""
    return fit([job], progress, device)[0]


def fit(jobs: Sequence[FitJob], progress: Progress = unwatched, device: str = "cpu") -> list[Run]:
    """The run that answers each job: the finished one if there is one (`reused`), else trained and written now.

    Jobs with the same head and recipe are trained together, with all their folds, repeats and seeds; the result is
    that of training them one by one. Jobs that differ in testing alone share their models. The stored models
    standardise their input themselves, so they take raw store vectors. Rows that the split does not list are left out
    and counted. Of shuffled rows the models are not kept: there is nothing to predict with them.

    Raises `TrainError` for an unknown head, a task that the preset is not for, too few rows, a single class, a split
    by image without images, patients that an encoder was fine-tuned on, a modality that no training row has, a recipe
    that chooses an epoch where there is no val, values that are no numbers, or, once the other runs are written, a loss
    that is no number from the first epoch on; `StoreError` where no run can be written.
    """
    keys = [key_of(job) for job in jobs]
    wanted = dict(zip(keys, jobs, strict=True))
    for job in wanted.values():
        refuse_seen_by_job(job)
    runs = {key: replace(done, reused=True) for key, job in wanted.items() if (done := find_run(job.dataset, key))}
    stacks: dict[tuple[int, str, str, str | None], dict[str, FitJob]] = {}
    for key, job in wanted.items():
        if key not in runs:
            refuse_unwritable(job.dataset.paths.runs / key, instead=OTHER_ROOT)  # before anything is trained
            alike = id(job.features), str(job.head), str(job.plan.options), job.shuffles
            stacks.setdefault(alike, {})[key] = job
    for stack in stacks.values():
        runs |= fit_stack(stack, progress, device)
    return [runs[key] for key in keys]


def fit_stack(jobs: Mapping[str, FitJob], progress: Progress, device: str) -> dict[str, Run]:
    """The runs, by key, of jobs that share rows, head and recipe: one training of all their models."""
    from cxremb.training.loop import precision_of  # torch takes seconds to import, and a finished run never needs it

    first = next(iter(jobs.values()))
    features, head, options = first.features, first.head, first.plan.options
    check_shapes(features, head, first.plan.arm)
    parts = {key: parts_of_job(job) for key, job in jobs.items()}
    device = device_named(device)
    trained, predictions, seconds = trained_models(jobs, parts, progress, device=device)
    parameters, precision, runs = parameters_of(head, features), precision_of(options, head, device), {}
    for key, job in jobs.items():
        own = {place: trained[share_of(job), place] for place in job.plan.places}
        if not all(one.epoch for one in own.values()):
            continue  # the others are written before `refuse_diverged` speaks of this one
        result = FitResult(
            trained={place: replace(one, weights={}) if job.shuffles else one for place, one in own.items()},
            predictions=joined([predictions[key, place] for place in own]),
            parts=parts[key],
            parameters=parameters,
            seconds=seconds / len(trained) * len(own),  # models are trained side by side
            precision=precision,
        )
        runs[key] = finish_run(job, result)
    name = first.plan.arm + (f" with shuffled {first.shuffles}" if first.shuffles else "")
    refuse_diverged((name, place, one) for (_, place), one in trained.items())
    return runs


def trained_models(
    jobs: Mapping[str, FitJob], parts: Mapping[str, PartsOfFolds], progress: Progress, *, device: str
) -> tuple[dict[Model, Trained], dict[tuple[str, Place], Predictions], float]:
    """(the models, what they say for each job and place, the seconds of training).

    All are one training, also where each learns labels of its own; where vectors are shuffled, one for each repeat.
    """
    from cxremb.training import loop

    first = next(iter(jobs.values()))
    rows = rows_of(first.features, first.head.blocks)
    trained: dict[Model, Trained] = {}
    predictions, seconds = {}, 0.0
    exchanges = first.shuffles not in (None, LABELS)
    places = [(key, place) for key, job in jobs.items() for place in job.plan.places]
    for repeat in dict.fromkeys(place.repeat if exchanges else None for _, place in places):
        here = [(key, place) for key, place in places if repeat in (None, place.repeat)]
        read = rows if repeat is None else exchanged_rows(rows, first, parts[here[0][0]], repeat=repeat)
        members: dict[Model, Member] = {
            (share_of(jobs[key]), place): member_of(jobs[key], parts[key][place.repeat, place.fold], place)
            for key, place in here
        }
        started = time.perf_counter()
        options = first.plan.options
        models = loop.fit_members(
            read, list(members.values()), first.head, options=options, progress=progress, device=device
        )
        seconds += time.perf_counter() - started
        trained |= dict(zip(members, models, strict=True))
        for key, place in here:
            if (one := trained[share_of(jobs[key]), place]).epoch:
                own = parts[key][place.repeat, place.fold]
                predictions[key, place] = tested(jobs[key], read, one, place=place, parts=own)
    return trained, predictions, seconds


def exchanged_rows(rows: Rows, job: FitJob, parts: PartsOfFolds, *, repeat: int) -> Rows:
    """The rows with the vectors that the job shuffles exchanged within the parts of one repeat."""
    read = [parts[repeat, fold] for fold in job.plan.folds]
    return exchanged(rows, read, what=str(job.shuffles), draw=(repeat, job.plan.seeds[0]))


def member_of(job: FitJob, parts: Parts, place: Place) -> Member:
    """The model of a job at a place, with the rows of its shots alone, and the labels that are drawn for it."""
    found = few_of(job, member(parts, place, job.features), place)
    return replace(found, y=labels_drawn(job.features, parts, place)) if job.shuffles == LABELS else found


def tested(job: FitJob, rows: Rows, trained: Trained, *, place: Place, parts: Parts) -> Predictions:
    """What a model says of its val and test rows, without the modality that the job takes away.

    Of val rows that were fitted to, what models say that were fitted to others of them: a temperature or a threshold
    may be chosen there.
    """
    import torch

    from cxremb.training import loop

    index = judged_rows(parts)
    predicted = loop.predict(without(rows, job.missing), job.head, trained.weights, index=index)
    if trained.crossed is not None and job.missing is None:
        crossed, val = loop.predicted(torch.from_numpy(trained.crossed), rows.task), parts[index] == "val"
        for whole, own in zip(predicted, crossed, strict=True):
            whole[val] = own
    return predictions_of_model(job, place, parts, prob=predicted.prob, logit=predicted.logit)


def without(rows: Rows, modality: str | None) -> Rows:
    """The rows with one modality missing from all."""
    if modality is None:
        return rows
    gone = np.zeros_like(rows.present[modality])
    block = rows.blocks[modality]
    block = block.emptied() if isinstance(block, StoredRows) else np.zeros_like(block)
    return replace(rows, blocks={**rows.blocks, modality: block}, present={**rows.present, modality: gone})


def parameters_of(head: HeadSpec, features: Features) -> int:
    """Trainable parameters of one model."""
    dims = {block: features.blocks[block].shape[-1] for block in head.blocks}
    return head.parameters(dims, features.task, len(features.labels))


def refuse_diverged(models: Iterable[tuple[str, Place, Trained]]) -> None:
    """Raises `TrainError` if there is a model, of an arm and a place, of which no epoch can be kept."""
    for arm, place, one in models:
        if not one.epoch:
            raise TrainError(
                f"{arm}, {place.name}: the loss is no number after epoch {one.diverged}, the first",
                hint="lower --learning-rate; runs that were trained beside it are kept",
            )


def device_named(name: str) -> str:
    """The device, `auto` resolved. Raises `EncoderError` for one that is not here."""
    from cxremb.encoders.machine import best_device, check_device

    device = best_device() if name == "auto" else name
    check_device(device)
    return device


def rows_of(features: Features, blocks: Sequence[str]) -> Rows:
    """What the trainer reads of the features. Rows that are learnt with another label than they are judged by stand
    again behind all others, with that label (`learnt_at`).
    """
    again = learnt_otherwise(features)
    own = features.take(np.concatenate([np.arange(len(features.y)), again])) if len(again) else features
    return Rows(
        blocks={block: own.blocks[block] for block in blocks},
        present={block: own.present[block] for block in blocks},
        y=np.concatenate([features.y, features.taught[again]]),
        task=own.task,
        groups=own.patient_ids,
    )


def learnt_otherwise(features: Features) -> NDArray[np.int64]:
    """The rows whose labels in training are not those that they are judged by."""
    same = (features.taught == features.y) | (np.isnan(features.taught) & np.isnan(features.y))
    return np.flatnonzero(~same.all(axis=1))


def learnt_at(features: Features) -> NDArray[np.int64]:
    """(n,) where each row stands in `rows_of` with the label that it is learnt with."""
    places, again = np.arange(len(features.y)), learnt_otherwise(features)
    places[again] = len(places) + np.arange(len(again))
    return places


def member(parts: Parts, place: Place, features: Features | None = None) -> Member:
    """One model: trained on `train`, its epoch chosen on `val`; without `val`, `test` is watched and nothing chosen."""
    watched = "val" if (parts == "val").any() else "test"
    train = np.flatnonzero(parts == "train")
    train = train if features is None else learnt_at(features)[train]
    return Member(train, np.flatnonzero(parts == watched), place.seed, watched, place.name)


def few_of(job: FitJob, whole: Member, place: Place) -> Member:
    """The model with the rows of its shots alone."""
    if job.shots is None:
        return whole
    features = job.features
    own = np.concatenate([np.arange(len(features.y)), learnt_otherwise(features)])[whole.train]  # rows of the features
    kept = few_rows(
        features.taught[own],
        features.task,
        features.patient_ids[own],
        shots=job.shots,
        seed=(place.seed, place.repeat, place.fold),
        where=f"{job.plan.arm}, fold {place.fold} of split {job.split.title}",
    )
    return replace(whole, train=whole.train[kept])


def share_of(job: FitJob) -> Share:
    """How much of the training part it learns from."""
    return job.train_fraction, job.shots


def check_shapes(features: Features, head: HeadSpec, arm: str) -> None:
    """Raises `TrainError` where films come as the views of a study and the head takes one film, or the reverse."""
    for block in head.blocks:
        if block not in features.blocks:
            raise TrainError(f"head {arm} reads {block}, and these rows have none", hint=f"load {block} features too")
    bag = features.blocks[head.blocks[0]].ndim == 3
    if bag and head.kind != "attention":
        raise TrainError(
            f"head {arm} takes one film a row, and a row of these inputs is a study with all its films",
            hint="leave --unit out, or train attention or attention-image",
        )
    if head.kind == "attention" and not bag:
        raise TrainError(f"head {arm} pools the films of a study, and a row is a film", hint="add --unit study")
