"""A collection under pseudonyms: ids are keyed hashes, days are shifted, and what may name somebody is left out."""

from collections.abc import Collection as Names
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from cxremb.errors import DataError, name_list
from cxremb.store.facts import RESERVED, day_of, number_of
from cxremb.store.pseudonyms import Pseudonyms
from cxremb.types import Collection, Image, Note, Study

DAY, BIRTH_YEAR = "day", "birth_year"
FACTS = "facts"  # in the source of a table: the headings of its own columns
LEFT_OUT = "columns left out, as they may say who somebody is"
UNSHIFTED = "days and years of birth in no form that is known, left out"


@dataclass
class SafeFacts:
    """The facts that may stay, and what did not."""

    names: Pseudonyms
    keep: Names[str]
    left_out: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    unshifted: int = 0

    def of(self, facts: Mapping[str, str], patient: str) -> dict[str, str]:
        """Those that every collection calls by one name, and those of `keep`; what says when is shifted."""
        kept = {}
        self.seen.update(facts)
        for name, text in facts.items():
            if name not in RESERVED and name not in self.keep:
                self.left_out.add(name)
            elif (said := self.shifted(name, text, patient)) is not None:
                kept[name] = said
            else:
                self.unshifted += 1
        return kept

    def shifted(self, name: str, text: str, patient: str) -> str | None:
        """The fact, a day or a year of birth as much earlier as all days of the patient; None if that cannot be."""
        try:
            if day := day_of(text):
                return self.names.shift(day, patient).isoformat()
            if name == BIRTH_YEAR:  # else whoever reckons an age from it and a shifted day is up to two years off
                return str(self.names.shift(middle_of(text), patient).year)
        except (OverflowError, ValueError):  # before the year 1, as 0001-01-01 for nothing becomes; no year
            return None
        return None if name == DAY else text

    def notes(self) -> Iterator[Note]:
        """What is gone. Raises `DataError` for a fact to keep that there is not."""
        if absent := sorted(set(self.keep) - self.seen):
            hint = f"those that may be kept: {name_list(sorted(self.left_out)) or 'none'}"
            raise DataError(f"no column {name_list(absent)} to keep", hint=hint)
        if self.left_out:
            hint = "keep one that names nobody with --keep COLUMN"
            yield Note(LEFT_OUT, len(self.left_out), sorted(self.left_out), hint)
        if self.unshifted:
            yield Note(UNSHIFTED, self.unshifted, (), "write days as 2026-11-27 or 27.11.2026, years as 1950")


def middle_of(year: str) -> date:
    """The day in the middle of a year. Raises `ValueError` for what is none."""
    number = number_of(BIRTH_YEAR, year)
    if number is None:
        raise ValueError(year)
    return date(int(number), 7, 2)


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

    source = {what: said for what, said in collection.source.items() if what != FACTS}  # headings of what is left out
    return replace(collection, studies=studies(), images=images(), source=source)
