"""A collection under pseudonyms: ids are keyed hashes, days are shifted, and what may name somebody is left out."""

from collections.abc import Collection as Names
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from cxremb.errors import DataError, name_list
from cxremb.store.facts import RESERVED, day_of
from cxremb.store.pseudonyms import Pseudonyms
from cxremb.types import Collection, Image, Note, Study

DAY = "day"
LEFT_OUT = "columns left out, as they may say who somebody is"
UNSHIFTED = "days in no form that is known, left out"


@dataclass
class SafeFacts:
    """The facts that may stay, and what did not."""

    names: Pseudonyms
    keep: Names[str]
    left_out: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    unshifted: int = 0

    def of(self, facts: Mapping[str, str], patient: str) -> dict[str, str]:
        """Those that every collection calls by one name, and those of `keep`; a day is shifted."""
        kept = {}
        self.seen.update(facts)
        for name, text in facts.items():
            day = day_of(text)
            if name not in RESERVED and name not in self.keep:
                self.left_out.add(name)
            elif day is None and name == DAY:
                self.unshifted += 1
            else:
                kept[name] = self.names.shift(day, patient).isoformat() if day else text
        return kept

    def notes(self) -> Iterator[Note]:
        """What is gone. Raises `DataError` for a fact to keep that there is not."""
        if absent := sorted(set(self.keep) - self.seen):
            hint = f"those that may be kept: {name_list(sorted(self.left_out)) or 'none'}"
            raise DataError(f"no column {name_list(absent)} to keep", hint=hint)
        if self.left_out:
            hint = "keep one that names nobody with --keep COLUMN"
            yield Note(LEFT_OUT, len(self.left_out), sorted(self.left_out), hint)
        if self.unshifted:
            yield Note(UNSHIFTED, self.unshifted, (), "write them as 2026-11-27 or 27.11.2026")


def pseudonymised(collection: Collection, names: Pseudonyms, facts: SafeFacts) -> Collection:
    """The collection with pseudonyms of all its ids. Texts, labels and parts of splits stay as they are."""

    def studies() -> Iterator[Study]:
        for study in collection.studies:
            patient = study.patient_id
            yield replace(
                study,
                study_id=names.once(study.study_id),
                patient_id=names.once(patient),
                facts=facts.of(study.facts, patient),
            )

    def images() -> Iterator[Image]:
        for image in collection.images:
            patient = image.patient_id
            yield replace(
                image,
                image_id=names.once(image.image_id),
                study_id=names.once(image.study_id),
                patient_id=names.once(patient),
                view_raw=None,  # words of a table or a tag, whatever they say
                facts=facts.of(image.facts, patient),
            )

    return replace(collection, studies=studies(), images=images())
