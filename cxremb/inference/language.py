"""Whether a report is in the language of a collection: by its words, since encoders read any and say nothing."""

import re
from collections.abc import Set

import pyarrow.compute as pc

from cxremb.store.dataset import Dataset

WORD = re.compile(r"[^\W\d_]{2,}")
KNOWN_FROM = 5000  # texts of the collection whose words are known
ENOUGH = 3  # words that a text has at least before anything is said of them
FOREIGN = 0.5  # share of unknown words above which a text is likely in another language than the collection's


def words_of(dataset: Dataset) -> frozenset[str]:
    """The words of the reports of a collection."""
    written = pc.drop_null(dataset.reports["text"]).slice(0, KNOWN_FROM).to_pylist()
    return frozenset(WORD.findall(" ".join(written).lower()))


def unknown_words(text: str, known: Set[str], name: str) -> str:
    """What to say of a text most of whose words stand in no report of the collection `name`; nothing where they do."""
    words = set(WORD.findall(text.lower()))
    unknown = len(words - known)
    if len(words) < ENOUGH or unknown <= FOREIGN * len(words):
        return ""
    return (
        f"{unknown} of the {len(words)} words of the report stand in no report of {name}: is it in the "
        "language that the run learned from?"
    )
