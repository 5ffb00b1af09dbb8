"""Runs: what `cxremb train`, `ablate`, `evaluate` and `compare` do, and a run loaded to predict with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cxremb.ablation import Ablation, Trial, compare_encoders, split_arms
from cxremb.ablation import ablate as run_arms
from cxremb.api.places import data_set, remark, store_root
from cxremb.calibrated import Decisions, RunEvaluation, decisions, evaluate_run
from cxremb.caveats import outdated_vectors
from cxremb.checklists import Checklist, fill_checklist
from cxremb.comparison import Comparison, compare_runs
from cxremb.embedding.choose import choose_stores, has_store
from cxremb.errors import DataError, StoreError
from cxremb.evaluation.bootstrap import watched
from cxremb.features import Features, Inputs
from cxremb.features import load_features as assemble
from cxremb.labels import read_labels
from cxremb.splits import StoredSplit, choose_split
from cxremb.store.dataset import data_sets
from cxremb.stratify import Stratified, stratify
from cxremb.training.fit import FitJob, Plan, fit_run
from cxremb.training.heads import find_head, heads_of_less
from cxremb.training.presets import changed, find_preset
from cxremb.training.runs import Run, dataset_of, open_run
from cxremb.types import Progress, unwatched

if TYPE_CHECKING:
    from cxremb.inference.loaded import LoadedRun
    from cxremb.inference.loaded_networks import LoadedNetworks
    from cxremb.store.dataset import Dataset
    from cxremb.training.presets import Preset

RunName = str | Run  # a run, or its id, or its first letters or another part of it that no other run has
ARMS = "image,text,fusion"


def train(
    head: str | None = None,
    *,
    preset: str = "default",
    split: str = "patient-5fold",
    fold: int = 0,
    repeat: int = 0,
    allow_leaky: bool = False,
    epochs: int | None = None,
    learning_rate: float | None = None,
    precision: str | None = None,
    label_set: str | None = None,
    image_model: str | None = None,
    text_model: str | None = None,
    text: str = "findings+impression",
    views: str = "all",
    unit: str | None = None,
    missing: str = "drop",
    seed: int = 0,
    weights: str | Path | None = None,
    device: str | None = None,
    dataset: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> Run:
    """The run of one fold: a head on stored vectors, or a network from pixels where the preset is of one.

    A finished run that answers the same is given again (`reused`). The options are those of `cxremb train`. Raises
    what `load_features` raises, `SplitError` for an unknown or leaky split, `TrainError` for a head, a preset and a
    task that do not go together and for a loss that is no number.
    """
    found = data_set(dataset, root)
    published = find_preset(preset, read_labels(found, label_set).task)
    arm = head or published.head
    recipe = changed(published, arm, epochs=epochs, learning_rate=learning_rate, precision=precision)
    inputs = Inputs(label_set, image_model, text_model, text, views, unit, missing)
    place = Plan(arm, recipe.name, recipe.options, (fold,), (repeat,), (seed,))
    if recipe.network and head is None:
        folds = choose_split(found, label_set, split, allow_leaky=allow_leaky)  # before films are decoded
        return train_network(
            found, recipe, inputs, folds=folds, place=place, weights=weights, device=device or "auto", progress=progress
        )
    spec = find_head(arm)
    if spec.kind == "attention" and unit is None:
        inputs = replace(inputs, unit="study")  # it pools the films of a study: there is no other way to use it
    try:
        choose_stores(found, spec.blocks, {"image": image_model, "text": text_model})
    except StoreError as error:
        near = [head for block, head in heads_of_less(arm).items() if has_store(found, block)]
        if near and not all(has_store(found, block) for block in spec.blocks):
            error.hint += f"; or train on what is there: `cxremb train {near[0]}`"
        raise
    folds = choose_split(found, label_set, split, allow_leaky=allow_leaky)  # before anything large is read
    features = assemble(found, spec.blocks, inputs)
    remark_choices(features, folds)
    return fit_run(FitJob(found, features, folds, place), progress, device or "cpu")


def train_network(
    dataset: "Dataset",
    recipe: "Preset",
    inputs: Inputs,
    *,
    folds: StoredSplit,
    place: Plan,
    weights: str | Path | None,
    device: str,
    progress: Progress,
) -> Run:
    """The run of a network from pixels."""
    from cxremb.training.pixels.fit import fit_network, open_source, plan_of

    plan = replace(plan_of(recipe), folds=place.folds, repeats=place.repeats, seeds=place.seeds)
    source = open_source(dataset, inputs, plan, weights=None if weights is None else Path(weights), progress=progress)
    remark_choices(source.features, folds)
    return fit_network(dataset, source, folds, plan=plan, progress=progress, device=device)


def remark_choices(features: Features, folds: StoredSplit) -> None:
    """What was chosen for the user, and how the split fits the labels."""
    remark(
        [
            *features.notes,
            *outdated_vectors(features, tuple(features.blocks)),
            *(f"{note.what}: {note.count:,}" for note in folds.notes),
        ]
    )


def ablate(
    arms: str | Sequence[str] = ARMS,
    *,
    encoders: str | Sequence[str] = "",
    alone: bool = False,
    reference: str = "fusion",
    preset: str = "default",
    label_set: str | None = None,
    image_model: str | None = None,
    text_model: str | None = None,
    text: str = "findings+impression",
    split: str = "patient-5fold",
    allow_leaky: bool = False,
    repeat: int = 0,
    repeats: int = 1,
    seed: int = 0,
    seeds: int = 1,
    threshold: str = "0.5",
    margin: float | None = None,
    prompts: str | Path | None = None,
    controls: bool = True,
    dataset: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> Ablation:
    """Arms compared on the same rows and folds: figures with intervals, differences that hold together, controls.

    arms: words with commas between, or a list of them: image, text, fusion (these three if left out), a section,
    pre-read, image+indication, zero-shot, or one changed in brackets, as `fusion[head=gated|late]`. encoders: names
    with commas between, a list of them, or `all`: the arms once for each, with mean ranks and what each encoder costs.
    The options are those of `cxremb ablate`. Raises what `load_features` raises, `SplitError`, and `TrainError` for
    what is no arm, threshold or preset.
    """
    trial = Trial(
        preset=preset,
        split=split,
        allow_leaky=allow_leaky,
        repeat=repeat,
        seed=seed,
        alone=alone,
        repeats=repeats,
        seeds=seeds,
        threshold=threshold,
        margin=margin,
        prompts=None if prompts is None else Path(prompts),
        reference=reference,
        controls=controls,
    )
    words = split_arms(arms) if isinstance(arms, str) else arms
    inputs = Inputs(label_set, image_model, text_model, text)
    if encoders:
        named = split_arms(encoders) if isinstance(encoders, str) else encoders
        return compare_encoders(data_set(dataset, root), named, words, inputs=inputs, trial=trial, progress=progress)
    return run_arms(data_set(dataset, root), words, inputs, trial=trial, progress=progress)


def evaluate(
    run: RunName,
    *,
    by: str | None = None,
    prevalence: float | None = None,
    label: str | None = None,
    dataset: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> RunEvaluation | Stratified | Decisions:
    """Every test figure of a run, whether its probabilities hold, and thresholds; with `by`, the figures of each group;
    with `prevalence`, what the thresholds do where such a share of patients has the finding, and a decision curve.

    by: view, finding, `missing section`, no-indexing, or an SQL expression over the columns of images and studies
        and over facts, such as sex.
    label: which of several labels. dataset: where to look for the run; everywhere if left out. Raises `StoreError` for
    an unknown run, `QueryError` for wrong SQL, `DataError` for `by` and `prevalence` in one.
    """
    run = named_run(run, dataset, root)
    if by is not None and prevalence is not None:
        raise DataError("groups and a prevalence in one", hint="ask for one of them at a time")
    if prevalence is not None:
        return decisions(run, prevalence, label=label, progress=progress)
    if by is None:
        return evaluate_run(run, progress)
    with watched(progress, "groups with other patients") as resampling:
        return stratify(dataset_of(run), run, by, label=label, resampling=resampling)


def compare(
    first: RunName,
    second: RunName,
    *,
    shared: bool = False,
    label: str | None = None,
    dataset: str | None = None,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> Comparison:
    """The first run minus the second on the test rows that both judge: AUROC, accuracy, F1, McNemar, and what follows.

    shared: leave out the rows that only one has. label: one of several; their macro figures if left out. Raises
    `StoreError` for an unknown run, `DataError` for runs that cannot be paired.
    """
    runs = (named_run(one, dataset, root) for one in (first, second))
    return compare_runs(*runs, shared=shared, label=label, progress=progress)


def checklist(
    run: RunName, kind: str = "claim", *, dataset: str | None = None, root: str | Path | None = None
) -> Checklist:
    """The items of a reporting checklist with the answers that run, split, data set and last audit give.

    kind: claim (CLAIM, 2024 update) or tripod (TRIPOD+AI, 2024). What only people know is "to be written". Raises
    `StoreError` for an unknown run, `DataError` for another kind.
    """
    return fill_checklist(named_run(run, dataset, root), kind)


def load(run: RunName, *, dataset: str | None = None, root: str | Path | None = None) -> "LoadedRun | LoadedNetworks":
    """The models of a run, to predict with from vectors, features or films; of a network from pixels from decoded films
    or files. Only safetensors and JSON are read.

    Raises `StoreError` for an unknown or damaged run, `TrainError` for a control.
    """
    from cxremb.inference.loaded import load_run

    return load_run(named_run(run, dataset, root).folder)


def named_run(run: RunName, dataset: str | None, root: str | Path | None) -> Run:
    """The run itself, looked for in one data set, or in all there are."""
    return run if isinstance(run, Run) else open_run(run, *data_sets(store_root(root), dataset))
