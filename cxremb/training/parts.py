"""Who is trained on and who is tested in one fold, and what must not be trained. Needs no torch."""

from collections.abc import Sequence
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from cxremb.errors import TrainError
from cxremb.features import Features
from cxremb.splits import StoredSplit, fold_parts
from cxremb.training.plan import FitJob, Plan

FEWEST_ROWS = 10  # training rows below which a head learns the rows by heart and nothing else

Parts = NDArray[np.str_]  # (n,) train, val, test, or "" for a row that the split does not list


def judged_rows(parts: Parts) -> NDArray[np.int64]:
    """(m,) the rows of val and test, in order: what a model is asked about."""
    return np.flatnonzero((parts == "val") | (parts == "test"))


def parts_of_job(job: FitJob) -> dict[tuple[int, int], Parts]:
    """(repeat, fold) -> the part of each row; patients beyond the job's share of the training patients are in none.

    Raises `TrainError` if one cannot be trained on.
    """
    found = parts_of_plan(job.features, job.split, job.plan, blocks=job.blocks)
    if job.train_fraction == 1:
        return found
    patients, seed = job.features.patient_ids, job.plan.seeds[0]
    for (repeat, fold), parts in found.items():
        kept = nested_patients(patients[parts == "train"], job.train_fraction, (seed, repeat, fold))
        parts[(parts == "train") & ~np.isin(patients, kept)] = ""
        refuse_untrainable(job.features, parts, f"{job.plan.arm}, fold {fold} of split {job.split.title}")
    return found


def nested_patients(patients: NDArray[np.str_], fraction: float, seed: Sequence[int]) -> list[str]:
    """A random share of the patients, once each. Of one seed, a smaller share is part of every larger one."""
    names = np.unique(patients)
    drawn = np.random.default_rng(list(seed)).permutation(names)
    return list(drawn[: ceil(fraction * len(names))].tolist())


def parts_of_plan(
    features: Features, split: StoredSplit, plan: Plan, *, blocks: Sequence[str]
) -> dict[tuple[int, int], Parts]:
    """(repeat, fold) -> the part of each row. blocks: what is read. Raises `TrainError` if one cannot be trained on."""
    if split.by_image and features.unit != "image":
        raise TrainError(
            f"split {split.name} is by image, and a row of these inputs is a {features.unit}",
            hint="use a head that reads images: image or fusion",
        )
    found = {}
    for repeat in plan.repeats:
        for fold in plan.folds:
            parts = parts_of_rows(features, split, (repeat, fold))
            where = f"fold {fold} of split {split.title}"
            refuse_untrainable(features, parts, where)
            refuse_absent(features, blocks, parts, where=where)
            refuse_seen(features, blocks, parts, where=where)
            if not (parts == "val").any() and plan.options.chooses_epoch:
                raise TrainError(
                    f"{where} has no val part, and preset {plan.preset} chooses its epoch there",
                    hint="use a preset that keeps the last epoch: --preset cnn-llm/as-coded",
                )
            found[repeat, fold] = parts
    return found


def parts_of_rows(features: Features, split: StoredSplit, place: tuple[int, int]) -> Parts:
    """The part of each row in one fold. place: its repeat and its number."""
    part_of = fold_parts(split.table, *place)
    items = features.item_ids if split.by_image else features.study_ids
    parts = np.array([part_of.get(item, "") for item in items.tolist()], dtype=np.str_)
    if features.learnt is not None:  # other labels are learnt than judged: a row may have but one of the two
        labels = np.where((parts == "train")[:, None], features.learnt, features.y)
        parts[np.isnan(labels).all(axis=1)] = ""
    return parts


def refuse_untrainable(features: Features, parts: Parts, where: str) -> None:
    """Raises `TrainError` if the split does not fit the rows, or there is nothing to learn or to test on."""
    if not (parts != "").any():
        raise TrainError(
            f"all {len(parts)} rows are in no part of {where}",
            hint="choose a split of these studies with --split, or leave it out",
        )
    train = parts == "train"
    if train.sum() < FEWEST_ROWS:
        lost = "".join(f"; {count:,} rows left out: {why}" for why, count in features.left_out.items() if count)
        text = "; `cxremb train text`, or linear-text, and `cxremb ablate --text-only --alone` need no images"
        raise TrainError(
            f"{where} has {train.sum()} training rows of unit {features.unit}, {FEWEST_ROWS} are the least{lost}",
            hint=f"embed more of the data set{text if 'image' in features.blocks else ''}",
        )
    if not both_classes(features.taught[train]).any():
        raise TrainError(
            f"{common_class(features, train)} in {where}: nothing to tell apart",
            hint="embed more of the data set, or name another label set with --label-set",
        )
    if not (parts == "test").any():
        raise TrainError(f"{where} has no test row", hint="embed more of the data set, or choose another --split")


def too_few(job: FitJob) -> str:
    """Why the job's rows are too few to learn from and to test on, in the first fold where they are; else ""."""
    for place in product(job.plan.repeats, job.plan.folds):
        parts = parts_of_rows(job.features, job.split, place)
        try:
            refuse_untrainable(job.features, parts, f"fold {place[1]} of split {job.split.title}")
        except TrainError as error:
            return str(error)
    return ""


def refuse_absent(features: Features, blocks: Sequence[str], parts: Parts, *, where: str) -> None:
    """Raises `TrainError` if a modality is there in no training row."""
    for block in blocks:
        if not features.present[block][parts == "train"].any():
            raise TrainError(
                f"no training row of {where} has {'a text' if block == 'text' else f'an {block}'}",
                hint=f"embed more of the data set, or choose a head that reads no {block}",
            )


def both_classes(y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(k,) whether each label has a positive and a negative among the rows; NaN is neither. y: (n, k)."""
    return np.asarray((y == 1).any(axis=0) & (y == 0).any(axis=0))


def common_class(features: Features, train: NDArray[np.bool_]) -> str:
    """What all training rows have in common, in words."""
    if len(features.labels) > 1:
        return f"no label of {features.label_set} has both a positive and a negative training row"
    return f"all {train.sum()} training rows have {features.label} = {features.taught[train][0, 0]:g}"


def refuse_seen_by_job(job: FitJob) -> None:
    """As `refuse_seen`, in every fold of a job: asked of finished runs too, since `data add` may merge two patients."""
    if not job.features.seen:
        return
    for place in product(job.plan.repeats, job.plan.folds):
        parts = parts_of_rows(job.features, job.split, place)
        refuse_seen(job.features, job.blocks, parts, where=f"fold {place[1]} of split {job.split.title}")


def refuse_seen(features: Features, blocks: Sequence[str], parts: Parts, *, where: str) -> None:
    """Raises `TrainError` if an encoder was fine-tuned on a patient that is to be predicted.

    Those on whom only its epoch was chosen may be in val again, where an epoch is chosen; never in test.
    """
    tested, watched = (set(features.patient_ids[parts == part].tolist()) for part in ("test", "val"))
    judged = tested | watched
    for block in blocks:
        seen = features.seen.get(block)
        if seen is None or not (shared := (tested & seen.patients) | (watched & (seen.patients - seen.epoch_only))):
            continue
        fold = "" if seen.fold is None else f" --fold {seen.fold}"
        same = f"use the split it was fine-tuned with: --split {seen.split}{fold}"
        hint = same if seen.split else "use another encoder"
        raise TrainError(
            f"{len(shared):,} of the {len(judged):,} patients in val and test of {where} are among those that "
            f"{features.stores[block]} was fine-tuned on: it has seen them, so its figures would be too good",
            hint=f"{hint}; or name another store with --{block}-model",
        )
