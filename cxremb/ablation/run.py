"""What each modality, head and choice adds: arms on the same rows and folds, read downward from words to a table."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cxremb.ablation.arms import Arm, parse_arms
from cxremb.ablation.compare import compare_pools, judged_pools, unit_of
from cxremb.ablation.controls import ControlResult, row_of_control, run_controls
from cxremb.ablation.fit import Job, fit_arms
from cxremb.ablation.fusing import fusings
from cxremb.ablation.pools import Pool, figures_of, pools_of
from cxremb.ablation.table import Ablation, Shown, summary
from cxremb.ablation.trial import Trial
from cxremb.ablation.vectors import known_texts, paired_features
from cxremb.ablation.verdicts import verdicts
from cxremb.errors import TrainError
from cxremb.features import Inputs
from cxremb.splits import DEFAULT, SplitSpec, StoredSplit, choose_split, new_split
from cxremb.store.choose import has_store
from cxremb.store.dataset import Dataset
from cxremb.training.plan import Plan
from cxremb.training.presets import find_preset
from cxremb.training.runs import read_run
from cxremb.types import Progress, unwatched

ARMS = ("image", "text", "fusion")


def ablate(
    dataset: Dataset,
    arms: Sequence[str] = ARMS,
    inputs: Inputs | None = None,
    trial: Trial | None = None,
    progress: Progress = unwatched,
) -> Ablation:
    """The arms, and the reference beside them where its modalities have a store, on identical rows and folds.

    arms: words of the grammar of `arms`. A finished run that answers the same is re-used. Raises what `load_features`,
    `choose_split` and `fit_runs` raise, and `TrainError` for what is no arm, or an unknown preset.
    """
    started = time.perf_counter()
    inputs, trial = inputs or Inputs(), trial or Trial()
    preset = find_preset(trial.preset)
    chosen, reference = with_reference(dataset, arms, inputs, trial)
    features = paired_features(dataset, chosen, inputs)
    split = split_of(dataset, inputs.label_set, trial)
    plan = Plan("", trial.preset, preset.options, trial.folds or split.folds, trial.repeat_numbers, trial.seed_numbers)
    jobs = [Job(arm, features[arm], replace(plan, arm=arm.name)) for arm in chosen]
    runs = {job.plan.arm: run for job, run in zip(jobs, fit_arms(dataset, split, jobs, progress), strict=True)}
    pools = judged_pools(runs, paired=reference is not None, threshold=trial.threshold)
    rows = compare_pools(runs, pools, reference)
    main = next((job for job in jobs if job.plan.arm == reference), jobs[0])
    controls = run_controls(dataset, main.features, split, trial, progress) if trial.controls else []
    shown = Shown(
        dataset=dataset,
        features=main.features,
        split=split,
        trial=trial,
        runs=runs,
        rows=rows,
        reference=reference,
        controls=[on_rows_of(control, pools[rows[0].arm], unit_of(runs)) for control in controls],
        fusing=fusings(jobs, runs, set(pools[rows[0].arm][0].items.tolist())),
        verdicts=verdicts(runs, controls),
        baselines=figures_of(pools[rows[0].arm]),
        notes=[f"{job.plan.arm} reads {told_vectors(job)}" for job in jobs if told_vectors(job) != told_vectors(main)],
    )
    return summary(shown, time.perf_counter() - started)


def with_reference(
    dataset: Dataset, words: Sequence[str], inputs: Inputs, trial: Trial
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
    possible = all(has_store(dataset, block, named_store[block]) for block in reference.head.blocks)
    if reference not in chosen and not trial.alone and possible:
        chosen.append(reference)
    if len(chosen) < 2:
        return chosen, None
    return chosen, (reference if reference in chosen else chosen[0]).name


def split_of(dataset: Dataset, label_set: str, trial: Trial) -> StoredSplit:
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


def on_rows_of(control: ControlResult, pools: Sequence[Pool], unit: str) -> ControlResult:
    """A control on the rows of the arms, where these are fewer or of another unit than those it was made on."""
    items = np.unique(np.concatenate([pool.items for pool in pools]))
    if control.row is None or (control.row.n == len(items) and unit == "image"):
        return control
    run = replace(read_run(Path(control.folder)), reused=control.row.reused)
    own = [pool.take(np.isin(pool.items, items)) for pool in pools_of(run, unit)]
    return replace(control, row=row_of_control(run, own, control.deals))


def told_vectors(job: Job) -> str:
    """The stores behind the arms that read others than most, in words."""
    features = job.features
    pooling = ", ".join(f"{block} {kind}" for block, kind in features.pooling.items())
    return f"{', '.join(features.stores.values())}; pooling {pooling}"
