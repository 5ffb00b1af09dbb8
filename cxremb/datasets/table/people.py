"""What a table says of ages and sexes that cannot be taken as it stands: counted, and kept as it is."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cxremb.datasets.polarity import is_unknown
from cxremb.datasets.release import OLDEST, OR_MORE
from cxremb.store.facts import number_of
from cxremb.types import Note, NoteCounter, notes_of

HEAP = 3  # times as many as at any of the five years below: people do not die so, codes do
FEWEST = 10  # of the highest age, before it is called a heap


@dataclass
class PeopleNotes:
    """Counts over the rows of a table, of the columns that it has."""

    columns: frozenset[str]  # of sex and age, those there are
    impossible: NoteCounter = field(
        default_factory=lambda: NoteCounter(
            f"ages that cannot be (below 0, above {OLDEST}, no number)",
            'kept as they are: group with --by "case when age between 0 and 120 then age >= 60 end", or mend the table',
        )
    )
    open_ended: NoteCounter = field(
        default_factory=lambda: NoteCounter("ages written as `85 or more`", "kept as text, so age is no number")
    )
    no_age: NoteCounter = field(default_factory=lambda: NoteCounter("rows whose age is not known"))
    no_sex: NoteCounter = field(default_factory=lambda: NoteCounter("rows whose sex is not known"))
    years: Counter[int] = field(default_factory=Counter)

    def add(self, name: str, facts: Mapping[str, str]) -> None:
        """One study or image."""
        if "sex" in self.columns and is_blank(facts.get("sex", "")):
            self.no_sex.add(name)
        if "age" not in self.columns:
            return
        age = facts.get("age", "")
        years = number_of("age", age)
        if is_blank(age):
            self.no_age.add(name)
        elif OR_MORE.fullmatch(age):
            self.open_ended.add(f"{name}: {age}")
        elif years is None or not 0 <= years <= OLDEST:
            self.impossible.add(f"{name}: {age}")
        else:
            self.years[int(years)] += 1

    def notes(self) -> list[Note]:
        """What was counted, and a heap at the highest age."""
        found = notes_of(self.impossible, self.open_ended, self.no_age, self.no_sex)
        top = max(self.years, default=0)
        below = max((self.years[year] for year in range(top - 5, top)), default=0)
        if self.years[top] >= max(FEWEST, HEAP * below) and len(self.years) > 1:
            hint = f"many collections write one age for all above: {top} may stand for it and all above"
            found.append(
                Note(f"ages of {top}, the highest, far more than of the five years below", self.years[top], hint=hint)
            )
        return found


def is_blank(cell: str) -> bool:
    """Whether a cell says nothing, or that nobody knows."""
    return not cell or is_unknown(cell)
