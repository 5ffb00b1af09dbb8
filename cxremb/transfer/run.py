"""Trained on each, tested on the others: read downward from data sets to a table."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cxremb.errors import TrainError
from cxremb.evaluation.arrays import Reals
from cxremb.training.heads import find_head
from cxremb.training.presets import Preset, find_preset
from cxremb.training.runs import Run, find_run
from cxremb.transfer.figures import AUROC, INSIDE, OF_ALL, ExternalFigure, Sides, all_figures
from cxremb.transfer.gather import Together, gather
from cxremb.transfer.matrix import External, ExternalPair
from cxremb.transfer.models import Applied, Team, by_collection, train_teams
from cxremb.transfer.plan import TransferPlan
from cxremb.transfer.prompted import asked_of, scores_of_rows, zero_shot_figures
from cxremb.transfer.record import Task, caveats_of, key_of_task, read_figures, write_pair
from cxremb.transfer.site import SITE, site_control
from cxremb.transfer.tasks import tasks_of, units
from cxremb.types import Progress, unwatched

Sites = dict[frozenset[str], ExternalFigure]


def validate(root: Path, plan: TransferPlan, progress: Progress = unwatched) -> External:
    """Every pair, judged; each is a run below the data set that is tested, and one that was judged before is read.

    Raises what `gather` and `tasks_of` raise, `TrainError` for a head and a preset that do not go together and as
    `fit_members`.
    """
    started = time.perf_counter()
    head, preset = find_head(plan.head), find_preset(plan.preset)
    preset.check_head(plan.head)
    if head.kind == "attention":
        raise TrainError(
            f"head {plan.head} pools the films of a study, and here each film is judged",
            hint="train image or linear-image; --unit study averages the films of a study",
        )
    together = gather(root, plan)
    tasks, notes = tasks_of(together, head, plan, progress=progress)
    asked = {number: asked_of(task, together, plan) for number, task in enumerate(tasks) if not task.reason}
    keys = {number: key_of_task(tasks[number], together, head, preset=preset, plan=plan, asked=prompts)
            for number, prompts in asked.items()}  # fmt: skip
    found = {number: find_run(together.named(tasks[number].tested).dataset, key) for number, key in keys.items()}
    missing = [number for number, run in found.items() if run is None]
    scores = {
        keys[number]: scores_of_rows(tasks[number], together, prompts, plan=plan)
        for number, prompts in asked.items()
        if prompts and number in missing
    }
    wanted = {keys[number]: tasks[number] for number in missing}
    made = judged(together, wanted, plan, scores=scores, preset=preset, progress=progress)
    pairs = [pair_of(task, together, plan) for task in tasks]
    for number, key in keys.items():
        run = found[number] or made[key]
        pairs[number] = replace(
            pairs[number], figures=tuple(read_figures(run)), run_id=run.run_id, reused=found[number] is not None
        )
    return summary(together, plan, pairs, notes=notes, seconds=time.perf_counter() - started)


def judged(
    together: Together,
    tasks: dict[str, Task],
    plan: TransferPlan,
    *,
    scores: Mapping[str, Reals],
    preset: Preset,
    progress: Progress,
) -> dict[str, Run]:
    """Key -> the run of each pair, trained, judged and written. scores: of those rows, by prompts, where asked for."""
    if not tasks:
        return {}
    head = find_head(plan.head)
    applied = Applied(together, together.training_rows(head.blocks), head, plan.unit)
    groups = {task.group: task.twice for task in tasks.values()}
    teams = train_teams(applied, groups, preset.options, seed=plan.seed, progress=progress)
    by_group = {team.names: team for team in teams}
    sites: Sites = {}
    if plan.site and not plan.leave_one_out:
        wanted = [frozenset((*task.group, task.tested)) for task in tasks.values()]
        spans = site_control(together, wanted, head, options=preset.options, seed=plan.seed, progress=progress)
        sites = {
            pair: ExternalFigure("", SITE, one.value, one.low, one.high, one.reason) for pair, one in spans.items()
        }
    runs = {}
    for key, task in progress(tasks.items(), len(tasks), "pairs"):
        team = by_group[task.group]
        test = applied.of(team, task.rows, task.concepts)
        figures = figures_of(applied, team, task, sites=sites, plan=plan)
        if key in scores:
            figures += zero_shot_figures(applied, team, task, scores=scores[key])
        how = (head, preset, plan)
        runs[key] = write_pair(task, together, team, key=key, test=test, figures=figures, how=how)
    return runs


def figures_of(applied: Applied, team: Team, task: Task, *, sites: Sites, plan: TransferPlan) -> list[ExternalFigure]:
    """All figures of one pair."""
    cases = None
    if len(task.cases):
        cases = applied.of(team, task.cases, task.concepts, part="val")
    sides = Sides(
        applied.own(team, "val", task.concepts),
        applied.own(team, "test", task.concepts),
        applied.of(team, task.rows, task.concepts),
        cases,
    )
    found = all_figures(sides, sensitivity=plan.sensitivity)
    headline = sides.outside.headline
    if len(task.group) == 1 and (site := sites.get(frozenset((task.group[0], task.tested)))):
        found.append(replace(site, concept=headline))
    return [*found, replace(of_all(applied, team), concept=headline)]


def of_all(applied: Applied, team: Team) -> ExternalFigure:
    """The AUROC inside, the mean over all concepts that can be judged there."""
    y, test = applied.together.y, np.any([parts == "test" for parts in team.parts], axis=0)
    known = [
        column
        for column in range(y.shape[1])
        if (y[test, column] == 1).any() and (y[test, column] == 0).any()
        and all((y[parts == "train", column] == value).any() for parts in team.parts for value in (0, 1))
    ]  # fmt: skip
    span = by_collection(applied.own(team, "test", known)).interval((AUROC,))[AUROC]
    return ExternalFigure(INSIDE, OF_ALL, span.value, span.low, span.high, span.reason)


def pair_of(task: Task, together: Together, plan: TransferPlan) -> ExternalPair:
    """The pair without its figures."""
    return ExternalPair(
        trained_on=task.title,
        tested_on=task.tested,
        concepts=() if task.reason else tuple(together.concepts[column] for column in task.concepts),
        figures=(),
        left_out=task.left_out,
        caveats=caveats_of(task, together, find_head(plan.head)),
        reason=task.reason,
        not_judged=task.not_judged,
        seen=task.seen,
    )


def summary(
    together: Together, plan: TransferPlan, pairs: Sequence[ExternalPair], *, notes: Sequence[str], seconds: float
) -> External:
    """The result with what the caption needs."""
    collections = {}
    for one in together.collected:
        y, rows = one.features.y, together.rows_of(one.name)
        counts = {"rows": units(together, rows, plan), "patients": one.features.patients}
        collections[one.name] = counts | {
            f"positives of {concept}": units(together, rows[y[:, column] == 1], plan)
            for column, concept in enumerate(one.features.labels)
        }
    aim = plan.sensitivity
    return External(
        pairs=tuple(pairs),
        concepts=together.concepts,
        vocabulary=plan.vocabulary,
        collections=collections,
        stores={one.name: ", ".join(one.features.stores.values()) for one in together.collected},
        head=plan.head,
        preset=plan.preset,
        unit=plan.unit if "image" in find_head(plan.head).blocks else "study",
        splits={one.name: one.split.title for one in together.collected},
        threshold="of the best sensitivity + specificity on validation rows of the training collection" if aim is None
        else f"that aim at a sensitivity of {aim:g} on validation rows of the training collection",
        recalibrated_on=plan.recalibrate,
        zero_shot=plan.zero_shot,
        seconds=seconds,
        notes=tuple(dict.fromkeys((*not_read(together), *together.notes, *notes))),
    )  # fmt: skip


def not_read(together: Together) -> list[str]:
    """Which films or studies of each collection are no row, and why."""
    return [
        f"Left out of {one.name}: {', '.join(f'{n:,} {why}' for why, n in one.features.left_out.items())}"
        for one in together.collected
        if one.features.left_out
    ]
