"""External validation: what `cxremb external` does."""

from collections.abc import Sequence
from pathlib import Path

from cxremb.api.places import store_root
from cxremb.features import Inputs
from cxremb.transfer.matrix import External
from cxremb.transfer.plan import TransferPlan
from cxremb.transfer.run import validate
from cxremb.types import Progress, unwatched

Names = str | Sequence[str]


def external(
    collections: Names | None = None,
    *,
    concepts: Names = "",
    vocabulary: str = "chexpert",
    train_on: Names = "",
    test_on: Names = "",
    leave_one_out: bool = False,
    head: str = "image",
    preset: str = "default",
    image_model: str | None = None,
    text_model: str | None = None,
    text: str = "findings+impression",
    views: str = "all",
    unit: str = "image",
    split: str = "patient-5fold",
    sensitivity: float | None = None,
    recalibrate: int = 0,
    near_copies: bool = False,
    allow_overlap: bool = False,
    site: bool = True,
    zero_shot: str = "",
    prompts: str | Path | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    progress: Progress = unwatched,
) -> External:
    """Trained on each collection and tested on each other one, by concepts: what is left of a figure elsewhere.

    collections: data sets, each NAME or NAME:LABEL_SET; all that have a store of the same key if left out. concepts:
    all that two of them have, if left out. zero_shot: sets of prompts that are asked of the same rows too, where the
    encoder reads text; prompts: a file of one's own. The options are those of `cxremb external`.

    Raises `DataError` for a concept that no collection has, or where no pair can be judged; `StoreError`, with the
    command, for a collection without a store of the key; `TrainError` as `train`.
    """
    inputs = Inputs(image_model=image_model, text_model=text_model, text=text, views=views)
    plan = TransferPlan(
        collections=words(collections or ()),
        concepts=words(concepts),
        vocabulary=vocabulary,
        train_on=words(train_on),
        test_on=words(test_on),
        leave_one_out=leave_one_out,
        head=head,
        preset=preset,
        split=split,
        unit=unit,
        sensitivity=sensitivity,
        recalibrate=recalibrate,
        near_copies=near_copies,
        allow_overlap=allow_overlap,
        site=site,
        zero_shot=zero_shot,
        prompts=None if prompts is None else Path(prompts),
        seed=seed,
        inputs=inputs,
    )
    return validate(store_root(root), plan, progress)


def words(given: Names) -> tuple[str, ...]:
    """A list, or words with commas between."""
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(filter(None, (part.strip() for part in parts)))
