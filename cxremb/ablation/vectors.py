"""The vectors that each arm reads, on the rows that every arm can use: what is compared is paired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxremb.ablation.arms import Arm
from cxremb.ablation.policies import AXIS, PolicyLabels, policy_labels
from cxremb.ablation.priors import NO_PRIOR, with_prior
from cxremb.embedding.choose import choose_stores, edited_store, tower_store
from cxremb.errors import DataError, StoreError, TrainError
from cxremb.features import Features, Inputs, load_features
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store, open_store
from cxremb.store.stored_rows import StoredRows, stored_rows
from cxremb.store.texts import KEEP, MARKS, section_roles, text_parts

BOTH = ("image", "text")


@dataclass(frozen=True)
class ArmInputs:
    """What one arm reads: arms that want the same share one set of vectors."""

    inputs: Inputs
    pooling: str | None = None
    prior: bool = False  # whether films come with what has changed since the examination before
    policy: str | None = None  # of unsure readings: what becomes of them in training


def known_texts(dataset: Dataset) -> tuple[str, ...]:
    """The texts that arms may name."""
    return tuple(text_parts(section_roles(dataset.reports)))


def paired_features(dataset: Dataset, arms: Sequence[Arm], base: Inputs) -> dict[Arm, Features]:
    """Arm -> its vectors. Every arm has the rows that all of them can use.

    Frontal films are a choice of what to train on and no lack, so an arm with `views=frontal` has fewer rows; the
    comparison is then on test rows that both judge. An arm with `head=attention` has studies for rows, of the same
    films. Raises what `load_features` raises, and `DataError` when no row is left.
    """
    reads = tuple(block for block in BOTH if any(block in arm.blocks for arm in arms))
    wanted = {arm: wanted_by(dataset, arm, base, unit="image" if "image" in reads else "study") for arm in arms}
    labels = policy_labels(dataset, base.label_set) if any(want.policy for want in wanted.values()) else None
    loaded = {want: load(dataset, want, reads, labels=labels) for want in dict.fromkeys(wanted.values())}
    whole = {
        want: loaded[want] if want.inputs.views == "all" else load(dataset, all_views(want), reads, labels=labels)
        for want in loaded
    }
    shared = kept_rows(whole)
    first = next(iter(loaded))
    unusable = reasons(whole, whole[first])
    paired = {
        want: replace(restricted(features, shared), left_out={**features.left_out, **unusable})
        for want, features in loaded.items()
    }
    return {arm: paired[want] for arm, want in wanted.items()}


def wanted_by(dataset: Dataset, arm: Arm, base: Inputs, *, unit: str) -> ArmInputs:
    """What the arm reads. Raises `StoreError` for an encoder, or for edited texts, without a store."""
    views = (arm.get("views") or "all") if base.views == "all" else base.views
    unit = "study" if arm.pools_films else base.unit or unit
    inputs = replace(base, text=arm.text or base.text, views=views, unit=unit)
    if arm.is_zero_shot:
        inputs = replace(inputs, image_model=tower_store(dataset, arm.get("encoder"), usual=base.image_model).name)
    elif encoder := arm.get("encoder"):
        modality = open_store(dataset, encoder).modality
        if modality not in arm.blocks:
            raise StoreError(
                f"{arm.name}: {encoder} encodes {modality}, which the arm does not read", hint="use fusion"
            )
        inputs = replace(inputs, **{f"{modality}_model": encoder})
    if (xxxx := arm.get(MARKS) or KEEP) != KEEP:
        inputs = replace(inputs, text_model=edited_store(dataset, inputs.text_model, xxxx).name)
    return ArmInputs(inputs, arm.get("pooling"), bool(arm.get("prior")), arm.get(AXIS))


def all_views(want: ArmInputs) -> ArmInputs:
    """The same, lateral films included."""
    return replace(want, inputs=replace(want.inputs, views="all"))


def load(dataset: Dataset, want: ArmInputs, reads: Sequence[str], *, labels: PolicyLabels | None = None) -> Features:
    """The vectors that are wanted, on all rows that have them. labels: where some arm has a policy of its own."""
    features = load_features(dataset, reads, want.inputs, labels=labels.known if labels else None)
    features = labels.given_to(features, want.policy) if labels else features
    if want.pooling is None and not want.prior:
        return features
    models = {"image": want.inputs.image_model, "text": want.inputs.text_model}
    stores, _ = choose_stores(dataset, reads, models)
    features = features if want.pooling is None else pooled_anew(features, stores, want)
    if not want.prior:
        return features
    return with_prior(dataset, features, stores["image"], pooling=features.pooling["image"])


def pooled_anew(features: Features, stores: Mapping[str, Store], want: ArmInputs) -> Features:
    """The same with another pooling of every store that has it. Raises `TrainError` if none has."""
    fitting = {name: store for name, store in stores.items() if want.pooling in store.manifest.recipe.poolings}
    if not fitting:
        there = "; ".join(f"{store.name} has {', '.join(store.manifest.recipe.poolings)}" for store in stores.values())
        raise TrainError(f"no store has pooling {want.pooling}", hint=there)
    blocks = {name: pooled_block(features, store, want) for name, store in fitting.items()}
    pooling = dict.fromkeys(fitting, str(want.pooling))
    return replace(features, blocks={**features.blocks, **blocks}, pooling={**features.pooling, **pooling})


def pooled_block(features: Features, store: Store, want: ArmInputs) -> StoredRows:
    """(n, dim) of another pooling: a store has all its poolings of every item."""
    ids = features.study_ids if store.modality == "text" else features.item_ids
    matrix = store.load(want.inputs.text if store.modality == "text" else "image", want.pooling)
    return stored_rows(matrix, matrix.rows(ids.tolist()))


def kept_rows(whole: Mapping[ArmInputs, Features]) -> dict[str, set[str]]:
    """Unit -> the ids that all have: studies of every arm, and films of the arms whose rows are films."""
    studies = set.intersection(*(set(features.study_ids.tolist()) for features in whole.values()))
    films = [set(features.item_ids.tolist()) for features in whole.values() if features.unit == "image"]
    return {"study": studies, "image": set.intersection(*films) if films else set()}


def restricted(features: Features, shared: Mapping[str, set[str]]) -> Features:
    """The rows that every arm has. Raises `DataError` when none is left."""
    mask = np.isin(features.study_ids, list(shared["study"]))
    if features.unit == "image":
        mask &= np.isin(features.item_ids, list(shared["image"]))
    if not mask.any():
        raise DataError("no row has all that the arms read", hint="compare fewer arms at a time")
    return features if mask.all() else features.take(mask)


def reasons(whole: Mapping[ArmInputs, Features], first: Features) -> dict[str, int]:
    """Reason -> rows of the first arm that another arm cannot use; a row counts under the first that holds."""
    remaining = np.ones(len(first.item_ids), dtype=np.bool_)
    counts = {}
    for want, features in whole.items():
        same = features.unit == first.unit == "image"
        here = np.isin(first.item_ids if same else first.study_ids, features.item_ids if same else features.study_ids)
        if lost := int((remaining & ~here).sum()):
            read = ", ".join([*([want.inputs.text] if "text" in features.blocks else []), *features.stores.values()])
            counts[NO_PRIOR if want.prior else f"cannot be used by every arm ({read})"] = lost
        remaining &= here
    return counts
