"""What a run, its split, its data set and the last audit say, in sentences: the answers of a checklist."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxremb.caveats import describe_text
from cxremb.datasets.tree import NOT_GIVEN
from cxremb.errors import CxrembError
from cxremb.evaluation.bootstrap import Interval
from cxremb.splits.stored import fold_rows, read_split
from cxremb.store.dataset import Dataset
from cxremb.stratify import stratify
from cxremb.table import span
from cxremb.training.runs import Run, list_runs

Fact = tuple[str, str]  # the answer, and from where
MAIN = ("auroc", "average_precision", "accuracy", "f1", "brier")
OPTIONS = ("learning_rate", "batch_size", "epochs", "weight_decay", "class_weights")
GROUPINGS = ("view", "sex")


@dataclass(frozen=True)
class Subject:
    """What a checklist is filled from."""

    run: Run
    dataset: Dataset

    @property
    def label_set(self) -> Mapping[str, Any]:
        """What dataset.json says of the run's label set; empty if it is gone."""
        sets: Mapping[str, Mapping[str, Any]] = self.dataset.descriptor.get("label_sets", {})
        return sets.get(self.run.record.label_set, {})


def facts_of(subject: Subject) -> dict[str, Fact]:
    """Fact -> answer and from where. A fact that is not known is left out."""
    found = dict([*of_data(subject), *of_split(subject), *of_model(subject), *of_results(subject)])
    return {name: fact for name, fact in found.items() if fact[0]}


def of_data(subject: Subject) -> Iterator[tuple[str, Fact]]:
    """The collection, its labels, and who was left out."""
    record, dataset, about = subject.run.record, subject.dataset, subject.label_set
    simulated = "; the films are simulated" if record.simulated else ""
    citation = record.dataset_citation
    cited = "citation not given" if citation in ("", NOT_GIVEN) else citation
    yield "source", (f"{dataset.name}{simulated}; {cited}", "manifest")
    tables = {name: getattr(dataset, name).num_rows for name in ("studies", "images")}
    patients = len(dataset.studies["patient_id"].unique())
    labelled = len(dataset.labels.filter(pc.equal(dataset.labels["label_set"], record.label_set))["study_id"].unique())
    out = "; ".join(f"{count:,} {record.unit} rows left out: {why}" for why, count in record.left_out.items())
    kept = f"{record.rows:,} {record.unit} rows of {record.patients:,} patients used"
    flow = f"{tables['studies']:,} studies of {patients:,} patients with {tables['images']:,} films in the collection"
    yield "flow", ("; ".join(filter(None, [flow, f"{labelled:,} studies labelled", out, kept])), "manifest, run")
    texts = describe_text(record.text, record.text_role)
    stores = f"vectors of {', '.join(record.stores)}" if record.stores else "no stored vectors"
    yield "preparation", (f"{stores}; {texts}" + (f"; XXXX: {record.xxxx}" if record.xxxx else ""), "run, manifest")
    yield "predictors", (f"{record.arm}: {stores}; {texts}", "run")
    share = f"; {record.train_fraction:.0%} of the training patients" if record.train_fraction < 1 else ""
    yield "subset", (f"views {record.views}, a row is one {record.unit}{share}", "run")
    gone = (
        "a row that lacks a modality is left out" if record.missing == "drop" else "a row needs one of the modalities"
    )
    unknown = int(np.isnan(subject.run.predictions().y).sum())
    yield "missing", (f"{gone}; {out or 'no row left out'}; {unknown:,} test cells without a label", "run")
    views = Counter(view or "unknown view" for view in dataset.images["view"].to_pylist())
    yield "films", (", ".join(f"{view} {count:,}" for view, count in views.most_common()), "manifest")
    policy = f"; {about['policy']}" if about.get("policy") else ""
    yield (
        "label",
        (
            f"{record.label_set} ({', '.join(record.labels)}), {record.task}: {about.get('means', '')}{policy}",
            "manifest",
        ),
    )
    role = f"; the text read is {record.text_role}" if record.text_role else ""
    yield (
        "label_source",
        (f"{about.get('means', '')}, version {record.label_version}{role}" if about else "", "manifest, run"),
    )


def of_split(subject: Subject) -> Iterator[tuple[str, Fact]]:
    """The parts, who is in them, and whether they are disjoint."""
    record, dataset = subject.run.record, subject.dataset
    folds = f"folds {', '.join(map(str, record.folds))}" if len(record.folds) > 1 else f"fold {record.folds[0]}"
    yield "split", (f"{record.split}: {record.split_means}; {folds}", "split")
    level = (
        "LEAKY: some patient is in two parts of one fold" if record.leaky else "no patient is in two parts of one fold"
    )
    yield "disjoint", ("; ".join([level, *audited(subject)]), "split, audit")
    path = dataset.paths.splits / f"{record.split}.parquet"
    if not path.is_file():
        return
    models = {(one.repeat, one.fold) for one in record.members}
    rows = fold_rows(dataset, read_split(path), record.label_set)
    rows = [row for row in rows if (row["repeat"], row["fold"]) in models]
    lines = []
    for part in dict.fromkeys(row["part"] for row in rows):
        own = [row for row in rows if row["part"] == part]
        counts = {name: between([row[name] for row in own]) for name in ("studies", "patients")}
        events = {label: between([row["positives"][label] for row in own]) for label in own[0]["positives"]}
        positive = ", ".join(f"{label} {count}" for label, count in events.items())
        lines.append(f"{part}: {counts['studies']} studies of {counts['patients']} patients, positive: {positive}")
    yield "parts", ("; ".join(lines), "split")


