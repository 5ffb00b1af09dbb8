"""Concepts as labels: a finding that collections have under several names. Missing stays missing."""

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cxremb.errors import DataError, count_of, did_you_mean, name_list
from cxremb.labels import Labels, read_labels, store_labels
from cxremb.store.concepts import (
    BROADER,
    EXACT,
    NARROWER,
    VOCABULARIES,
    Meaning,
    by_concept,
    in_vocabulary,
    labels_of,
    meanings_of,
    store_meanings,
)
from cxremb.store.dataset import Dataset
from cxremb.tabular import Tabular
from cxremb.types import LabelSet

NAMED = 10  # labels of a table that a note names
CONCEPTS = "concepts"  # what a run calls the label set that is made of concepts

Column = NDArray[np.float64]


@dataclass(frozen=True)
class ConceptSource:
    """Where a data set has a concept from: one label set, and its labels that mean it."""

    concept: str
    label_set: str
    rows: Sequence[Meaning]


@dataclass(frozen=True)
class ConceptFacts:
    """One concept of a data set: from where, and of how many studies it is 1, 0 and missing."""

    concept: str
    label_set: str
    labels: Sequence[str]  # with the relation where it is not exact
    ones: int
    zeros: int
    missing: int


@dataclass(frozen=True, repr=False)
class ConceptsOfDataset(Tabular):
    """What the labels of a data set mean, and what became of a table that was given."""

    dataset: str
    vocabulary: str
    concepts: Sequence[ConceptFacts]
    without: Sequence[str]  # labels without a concept, each `label set: label`
    notes: Sequence[str] = ()

    def to_arrow(self) -> pa.Table:
        """A row for each concept."""
        schema = pa.schema(
            [
                ("concept", pa.string()),
                ("label_set", pa.string()),
                ("labels", pa.list_(pa.string())),
                *((name, pa.int64()) for name in ("ones", "zeros", "missing")),
            ]
        )
        return pa.Table.from_pylist([vars(one) for one in self.concepts], schema=schema)

    def heading(self) -> str:
        """Of which data set, in which words."""
        return f"{self.dataset}: {len(self.concepts)} concepts ({self.vocabulary})"


def sources_of(
    dataset: Dataset, vocabulary: str = VOCABULARIES[0], *, label_set: str | None = None
) -> dict[str, ConceptSource]:
    """Concept -> the label set that it is taken from.

    Of several that have it the data set's default comes first, then their order; one with an exact label before one
    with none. label_set: take it from no other. Raises `DataError` for an unknown vocabulary or label set.
    """
    about = dataset.descriptor.get("label_sets", {})
    if label_set is not None and label_set not in about:
        near = did_you_mean(label_set, about)
        raise DataError(f"{dataset.name} has no label set {label_set!r}", hint=f"{near}it has {name_list(about)}")
    if label_set is not None and about[label_set]["task"] == "terms":
        hint = f"name one of {name_list(name for name in about if about[name]['task'] != 'terms')}"
        raise DataError(f"{dataset.name}: {label_set!r} only lists terms: nothing in it is absent", hint=hint)
    default = dataset.descriptor.get("default_label_set")
    order = sorted(about, key=lambda name: name != default)
    found = {}
    for concept, rows in by_concept(in_vocabulary(meanings_of(dataset), vocabulary)).items():
        own = [[row for row in rows if row.label_set == name] for name in order if label_set in (None, name)]
        exact = [sets for sets in own if any(row.relation == EXACT for row in sets)]
        if chosen := next(iter([*exact, *filter(None, own)]), None):
            found[concept] = ConceptSource(concept, chosen[0].label_set, chosen)
    return found


def concept_labels(
    dataset: Dataset,
    concepts: Collection[str] | None = None,
    vocabulary: str = VOCABULARIES[0],
    *,
    label_set: str | None = None,
    sources: Mapping[str, ConceptSource] | None = None,
) -> Labels:
    """The concepts of a data set as a label set, one column each: those named, of which it need not have all.

    sources: from where, if that is known already. The task is `binary` of one concept, else `multilabel`. Raises
    `DataError` where it has none of them.
    """
    sources = sources_of(dataset, vocabulary, label_set=label_set) if sources is None else sources
    known = [name for name in (concepts if concepts is not None else sources) if name in sources]
    if not known:
        raise no_concept(dataset, sources, concepts or ())
    sets = {name: read_labels(dataset, name) for name in dict.fromkeys(sources[one].label_set for one in known)}
    studies = list(dict.fromkeys(study for labels in sets.values() for study in labels.study_ids))
    place = {study: row for row, study in enumerate(studies)}
    values = np.full((len(studies), len(known)), np.nan)
    for column, name in enumerate(known):
        labels = sets[sources[name].label_set]
        rows = [place[study] for study in labels.study_ids]
        values[rows, column] = concept_values(labels, sources[name].rows)
    some = ~np.isnan(values).all(axis=1)
    decides = [[astuple(row) for row in sources[name].rows] for name in known]
    versions = {name: labels.version for name, labels in sets.items()}
    digest = hashlib.sha256(json.dumps([decides, versions], sort_keys=True).encode())
    return Labels(
        label_set=CONCEPTS,
        task="binary" if len(known) == 1 else "multilabel",
        version=digest.hexdigest()[:12],
        names=tuple(known),
        study_ids=tuple(study for study, there in zip(studies, some.tolist(), strict=True) if there),
        values=values[some],
    )


