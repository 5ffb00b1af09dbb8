"""What each modality, head and choice adds: arms on the same rows and folds, read downward from words to a table."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cxremb.ablation.arms import Arm, parse_arms
from cxremb.ablation.compare import ArmResult, compare_rows, judged_rows, predicted_rows, unit_of
from cxremb.ablation.controls import ControlResult, row_of_control, run_controls
from cxremb.ablation.fusing import better_alone, fusings
from cxremb.ablation.notes import notes_of_runs, notes_of_split
from cxremb.ablation.policies import AXIS, certain_rows, with_unsure
from cxremb.ablation.recipes import several_folds
from cxremb.ablation.table import Ablation
from cxremb.ablation.trial import FIXED, REFERENCE, Trial
from cxremb.ablation.vectors import known_texts, paired_features
from cxremb.ablation.verdicts import verdicts
from cxremb.caveats import outdated_vectors
from cxremb.embedding.choose import has_store
from cxremb.errors import TrainError
from cxremb.features import Inputs
from cxremb.labels import read_labels
from cxremb.predictions import Predictions
from cxremb.splits import DEFAULT, SplitSpec, StoredSplit, choose_split, new_split
from cxremb.store.dataset import Dataset
from cxremb.training.fit import fit
from cxremb.training.parts import too_few
from cxremb.training.plan import FitJob, Plan
from cxremb.training.presets import find_preset
from cxremb.training.record import ZERO_SHOT
from cxremb.training.runs import Run, list_runs, read_run
from cxremb.types import Progress, unwatched
from cxremb.zeroshot.prompts import JOINED, Prompt, prompts_of, read_prompts, with_shipped
from cxremb.zeroshot.score import zero_shot_job, zero_shot_run

ARMS = ("image", "text", "fusion")


def ablate(
    dataset: Dataset,
    arms: Sequence[str] = ARMS,
    inputs: Inputs | None = None,
    *,
    trial: Trial | None = None,
    progress: Progress = unwatched,
) -> Ablation:
    """The arms, and the reference beside them where its modalities have a store, on identical rows and folds.

    A reference that nobody named is also left out, which a note says, where too few rows have all that it reads.
    arms: words of the grammar of `arms`. A finished run that answers the same is re-used. Raises what `load_features`,
    `choose_split` and `fit` raise, and `TrainError` for what is no arm, or an unknown preset.
    """
    started = time.perf_counter()
    inputs, trial = inputs or Inputs(), trial or Trial()
    jobs, reference, notes = jobs_of(dataset, arms, inputs, trial=trial)
    runs = runs_of(jobs, progress)
    tests = judged_rows(runs, paired=reference is not None, threshold=trial.threshold)
    rows = compare_rows(runs, tests, reference)
    main = next((job for job in jobs if job.plan.arm == reference), jobs[0])
    controls = (
        run_controls(dataset, certain_rows(main.features), main.split, trial=trial, progress=progress)
        if trial.controls
        else []
    )
    found = summary(jobs, runs, tests, rows=rows, reference=reference, controls=controls, trial=trial)
    return replace(found, notes=(*notes, *found.notes), seconds=time.perf_counter() - started)


def jobs_of(
    dataset: Dataset, words: Sequence[str], inputs: Inputs, *, trial: Trial
) -> tuple[list[FitJob], str | None, list[str]]:
    """(what is to be trained, the name of the reference or None, what to know).

    A reference that nobody named, and that has too few rows beside the arms, is left out. Raises what `ablate` raises.
    """
    options = find_preset(trial.preset).options
    chosen, reference = with_reference(dataset, words, inputs, trial=trial)
    split = split_of(dataset, inputs.label_set, trial)  # before anything large is read
    features = paired_features(dataset, chosen, inputs)
    if any(one.learnt is not None for one in features.values()):
        split = with_unsure(dataset, split, next(iter(features.values())))
    plan = Plan("", trial.preset, options, trial.folds or split.folds, trial.repeat_numbers, trial.seed_numbers)
    asked = prompts_asked(dataset, chosen, label_set=inputs.label_set, path=trial.prompts)
    jobs = [job_of(FitJob(dataset, features[arm], split, plan), arm, asked) for arm in chosen]
    named = {arm.name for arm in parse_arms(words, known_texts(dataset))}
    added = [job for job in jobs if job.plan.arm not in named and trial.reference == REFERENCE]
    if not added or not (why := too_few(added[0])):
        return jobs, reference, []
    jobs, reference, _ = jobs_of(dataset, words, inputs, trial=replace(trial, alone=True))
    return jobs, reference, [f"{added[0].plan.arm} is left out, so every row counts that the others can use: {why}"]


def prompts_asked(
    dataset: Dataset, arms: Sequence[Arm], *, label_set: str | None, path: Path | None
) -> dict[str, list[Prompt]]:
    """Set of prompts -> those that zero-shot arms of it ask. path: a file of one's own.

    Raises `DataError` as `prompts_of`, and `TrainError` for a file that no arm reads.
    """
    names = dict.fromkeys(arm.get("prompts") or "" for arm in arms if arm.is_zero_shot)
    own = read_prompts(path) if path else []
    rows = with_shipped(own) if names else []
    if own and not {one for name in names for one in name.split(JOINED)} & {row.prompts for row in own}:
        raise TrainError(f"no arm reads the prompts of {path}", hint=f"name it: zero-shot[prompts={own[0].prompts}]")
    labels = read_labels(dataset, label_set) if names else None
    return {name: prompts_of(labels, name, rows) for name in names if labels}


def runs_of(jobs: Sequence[FitJob], progress: Progress) -> dict[str, Run]:
    """Arm -> its run: trained, or made of prompts."""
    prompted = {job.plan.arm: zero_shot_run(job) for job in jobs if ZERO_SHOT in (job.other or {})}
    trained = [job for job in jobs if job.plan.arm not in prompted]
    fitted = {job.plan.arm: run for job, run in zip(trained, fit(trained, progress), strict=True)}
    return {job.plan.arm: (prompted | fitted)[job.plan.arm] for job in jobs}


def job_of(job: FitJob, arm: Arm, asked: Mapping[str, Sequence[Prompt]] | None = None) -> FitJob:
    """What is to be trained for an arm, or asked. asked: set of prompts -> its prompts."""
    plan = replace(job.plan, arm=arm.name)
    if asked and arm.is_zero_shot:
        name = arm.get("prompts") or ""
        return zero_shot_job(replace(job, plan=plan), asked[name], name)
    job = replace(job, plan=plan, given_head=arm.head, train_fraction=arm.fraction, missing=arm.get("missing"))
    return replace(job, shots=arm.shots, label_policy=arm.get(AXIS), prior=bool(arm.get("prior")))


def summary(
    jobs: Sequence[FitJob],
    runs: Mapping[str, Run],
    tests: Mapping[str, Predictions],
    *,
    rows: Sequence[ArmResult],
    reference: str | None,
    controls: Sequence[ControlResult],
    trial: Trial,
) -> Ablation:
    """The comparison with what the caption needs. Baselines are those of the test rows, the same for every arm."""
    main = next((job for job in jobs if job.plan.arm == reference), jobs[0])
    features, split, test = main.features, main.split, tests[rows[0].arm]
    main_run = runs[reference or rows[0].arm]
    first = main_run.record
    unlisted = {why: n for why, n in first.left_out.items() if why.startswith("not in split")}
    figures = test.figures()[test.headline]
    return Ablation(
        rows=tuple(rows),
        reference=reference,
        dataset=main.dataset.name,
        unit=unit_of(runs),
        label_set=features.label_set,
        label=features.label,
        n=rows[0].n,
        patients=rows[0].patients,
        prevalence=figures.get("prevalence"),
        majority_accuracy=figures.get("majority_accuracy"),
        all_positive_f1=figures.get("all_positive_f1"),
        split=split.title,
        split_means=split.means,
        leaky=split.leaky,
        folds=len(first.folds),
        stores=features.stores,
        text=features.text,
        text_role=features.text_role,
        left_out={**features.left_out, **unlisted},
        preset=first.preset,
        simulated=main.dataset.simulated,
        notes=(
            *notes_of_runs(runs, main_run),
            *dict.fromkeys(note for job in jobs for note in outdated_vectors(job.features, job.blocks)),
            *notes_of_split(split),
        ),
        seconds=0.0,
        repeats=trial.repeats,
        seeds=trial.seeds,
        threshold=trial.threshold,
        margin=trial.margin,
        recipes=several_folds(runs),
        judged_before=judged_before(main, runs),
        task=features.task,
        controls=tuple(on_rows_of(control, test, unit_of(runs), threshold=trial.threshold) for control in controls),
        fusing=tuple(fusings(jobs, runs, set(test.pools[0].items.tolist()))),
        verdicts=tuple(verdicts(runs, controls)),
        better_alone=tuple(better_alone(main_run.arm, runs, rows)),
    )


def judged_before(job: FitJob, runs: Mapping[str, Run]) -> int:
    """How many other finished runs, controls aside, the same split and label set were judged with."""
    own, here = {run.run_id for run in runs.values()}, (job.split.title, job.features.label_set)
    others = (run.record for run in list_runs(job.dataset) if run.run_id not in own)
    return sum((one.split, one.label_set) == here and not one.is_control for one in others)


def with_reference(
    dataset: Dataset, words: Sequence[str], inputs: Inputs, *, trial: Trial
) -> tuple[list[Arm], str | None]:
    """(arms to train, the name of the reference among them or None). Raises `TrainError` as `parse_arms`.

    Without a store of all that the reference reads, the first arm stands in for it.
    """
    texts = known_texts(dataset)
    chosen = parse_arms(words, texts)
    named = parse_arms([trial.reference], texts)
    if len(named) > 1:
        raise TrainError(f"{trial.reference} is several arms", hint="name one as the reference")
    reference = named[0]
    named_store = {"image": inputs.image_model, "text": inputs.text_model}
    possible = all(has_store(dataset, block, named_store[block]) for block in reference.blocks)
    if reference not in chosen and not trial.alone and possible:
        chosen.append(reference)
    if len(chosen) < 2:
        return chosen, None
    return chosen, (reference if reference in chosen else chosen[0]).name


def split_of(dataset: Dataset, label_set: str | None, trial: Trial) -> StoredSplit:
    """The split. More repeats of the default one are made, under a name of their own.

    Raises `SplitError` as `choose_split`, `TrainError` if the split has fewer repeats.
    """
    wanted = trial.repeat + trial.repeats
    if trial.split == DEFAULT.name and wanted > DEFAULT.repeats:
        return new_split(dataset, label_set, SplitSpec(f"{DEFAULT.name}-x{wanted}", repeats=wanted))
    split = choose_split(dataset, label_set, trial.split, allow_leaky=trial.allow_leaky)
    if wanted > len(split.repeats):
        raise TrainError(
            f"split {split.title} has {len(split.repeats)} repeats",
            hint=f"leave --split out, or make one: `cxremb data split NAME --repeats {wanted}`",
        )
    return split


def on_rows_of(control: ControlResult, test: Predictions, unit: str, *, threshold: str) -> ControlResult:
    """A control on the rows of the arms, at thresholds chosen as theirs, where it was made on others or at 0.5."""
    items = np.unique(test.items)
    if control.row is None or (control.row.n == len(items) and unit == "image" and threshold == FIXED):
        return control
    run = replace(read_run(Path(control.folder)), reused=control.row.reused)
    own = predicted_rows(run, unit, threshold)
    own = own.take(np.isin(own.items, items))
    return replace(control, row=row_of_control(run, own, control.draws))
