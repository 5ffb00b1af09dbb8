"""Which pairs there are to judge: who is trained on, which rows and concepts are tested, and what stands against it."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cxremb.encoders.pretrained import seen_before
from cxremb.errors import DataError, TrainError, did_you_mean, name_list
from cxremb.store.kinship import kinship
from cxremb.store.manifest import latest_manifest
from cxremb.training.heads import HeadSpec
from cxremb.training.parts import both_classes, refuse_seen
from cxremb.transfer.gather import Collected, Together
from cxremb.transfer.models import parts_of_group
from cxremb.transfer.overlap import Shared, keep_rows, looks_of, shared_with
from cxremb.transfer.plan import TransferPlan
from cxremb.transfer.record import Task
from cxremb.types import Progress

RowNumbers = NDArray[np.int64]
EACH = "`cxremb data concepts NAME`"


def tasks_of(
    together: Together, head: HeadSpec, plan: TransferPlan, *, progress: Progress
) -> tuple[list[Task], list[str]]:
    """(every pair, what to know). Raises `DataError` for a name that is none, or where nothing is left to judge."""
    looks, notes = looks_of(together, progress) if plan.near_copies else ({}, [])

    @cache
    def shared(tested: str, group: tuple[str, ...]) -> Shared:
        return shared_with(together, tested, group, looks=looks)

    tasks = [
        task_of(together, group, tested, head=head, plan=plan, shared=shared)
        for tested in chosen_names(together, plan.test_on)
        for group in groups_for(together, tested, plan)
    ]
    if not tasks:
        raise DataError("no collection is left to train on", hint="name one more, or add --allow-overlap")
    tasks.sort(key=lambda task: [one.name for one in together.collected].index(task.group[0]))
    if all(task.reason for task in tasks):
        pairs: dict[str, list[str]] = {}  # by why not, each told once
        for task in tasks:
            pairs.setdefault(str(task.reason), []).append(f"{task.title} → {task.tested}")
        why = "; ".join(f"{name_list(dict.fromkeys(which))}: {reason}" for reason, which in pairs.items())
        spent = any(len(task.cases) and not len(task.rows) for task in tasks)
        hint = f"recalibrate on fewer than {plan.recalibrate} patients" if spent else "see what each has: " + EACH
        raise DataError(f"no pair can be judged: {why}", hint=hint)
    return tasks, [*notes, *not_beside(together, tasks, plan), *in_no_part(together, tasks, plan), *same_ids(together)]


def chosen_names(together: Together, wanted: Sequence[str]) -> list[str]:
    """The collections that are named, or all. Raises `DataError` for one that is not among them."""
    known = [one.name for one in together.collected]
    for name in wanted:
        if name not in known:
            hint = f"{did_you_mean(name, known)}they are {name_list(known)}"
            raise DataError(f"{name!r} is none of the collections", hint=hint)
    return list(wanted) or known


def groups_for(together: Together, tested: str, plan: TransferPlan) -> list[tuple[str, ...]]:
    """On whom models are trained that are tested on `tested`: each other collection, or all others together.

    Of all others those are left out that have films of it, and of those that have films of one another all but the
    largest, unless overlaps are allowed.
    """
    others = [name for name in chosen_names(together, plan.train_on) if name != tested]
    if not plan.leave_one_out:
        return [(name,) for name in others]
    apart: list[str] = []
    for name in sorted(others, key=lambda name: -len(together.rows_of(name))):
        if plan.allow_overlap or not any(kin_of(together, name, other) for other in (tested, *apart)):
            apart.append(name)
    return [tuple(name for name in others if name in apart)] if apart else []


def not_beside(together: Together, tasks: Sequence[Task], plan: TransferPlan) -> list[str]:
    """What to know of collections that are not trained on beside others, since they have films of them."""
    found = []
    for task in tasks if plan.leave_one_out else ():
        for name in set(chosen_names(together, plan.train_on)) - {*task.group, task.tested}:
            if not kin_of(together, name, task.tested):
                why = next(filter(None, (kin_of(together, name, other) for other in task.group)))
                found.append(f"{task.title} → {task.tested}: {name} is not trained on beside them: {why}")
    return sorted(found)


def in_no_part(together: Together, tasks: Sequence[Task], plan: TransferPlan) -> list[str]:
    """What to know of training collections whose split does not list all rows: it is of one label set, and concepts
    may be of several.
    """
    found = []
    for name in dict.fromkeys(name for task in tasks if not task.reason for name in task.group):
        one, rows = together.named(name), together.rows_of(name)
        lost = rows[np.all([parts == "" for parts in one.parts.values()], axis=0)]
        if len(lost):
            n, of = units(together, lost, plan), units(together, rows, plan)
            title = one.split.title
            found.append(
                f"{n:,} of {of:,} rows of {name} are in no part of its split {title}: nothing learns from them"
            )
    return found


def kin_of(together: Together, a: str, b: str) -> str | None:
    """What is known of two collections to have in common."""
    return kinship(together.named(a).collection, together.named(b).collection)


def in_both(
    together: Together, group: Sequence[str], shared: Callable[[str, tuple[str, ...]], Shared]
) -> tuple[RowNumbers, list[str]]:
    """(rows of the patients of whom an earlier collection of the group has a film, what must be said of the group)."""
    rows, said = [np.empty(0, dtype=np.int64)], []
    for number, name in enumerate(group[1:], 1):
        found = shared(name, tuple(group[:number]))
        own = together.rows_of(name)[np.isin(together.named(name).features.patient_ids, list(found.patients))]
        rows.append(own)
        if len(own):
            said.append(
                f"{len(own):,} films of {name} are trained on once: {' or '.join(group[:number])} has the films"
            )
        said += [f"inside is too good: {why}; both are trained on" for why in found.kin]
    return np.concatenate(rows), said


def task_of(
    together: Together,
    group: tuple[str, ...],
    tested: str,
    *,
    head: HeadSpec,
    plan: TransferPlan,
    shared: Callable[[str, tuple[str, ...]], Shared],
) -> Task:
    """One pair."""
    found = shared(tested, group)
    rows, left_out = keep_rows(together, tested, found, count=lambda rows: units(together, rows, plan))
    cases, rows = drawn_cases(together, rows, plan)
    if len(cases):
        left_out["rows of patients that probabilities are fitted on"] = units(together, cases, plan)
    b = together.named(tested)
    seen = seen_caveats(b, head)
    twice, of_group = in_both(together, group, shared)
    concepts, not_judged = usable(together, group, tested, rows=rows, twice=twice)
    reason = None
    if found.kin and not plan.allow_overlap:
        reason = f"{'; '.join(found.kin)}: --allow-overlap judges it all the same, less the films that are found to be"
        reason += " in both"
    elif not len(rows):
        reason = f"no row is left to test: {', '.join(f'{n:,} {why}' for why, n in left_out.items())}"
    elif why := has_seen_own(together, group, head):
        reason = why
    elif not concepts:
        reason = "; ".join(f"{concept}: {why}" for concept, why in not_judged.items())
    return Task(
        group=group,
        tested=tested,
        concepts=tuple(concepts),
        rows=rows,
        cases=cases,
        left_out=left_out,
        twice=twice,
        caveats=(*seen, *(f"not external: {why}" for why in found.kin), *of_group),
        not_judged={} if reason else not_judged,
        seen=bool(seen),
        reason=reason,
    )


def has_seen_own(together: Together, group: Sequence[str], head: HeadSpec) -> str:
    """Why a training collection's own test rows are no test: its encoder was fine-tuned on them. "" if it was not."""
    for one in map(together.named, group):
        for fold, parts in one.parts.items():
            try:
                refuse_seen(one.features, head.blocks, parts, where=f"fold {fold} of split {one.split.title}")
            except TrainError as error:
                return str(error)
    return ""


