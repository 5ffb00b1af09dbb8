"""Label sets that the user made: they outlive adding the collection again."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxremb.errors import StoreError
from cxremb.store.dataset import Dataset, verified
from cxremb.store.label_rows import MADE_HERE, LabelRows, made_here
from cxremb.types import LabelSet, Note

EXAMPLES = 10
MAKE_AGAIN = "make them again with `cxremb data label`"


@dataclass(frozen=True)
class OwnSets:
    """The user's label sets of a data set that is about to be replaced, and notes on those that cannot be kept."""

    sets: Sequence[tuple[LabelSet, Mapping[str, str]]] = ()  # definition, and the SQL or file it came from
    table: Path | None = None  # where their rows are
    notes: Sequence[Note] = field(default=())


def own_sets(before: Dataset | None, taken: Collection[str]) -> OwnSets:
    """What to keep. taken: label sets that the collection brings with it now, whose names are no longer free."""
    about = before.descriptor.get("label_sets", {}) if before else {}
    own = {name: definition for name, definition in about.items() if made_here(definition)}
    if before is None or not own:
        return OwnSets()
    said = {name: f"{name}: {' '.join(about[name][key] for key in MADE_HERE if key in about[name])}" for name in own}
    try:
        table = verified(before, "labels")
    except StoreError:
        lost = [said[name] for name in own]
        return OwnSets(notes=[Note("own label sets lost: the labels table was damaged", len(lost), lost, MAKE_AGAIN)])
    gone = [said[name] for name in own if name in taken]
    clash = "own label sets left out: the collection now has one of that name"
    return OwnSets(
        [
            (
                LabelSet(name, one["task"], one["means"], one["labels"], one["policy"]),
                {key: one[key] for key in MADE_HERE if key in one},
            )
            for name, one in own.items()
            if name not in taken
        ],
        table,
        [Note(clash, len(gone), gone, f"{MAKE_AGAIN} under another name")] if gone else (),
    )


def keep_own(own: OwnSets, rows: LabelRows, studies: Collection[str]) -> list[Note]:
    """Feed what the own sets say of `studies` into `rows`. A note for each set that also spoke of others."""
    gone: dict[str, list[str]] = {}
    for (name, study), values in groupby(rows_of(own), itemgetter(0, 1)):
        if study in studies:
            rows.add(study, {name: {label: value for _, _, label, value in values}})
        else:
            gone.setdefault(name, []).append(study)
    return [
        Note(
            f"studies of the label set {name} that are no longer here", len(lost), lost[:EXAMPLES], "their labels went"
        )
        for name, lost in gone.items()
    ]


def rows_of(own: OwnSets) -> Iterator[tuple[str, str, str, float]]:
    """(set, study, label, value) of every row of the own sets; the labels of a study in a set stand together."""
    if own.table is None or not own.sets:
        return
    names = pa.array([about.name for about, _ in own.sets])
    for batch in pq.ParquetFile(own.table).iter_batches():
        kept = batch.filter(pc.is_in(batch["label_set"], names))
        yield from zip(*(kept[name].to_pylist() for name in ("label_set", "study_id", "label", "value")), strict=True)