def label_from_concepts(dataset: Dataset, about: LabelSet, vocabulary: str = VOCABULARIES[0]) -> Dataset:
    """The data set with a label set of its concepts, so that all that takes a label set takes them.

    It holds the values as they are now: it is made again after labels or their table have changed. Raises `DataError`
    where it has none, and as `store_labels`.
    """
    labels = concept_labels(dataset, None, vocabulary)
    rows = [
        (study, name, value)
        for study, values in zip(labels.study_ids, labels.values.tolist(), strict=True)
        for name, value in zip(labels.names, values, strict=True)
        if not math.isnan(value)
    ]
    about = replace(about, task=about.task or labels.task)
    return store_labels(dataset, about, rows, origin={"concepts": vocabulary})


def concept_values(labels: Labels, rows: Sequence[Meaning]) -> Column:
    """(n,) 1 where an exact or a narrower label is 1; else 0 where all exact ones are 0, or a broader one is; else NaN.

    So a narrower label (hiatal hernia, of hernia) never says no, and a broader one (nodule or mass, of mass) never
    yes.
    """
    of = {kind: [labels.values[:, labels.names.index(row.label)] for row in rows if row.relation == kind]
          for kind in (EXACT, NARROWER, BROADER)}  # fmt: skip
    n = len(labels.study_ids)
    yes = any_of([column == 1 for column in (*of[EXACT], *of[NARROWER])], n)
    no = any_of([column == 0 for column in of[BROADER]], n)
    if of[EXACT]:
        no |= np.all([column == 0 for column in of[EXACT]], axis=0)
    return np.where(yes, 1.0, np.where(no, 0.0, np.nan))


def any_of(masks: Sequence[NDArray[np.bool_]], n: int) -> NDArray[np.bool_]:
    """(n,) where any holds."""
    return reduce(np.logical_or, masks, np.zeros(n, dtype=np.bool_))


def no_concept(dataset: Dataset, known: Iterable[str], wanted: Collection[str]) -> DataError:
    """The error where a data set has none of the concepts."""
    has = name_list(known)
    what = f"none of the concepts {name_list(wanted)}" if wanted else "no label that means a concept"
    return DataError(
        f"{dataset.name} has {what}" + (f"; it has {has}" if has else ""),
        hint="say what its labels mean: `cxremb data concepts --file TABLE`, with the columns label_set, label, "
        "concept, relation and source",
    )


def read_concepts(
    dataset: Dataset, vocabulary: str = VOCABULARIES[0], *, file: Path | None = None
) -> ConceptsOfDataset:
    """What the labels of a data set mean, with counts. file: a table of the user's, kept with the data set from now on.

    Raises `DataError` for a table that cannot be read or that says nothing of its labels, or an unknown vocabulary.
    """
    in_vocabulary((), vocabulary)
    notes = []
    if file is not None:
        stored = store_meanings(dataset, file)
        notes.append(f"{count_of(stored.matched, 'row')} of {file} kept as {stored.path}")
        if stored.others:
            unknown = name_list(stored.others, NAMED)
            notes.append(f"labels in it that {dataset.name} does not have: {unknown}; labels are matched whole")
    sources = sources_of(dataset, vocabulary)
    found: Mapping[str, Column] = {}
    if sources:
        labels = concept_labels(dataset, None, vocabulary)
        found = dict(zip(labels.names, labels.values.T, strict=True))
    studies = dataset.studies.num_rows
    facts = [
        ConceptFacts(
            name,
            source.label_set,
            [row.label if row.relation == EXACT else f"{row.label} ({row.relation})" for row in source.rows],
            ones := int((found[name] == 1).sum()),
            zeros := int((found[name] == 0).sum()),
            studies - ones - zeros,
        )
        for name, source in sources.items()
    ]
    meant = {(row.label_set, row.label) for row in in_vocabulary(meanings_of(dataset), vocabulary)}
    without = [f"{label_set}: {label}" for label_set, label in labels_of(dataset) if (label_set, label) not in meant]
    return ConceptsOfDataset(dataset.name, vocabulary, facts, without, tuple(notes))
