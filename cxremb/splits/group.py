"""Which studies hang together: by patient, by a copied report, and so on through the next study.

Two reports that read the same may be one examination that was filed under two patients, or a stock phrase. A copy in
test of what is in train makes figures too good, since no new patient will bring it: it must link. A stock phrase must
not: the next patient's report will be one too. Were its studies kept in one part, its label would be learnt from those
that use it otherwise, and the phrase would be learnt the wrong way round (`benchmarks/alike_texts.py`). So a report is
taken for a copy if it is long, and few patients hang together by it. Neither what an arm reads nor where the labels
come from matters to that: a copied examination is a copy for each of them.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.store.layout import BEFORE_READING

Numbers = NDArray[np.int64]

TOGETHER = 3  # patients who may hang together by copies: an examination is filed twice or three times, not by the dozen
LETTERS = 80  # of a normalised report, some 13 words: a shorter one is the same by chance

NO_LETTER = bytes(sorted(set(range(256)) - set(b"0123456789abcdefghijklmnopqrstuvwxyz")))


def normalised(text: str) -> str:
    """Lower case, every run of white space and punctuation one space: what makes two reports the same report."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def report_texts(reports: pa.Table) -> dict[str, str]:
    """study_id -> what the report says of the film: its label sources (findings, impression), by name of section.

    What was written before reading is no part of it: "chest pain" is the indication of hundreds.
    """
    rows = reports.filter(pc.not_equal(pc.fill_null(reports["role"], ""), BEFORE_READING)).sort_by("section")
    texts: dict[str, list[str]] = defaultdict(list)
    for study, text in zip(rows["study_id"].to_pylist(), rows["text"].to_pylist(), strict=True):
        texts[study].append(text or "")
    return {study: " ".join(found) for study, found in texts.items()}


def repeated_texts(texts: Sequence[str]) -> list[str]:
    """(n,) the normalised text where another row might have the same, else "", which links nobody.

    Normalising is slow (20 us a report), and nearly every report is unlike all others in its ASCII letters and digits
    alone. So only those that are not are normalised: ten times faster on 230,000 reports.
    """
    marks = [hash(text.lower().encode(errors="replace").translate(None, NO_LETTER)) for text in texts]
    count = Counter(marks)
    return [normalised(text) if count[mark] > 1 else "" for text, mark in zip(texts, marks, strict=True)]


def copied_texts(
    patients: Sequence[str], texts: Sequence[str], *, together: int = TOGETHER, letters: int = LETTERS, most: int
) -> list[str]:
    """(n,) the normalised report where it is taken for a copy, else "", which links nobody.

    A copy has `letters` or more and links its patients, the longest first, unless more than `together` patients or
    `most` studies would hang together then. So a split that can be made by patient can be made with copies too.
    """
    studies, shared = Counter(patients), repeated_texts(texts)
    holders: dict[str, set[str]] = defaultdict(set)
    for patient, text in zip(patients, shared, strict=True):
        if len(text) >= letters:
            holders[text].add(patient)
    group: dict[str, set[str]] = {}
    copies = set()
    for text in sorted(holders, key=lambda text: (-len(text), text)):
        if len(holders[text]) <= together:
            linked = set().union(*(group.get(patient, {patient}) for patient in holders[text]))
            if len(linked) <= together and sum(studies[patient] for patient in linked) <= most:
                group |= dict.fromkeys(linked, linked)
                copies.add(text)
    return [text if text in copies else "" for text in shared]


def group_numbers(columns: Iterable[Sequence[Hashable]], n: int) -> Numbers:
    """(n,) the connected component of each of n rows, numbered by first appearance: equal values connect.

    columns: each (n,); the value "" connects nobody: two studies without a report have nothing in common.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = [np.empty((0, 2), np.int64)]
    for column in columns:
        first: dict[Hashable, int] = {}
        pairs = [(first.setdefault(value, row), row) for row, value in enumerate(column) if value != ""]
        links.append(np.array(pairs, np.int64).reshape(-1, 2))
    start, end = np.concatenate(links).T
    graph = coo_array((np.ones(len(start), np.bool_), (start, end)), shape=(n, n))
    component = connected_components(graph, directed=False)[1]
    _, appearance, number = np.unique(component, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(appearance))[number], dtype=np.int64)