def audited(subject: Subject) -> list[str]:
    """What the last audit of the run's split and label set found of overlap, in words."""
    record, found = subject.run.record, []
    for path in sorted(subject.dataset.paths.audits.glob("[!.]*.parquet"), reverse=True):
        rows = pq.read_table(path).to_pylist()
        if rows and (rows[0]["split"], rows[0]["label_set"]) == (record.split, record.label_set):
            found = [f"{row['measured']} ({row['status']})" for row in rows if row["section"] == "overlap"]
            break
    return found


def of_model(subject: Subject) -> Iterator[tuple[str, Fact]]:
    """What was trained, how, and with what."""
    record = subject.run.record
    dims = ", ".join(f"{name} {size}" for name, size in record.dims.items())
    yield "model", (f"{record.head}, {record.parameters:,} trainable parameters; inputs: {dims or 'films'}", "run")
    yield "software", (", ".join(f"{name} {version}" for name, version in record.versions.items()), "run")
    seeds = ", ".join(map(str, record.seeds))
    yield (
        "start",
        (f"at random, seeds {seeds}" if not record.from_pixels else f"as the preset says, seeds {seeds}", "run"),
    )
    chosen = ", ".join(f"{name} {record.options[name]}" for name in OPTIONS if record.options.get(name) is not None)
    yield "training", (f"preset {record.preset}: {chosen}; seeds {seeds}; precision {record.precision}", "run")
    weights = record.options.get("class_weights")
    yield "imbalance", ("classes weigh the same in the loss" if weights else "nothing: rows weigh the same", "run")
    epochs = between(list(record.epochs)) if any(record.epochs) else ""  # 0: a rule, which is not trained
    how = "by its validation rows" if record.options.get("select") == "best" else "the last one: none was chosen"
    yield "selection", (f"epoch or step {epochs} of each model, {how}" if epochs else "", "run")
    models = len(record.members)
    yield "ensemble", (f"none: each of {models} models is judged on its own test rows" if models > 1 else "none", "run")
    yield "record", (f"run {record.run_id}, key {record.key[:12]}, created {record.created}", "run")
    licences = "; ".join(f"{name}: {licence}" for name, licence in record.licences.items())
    data = f"licence of the data: {record.dataset_licence}" if record.dataset_licence else ""
    yield "availability", ("; ".join(filter(None, [data, licences, f"model sha256 {record.model_sha256[:12]}"])), "run")
    yield "caveats", ("; ".join([*record.caveats, *record.notes]), "run")
    yield (
        "measures",
        (
            "AUROC and average precision within folds, sensitivity, specificity, F1, Brier score, calibration; "
            "what each is: docs/evaluation.md",
            "cxremb",
        ),
    )
    yield (
        "uncertainty",
        ("95% intervals over patients, whose rows stay together; none with fewer than ten of a class", "cxremb"),
    )
    yield (
        "thresholds",
        ("probabilities; thresholds chosen on validation rows (Youden; a sensitivity aimed at .95)", "cxremb"),
    )
    others = [one for one in list_runs(subject.dataset) if one.record.split == record.split and one.record.is_control]
    names = sorted({one.arm for one in others if one.record.label_set == record.label_set})
    yield "controls", (f"on the same split: {', '.join(names)}" if names else "", "run")


def of_results(subject: Subject) -> Iterator[tuple[str, Fact]]:
    """The figures, at a threshold of .5 and by group."""
    run = subject.run
    test = run.predictions()
    counts = f"{len(np.unique(test.items)):,} {run.record.unit} rows of {len(np.unique(test.patients)):,} patients"
    positive = ", ".join(
        f"{label} {len(np.unique(test.items[rows])):,} of {len(np.unique(test.patients[rows])):,} patients"
        for label, rows in zip(test.labels, (test.y == 1).T, strict=True)
    )
    seen = "some" if run.record.leaky else "each"
    unseen = "by a model that has seen the patient" if run.record.leaky else "by a model that has not seen the patient"
    yield "internal", (f"{counts}, positive: {positive}; {seen} judged {unseen}", "run")
    found = {name: run.metric(name) for name in MAIN}
    lines = [f"{name} {interval(Interval(*ends))}" for name, ends in found.items() if ends[0] is not None]
    yield "performance", (", ".join(lines), "run")
    if len(test.labels) > 1:
        return
    named = {"recall": "sensitivity", "specificity": "specificity", "precision": "PPV at this prevalence"}
    rates = {name: run.metric(name) for name in named}  # as the table of metrics has them
    texts = [f"{named[name]} {interval(Interval(*ends))}" for name, ends in rates.items() if ends[0] is not None]
    yield "accuracy", (f"at a threshold of 0.5: {', '.join(texts)}", "run")
    yield "groups", ("; ".join(filter(None, (by_group(subject, by) for by in GROUPINGS))), "run")


def by_group(subject: Subject, by: str) -> str:
    """The AUROC of each group in words; "" where the data set does not know it."""
    known = set(subject.dataset.facts["name"].unique().to_pylist()) | {"view"}
    if by not in known:
        return ""
    try:
        groups = stratify(subject.dataset, subject.run, by).strata.groups
    except CxrembError:  # a fact of some studies only, or of too many values
        return ""
    return f"AUROC by {by}: " + ", ".join(
        f"{one.name} {interval(one.metrics['auroc'])} (n {one.rows:,})" for one in groups
    )


def interval(figure: Interval) -> str:
    """Three decimals with the interval."""
    return span(figure.value, figure.low, figure.high)


def between(values: list[int]) -> str:
    """The least and the greatest, or the one there is."""
    return " to ".join(f"{value:,}" for value in sorted({min(values), max(values)}))
