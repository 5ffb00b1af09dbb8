"""Which run judges, and the stores or the decoder that its models read by; refused where either does not fit."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from cxremb.caveats import IMPORTED
from cxremb.embedding.fresh import LoadedEncoders
from cxremb.embedding.pixels import frame_name
from cxremb.errors import StoreError, TrainError
from cxremb.inference.language import words_of
from cxremb.store.dataset import Dataset
from cxremb.store.reader import Store, list_stores
from cxremb.training.bundle import Bundle
from cxremb.training.runs import Run, dataset_of, list_runs

if TYPE_CHECKING:
    from cxremb.training.pixels.predict import Networks

WORDS = {"image": "films", "text": "reports"}
HEADS = {("image",): "image", ("text",): "text", ("image", "text"): "fusion"}


@dataclass(frozen=True)
class Model:
    """A run that is ready to judge."""

    run: Run
    bundle: "Bundle | Networks"
    dataset: Dataset
    stores: Mapping[str, Store]  # modality -> the store whose vectors it takes; of a network none
    chosen: str  # why this one, in words
    loaded: LoadedEncoders = field(default_factory=LoadedEncoders, repr=False)  # of its stores

    @property
    def reads(self) -> Sequence[str]:
        return self.bundle.reads

    @cached_property
    def words(self) -> frozenset[str]:
        """Those of the reports of its collection."""
        return words_of(self.dataset)


def newest_run(datasets: Sequence[Dataset], given: Set[str]) -> tuple[Run, str]:
    """(the newest run that reads exactly what is given, else what it can do without, else a part of it; in words).

    given: image, text or both. Controls, and arms of an ablation that learned from a share of the patients or were
    tested without a modality are never it. Where it is of one fold, and a run of several is its like, it is that one. A
    network from pixels is it only where no head fits: nothing is known of what is unusual to it. One on imported
    vectors is it only where no other fits: nothing here encodes new films as they were.
    Raises `TrainError` with the command that trains one.
    """
    runs = [run for run in list_runs(*datasets) if is_plain(run)]
    words = " and ".join(WORDS[one] for one in sorted(given))
    ways = (
        (f"the newest run that reads {words}", lambda run: blocks_of(run) == given),
        (f"the newest run that reads {words} and can do without more", lambda run: can_do_with(run, given)),
        (f"no run reads {words}: the newest that reads a part of it", lambda run: blocks_of(run) < given),
    )
    networks = [run for run in runs if run.record.from_pixels]
    heads = [run for run in runs if not run.record.from_pixels]
    for some in ([run for run in heads if IMPORTED not in run.caveats], networks, heads):
        for why, fits in ways:
            if found := next(filter(fits, some), None):
                return on_all_folds(found, some, why)
    head = HEADS[tuple(sorted(given))]
    where = ", ".join(one.name for one in datasets)
    raise TrainError(f"{where}: no run reads {words} alone", hint=f"train one: `cxremb train {head}`")


def on_all_folds(found: Run, runs: Sequence[Run], why: str) -> tuple[Run, str]:
    """(the run, or where it is of one fold the newest of several that asks the same of the same vectors; in words).

    Five models judge a new film better than one, and only they have tested every film of the collection.
    """
    if len(found.record.folds) > 1:
        return found, why
    several = (run for run in runs if len(run.record.folds) > 1 and question(run) == question(found))
    if (better := next(several, None)) is None:
        return found, why
    return better, f"{why}, but on {len(better.record.folds)} folds: the newest, {found.run_id}, is of one"


def question(run: Run) -> tuple[object, ...]:
    """What a run tells, of whom, from which vectors, by which head."""
    record = run.record
    of_rows = (record.label_set, record.label_version, record.unit, record.views, record.missing)
    return (record.dataset, record.arm, record.head, *of_rows, record.text, record.xxxx, sorted(record.keys.items()))


def is_plain(run: Run) -> bool:
    """Whether it is a trained head or network, neither a control nor made to be compared with one."""
    record = run.record
    return not (
        record.is_control
        or record.is_external
        or not record.members
        or not blocks_of(run)
        or record.train_fraction < 1
        or record.shots is not None
        or record.prior
        or "missing=" in run.arm
    )


def blocks_of(run: Run) -> frozenset[str]:
    """The modalities that it reads."""
    if run.record.from_pixels:
        return frozenset(["image"])
    return frozenset(run.record.spec.get("blocks", ()))


def can_do_with(run: Run, given: Set[str]) -> bool:
    """Whether it was trained on rows that lack a modality, and reads what is given."""
    return run.record.missing == "keep" and given < blocks_of(run)


def ready(bundle: "Bundle | Networks", chosen: str) -> Model:
    """A run's models with their stores. chosen: why this run, in words.

    Raises `StoreError`, with the command that makes it anew, for a store that is gone or has another key; of a network
    if films are decoded to other pixels today than it was trained on.
    """
    if not isinstance(bundle, Bundle):
        refuse_other_pixels(bundle)
        return Model(bundle.run, bundle, dataset_of(bundle.run), {}, chosen)
    run, dataset = bundle.run, dataset_of(bundle.run)
    titles = dict(zip(bundle.head.blocks, run.record.stores, strict=False))
    by_key = {store.manifest.key: store for store in list_stores(dataset)}
    stores = {}
    for block in bundle.head.blocks:
        store = by_key.get(str(bundle.keys[block]))
        if store is None:
            title = titles.get(block, block)
            raise StoreError(
                f"run {run.run_id} reads {block} vectors of {title}, and {dataset.name} has no store of that key any "
                "more: nothing else fits its models",
                hint=f"make it again: `cxremb embed --model {title.partition('@')[0]}`; with the same weights and "
                "options it has the same key",
            )
        stores[block] = store
    return Model(run, bundle, dataset, stores, chosen)


def refuse_other_pixels(networks: "Networks") -> None:
    """Raises `StoreError` unless the frame and decoder that a network was trained with are those of today."""
    run, now = networks.run, f"pixels {frame_name(networks.frame)}"
    if tuple(run.record.stores) != (now,):
        raise StoreError(
            f"run {run.run_id} was trained on films read as {', '.join(run.record.stores) or 'is not known'}, and here "
            f"they are read as {now}: another decoder, other pixels",
            hint=f"train it again: `cxremb train --preset {run.record.preset}`",
        )
