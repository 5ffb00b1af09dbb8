"""Arms -> finished runs. Models that share vectors, head and recipe are one stack; finished runs are re-used.

It is `training.fit.fit_runs` for what differs between arms and not between heads: the share of the training patients,
and a modality that is taken away when the trained model is tested.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from cxremb.ablation.arms import Arm
from cxremb.features import Features
from cxremb.splits import StoredSplit
from cxremb.store.dataset import Dataset
from cxremb.training.data import Member, Rows
from cxremb.training.finish import Made, finish_run, run_key
from cxremb.training.fit import Bench, check_shapes, judged, key_of, member, refuse_diverged, rows_of
from cxremb.training.parts import Parts, parts_of_plan, refuse_untrainable
from cxremb.training.plan import Place, Plan
from cxremb.training.runs import Run, find_run
from cxremb.training.tables import Fitted
from cxremb.types import Progress, unwatched

if TYPE_CHECKING:
    from cxremb.training.data import Trained

Cuts = Mapping[tuple[int, int], Parts]  # (repeat, fold) -> the part of each row
Model = tuple[float, Place]  # of one stack: the share of the training patients, and the fold


@dataclass(frozen=True)
class Job:
    """One arm to be trained. `plan.arm` is the arm's full name, so it decides the run's key."""

    arm: Arm
    features: Features
    plan: Plan


def fit_arms(dataset: Dataset, split: StoredSplit, jobs: Sequence[Job], progress: Progress = unwatched) -> list[Run]:
    """The run of each job: the finished one if there is one (`reused`), else trained now. Raises as `fit_runs`."""
    keys = [key_of_job(dataset, split, job) for job in jobs]
    runs = {key: replace(done, reused=True) for key in keys if (done := find_run(dataset, key))}
    stacks: dict[tuple[int, str], dict[str, Job]] = {}
    for key, job in zip(keys, jobs, strict=True):
        if key not in runs:
            stacks.setdefault((id(job.features), job.arm.head_name), {})[key] = job
    for alike in stacks.values():
        runs |= fit_stack(dataset, split, alike, progress)
    return [runs[key] for key in keys]


def key_of_job(dataset: Dataset, split: StoredSplit, job: Job) -> str:
    """The key of the run that answers a job; that of `cxremb train` where the arm is no more than a head."""
    bench = Bench(dataset, job.features, split)
    plain = key_of(bench, replace(job.plan, arm=job.arm.head_name))  # raises if the preset is not for these labels
    if job.plan.arm == job.arm.head_name:
        return plain
    return run_key(dataset, job.features, split, job.plan, asdict(job.arm.head))


def fit_stack(dataset: Dataset, split: StoredSplit, jobs: Mapping[str, Job], progress: Progress) -> dict[str, Run]:
    """The runs, by key, of jobs that share vectors, head and recipe. Arms that differ in testing alone share models."""
    from cxremb.training import loop  # torch takes seconds to import, and a run that is re-used never needs it

    first = next(iter(jobs.values()))
    features, head = first.features, first.arm.head
    check_shapes(features, head, first.arm.name)
    cuts = {key: cuts_of(job, split) for key, job in jobs.items()}
    members: dict[Model, Member] = {}
    for key, job in jobs.items():
        for place in job.plan.places:
            members[job.arm.fraction, place] = member(cuts[key][place.repeat, place.fold], place)
    rows, started = rows_of(features, head.blocks), time.perf_counter()
    trained = loop.fit_members(rows, list(members.values()), head, options=first.plan.options, progress=progress)
    models = dict(zip(members, trained, strict=True))
    seconds = time.perf_counter() - started
    dims = {block: features.blocks[block].shape[-1] for block in head.blocks}
    parameters = head.parameters(dims, features.task, len(features.labels))
    precision = loop.precision_of(first.plan.options, head, "cpu")
    runs = {}
    for key, job in jobs.items():
        if not all(models[job.arm.fraction, place].epoch for place in job.plan.places):
            continue  # the others are written before `refuse_diverged` speaks of this one
        fitted = [tested(job, rows, models, place, cuts[key]) for place in job.plan.places]
        share = seconds * len(fitted) / len(models)  # models are trained side by side
        made = Made(job.plan, head.blocks, fitted, cuts[key], parameters, share, asdict(head), precision)
        runs[key] = finish_run(dataset, features, split, made)
    refuse_diverged((first.arm.name, place, one) for (_, place), one in models.items())
    return runs


def tested(job: Job, rows: Rows, models: Mapping[Model, "Trained"], place: Place, cuts: Cuts) -> Fitted:
    """A model with its predictions, made without the modality that the arm takes away."""
    model = models[job.arm.fraction, place]
    return judged(without(rows, job.arm.get("missing")), job.arm.head, model, place, cuts[place.repeat, place.fold])


def without(rows: Rows, modality: str | None) -> Rows:
    """The rows with one modality missing from all."""
    if modality is None:
        return rows
    gone = np.zeros_like(rows.present[modality])
    block = np.zeros_like(rows.blocks[modality])
    return replace(rows, blocks={**rows.blocks, modality: block}, present={**rows.present, modality: gone})


def cuts_of(job: Job, split: StoredSplit) -> dict[tuple[int, int], Parts]:
    """(repeat, fold) -> parts, in which patients beyond the arm's share of the training patients are in none."""
    cuts = parts_of_plan(job.features, split, job.plan, job.arm.head.blocks)
    if job.arm.fraction == 1:
        return cuts
    seed = job.plan.seeds[0]
    for (repeat, fold), parts in cuts.items():
        kept = nested_patients(job.features.patient_ids[parts == "train"], job.arm.fraction, (seed, repeat, fold))
        parts[(parts == "train") & ~np.isin(job.features.patient_ids, kept)] = ""
        refuse_untrainable(job.features, parts, f"{job.arm.name}, fold {fold} of split {split.title}")
    return cuts


def nested_patients(patients: Sequence[str], fraction: float, seed: Sequence[int]) -> list[str]:
    """A random share of the patients, once each. Of one seed, a smaller share is part of every larger one."""
    names = np.unique(patients)
    drawn = np.random.default_rng(list(seed)).permutation(names)
    return list(drawn[: ceil(fraction * len(names))].tolist())