def seen_caveats(b: Collected, head: HeadSpec) -> list[str]:
    """What must be said of encoders that have seen the tested collection."""
    found = []
    for block in head.blocks:
        encoder = b.features.stores[block].partition("@")[0]
        manifest = latest_manifest(b.dataset.paths.embeddings / b.features.stores[block].partition(" ")[0])
        model = manifest.recipe.model if manifest else ""
        if why := seen_before(encoder, b.collection, model=model):
            found.append(f"not external: {why}")
        if (tuned := manifest and manifest.provenance.get("fine_tuned")) and tuned.get("dataset") == b.name:
            found.append(f"not external: {encoder} was fine-tuned on patients of {b.name}")
    return found


def drawn_cases(together: Together, rows: RowNumbers, plan: TransferPlan) -> tuple[RowNumbers, RowNumbers]:
    """(rows of the patients to fit probabilities on again, the other rows). The same patients whoever is trained on."""
    if not plan.recalibrate:
        return np.empty(0, dtype=np.int64), rows
    patients = together.ids["patients"][rows]
    names = np.unique(patients)
    drawn = np.random.default_rng(plan.seed).permutation(names)[: plan.recalibrate]
    own = np.isin(patients, drawn)
    return rows[own], rows[~own]


def units(together: Together, rows: RowNumbers, plan: TransferPlan) -> int:
    """How many rows of a figure these are: films, or the studies that they are of."""
    return len(np.unique(together.ids["studies"][rows])) if plan.unit == "study" else len(rows)


def usable(
    together: Together, group: Sequence[str], tested: str, *, rows: RowNumbers, twice: RowNumbers
) -> tuple[list[int], dict[str, str]]:
    """(the concepts that can be judged, why others cannot): both answers in train and test of every training
    collection together, and among the tested rows.
    """
    parts = parts_of_group(together, group, twice)
    there, found, why = together.y[rows], [], {}
    for column, concept in enumerate(together.concepts):

        def rows_in(part: str, fold: int, column: int = column) -> NDArray[np.float64]:
            own: NDArray[np.float64] = together.y[parts[fold] == part][:, [column]]
            return own

        if not any(concept in together.named(name).features.labels for name in group):
            why[concept] = f"{'+'.join(group)} has no such label"
        elif np.isnan(there[:, column]).all():
            has = concept in together.named(tested).features.labels
            why[concept] = "no tested row says anything of it" if has else f"{tested} has no such label"
        elif not both_classes(there[:, [column]])[0]:
            why[concept] = f"all tested rows are {'positive' if (there[:, column] == 1).any() else 'negative'}"
        elif not all(both_classes(rows_in("train", fold))[0] for fold in parts):
            why[concept] = f"{'+'.join(group)} has one answer to it in training"
        elif not both_classes(np.concatenate([rows_in("test", fold) for fold in parts]))[0]:
            why[concept] = f"{'+'.join(group)} has one answer to it in its test rows"
        else:
            found.append(column)
    return found, why


def same_ids(together: Together) -> list[str]:
    """A note where two collections have patients of one id: nobody knows that they are one."""
    found = {}
    for a, b in combinations(together.collected, 2):
        both = np.intersect1d(a.features.patient_ids, b.features.patient_ids)
        if len(both):
            found[f"{a.name} and {b.name}"] = both
    if not found:
        return []
    pairs = ", ".join(f"{names} ({len(both):,}, such as {both[0]})" for names, both in found.items())
    return [f"patient ids that are in both {pairs} are taken for different people: ids are a collection's own"]
