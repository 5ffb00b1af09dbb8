"""What stands below the table that is of all arms together, and that their runs and their split know."""

from collections.abc import Iterator, Mapping

from cxremb.splits import StoredSplit
from cxremb.training.runs import Run


def notes_of_runs(runs: Mapping[str, Run], main: Run) -> Iterator[str]:
    """Films that count as studies, arms that read other vectors than the main one, and the choices made for it."""
    if len({run.record.unit for run in runs.values()}) > 1:
        yield "A study's probability is the mean of its films'"
    usual = dict(vectors_of(main))
    for arm, run in runs.items():
        if any(usual.get(block, (store, pooling)) != (store, pooling) for block, (store, pooling) in vectors_of(run)):
            yield f"{arm} reads {vectors_in_words(run)}"
    yield from main.record.notes


def notes_of_split(split: StoredSplit) -> list[str]:
    """What making the split, or fitting it to the labels, had to leave open."""
    return [f"{note.what}: {note.count:,}" for note in split.notes]


def vectors_of(run: Run) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """(modality, (store, pooling)) of what a run reads."""
    for block, store in zip(run.record.dims, run.record.stores, strict=False):
        yield block, (store, run.record.pooling.get(block))


def vectors_in_words(run: Run) -> str:
    """The stores behind an arm, in words."""
    found = dict(vectors_of(run))
    pooling = ", ".join(f"{block} {kind}" for block, (_, kind) in found.items())
    return f"{', '.join(store for store, _ in found.values())}; pooling {pooling}"
