"""What stands beside the figures: what the data are, what the audit found, and where everything comes from."""

import shlex
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxremb.ablation import parse_arms
from cxremb.ablation.trial import FIXED
from cxremb.ablation.vectors import known_texts
from cxremb.caveats import describe_text
from cxremb.checklists import WORDING, checklist_table, fill_checklist
from cxremb.errors import CxrembError, count_of, label_title
from cxremb.evaluation.arrays import BINARY, MULTICLASS
from cxremb.predictions import Predictions
from cxremb.reporting.chosen import split_title
from cxremb.reporting.parts import Section
from cxremb.reporting.subject import ReportSubject
from cxremb.store.files import read_part
from cxremb.store.layout import AUDIT
from cxremb.table import Table
from cxremb.training.runs import Run
from cxremb.version import VERSION

MOST_VIEWS, MOST_LABELS = 8, 8  # that are named
MARKS = {"fail": "FAIL", "note": "note", "ok": "ok", "skip": "not measured"}


def data_section(subject: ReportSubject) -> Section:
    """What the data set holds, whose it is, and which rows of it were judged."""
    try:
        facts = list(collection_facts(subject))
    except CxrembError as error:  # tables that are gone or damaged: the runs say the rest
        facts = [("data set", subject.result.dataset), ("not read", str(error))]
    main = subject.main
    rows = [
        [
            f"{repeat} / {fold}",
            *counts(main, "val", repeat=repeat, fold=fold),
            *counts(main, "test", repeat=repeat, fold=fold),
        ]
        for repeat in main.record.repeats[:1]
        for fold in main.record.folds
    ]
    what = "by class" if main.record.task == MULTICLASS else "positive"
    names = ["repeat / fold", "val rows", f"val {what}", "test rows", f"test {what}"]
    about = f"Judged rows of {main.arm}, split {subject.result.split}: {subject.result.split_means}."
    return Section("The data", facts=facts, tables=[Table(names, rows, title=about)])


def counts(run: Run, part: str, *, repeat: int, fold: int) -> tuple[str, str]:
    """(rows, positive ones) of one part of a fold; of several labels or classes those of each, if they are not many."""
    found: Predictions = run.predictions(part)
    own = found.take((found.repeat == repeat) & (found.fold == fold) & (found.seed == run.record.seeds[0]))
    of_each = np.nansum(own.y, axis=0).astype(int).tolist()
    if 1 < len(of_each) <= MOST_LABELS:
        return f"{len(own.items):,}", ", ".join(f"{n:,} {label}" for n, label in zip(of_each, own.labels, strict=True))
    return f"{len(own.items):,}", f"{sum(of_each):,}"


def collection_facts(subject: ReportSubject) -> Iterator[tuple[str, str]]:
    """Name and value of what there is to know of the collection."""
    dataset, result = subject.dataset, subject.result
    images, studies = dataset.images, dataset.studies
    present = len(images) - images["path"].null_count
    views = Counter(view or "unknown" for view in images["view"].to_pylist())
    yield "data set", dataset.name + (" (simulated films)" if dataset.simulated else "")
    yield "studies", f"{len(studies):,} of {count_of(pc.count_distinct(studies['patient_id']).as_py(), 'patient')}"
    yield "films", f"{len(images):,} listed, {present:,} with a file when added"
    if views:
        yield "views", ", ".join(f"{name} {count:,}" for name, count in views.most_common(MOST_VIEWS))
    yield "reports with text", f"{pc.count_distinct(dataset.reports['study_id']).as_py():,}"
    known = dataset.descriptor.get("label_sets", {}).get(result.label_set, {})
    yield "label", f"{label_title(result.label, result.label_set)}: {known.get('means', '')}".rstrip(": ")
    if result.prevalence is not None and result.task == BINARY:  # of several the table below has each
        yield "positive test rows", f"{result.prevalence:.1%}"
    yield "text", describe_text(result.text, result.text_role)
    if result.left_out:
        yield "left out", "; ".join(f"{count:,} {why}" for why, count in result.left_out.items())
    if notes := dataset.descriptor.get("notes", []):
        yield "noted", "; ".join(f"{note['what']}: {note['count']:,}" for note in notes)
    yield "licence", str(dataset.descriptor.get("licence", "")) or "not stated"
    yield "citation", str(dataset.descriptor.get("citation", "")) or "not stated"


def audit_section(subject: ReportSubject) -> Section:
    """The newest stored audit of this split and label set, or the command that makes one."""
    result = subject.result
    found = newest_audit(subject)
    if found is None:
        line = f"cxremb audit --dataset {result.dataset} --split {result.split} --label-set {result.label_set}"
        return Section("Audit", "No audit of this split and label set is stored.", commands=[line])
    order = list(MARKS)
    rows = sorted(found.to_pylist(), key=lambda row: order.index(row["status"]))
    shown = [[MARKS[row["status"]], row["measured"], advice(row, subject.include_data)] for row in rows]
    tally = Counter(row["status"] for row in rows)
    made = rows[0]["created"]
    since = sum(datetime.fromisoformat(run.record.created) > made for run in subject.runs.values())
    later = f" After it, {count_of(since, 'run')} of this page {'was' if since == 1 else 'were'} made." if since else ""
    intro = f"Made on {made:%Y-%m-%d} at {made:%H:%M} UTC: {', '.join(f'{tally[one]} {MARKS[one]}' for one in order)}."
    table = Table(["", "measured", "why, and what to do"], shown, prose=[1, 2])
    return Section("Audit", intro + later, tables=[table])


def advice(row: dict[str, object], include_data: bool) -> str:
    """Why it matters and what to do, of what does not hold; examples name patients and stand only where asked for."""
    known = row["status"] in ("fail", "note", "skip")
    words = [sentence(f"{row['why']}")] if known and row["why"] else []
    words += [sentence(f"To do: {row['remedy']}")] if known and row["remedy"] else []
    examples = row["examples"] if include_data and isinstance(row["examples"], list) else []
    return " ".join([*words, *(f"[{one}]" for one in examples)])


def sentence(text: str) -> str:
    """Text with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + "." * (not text.endswith((".", "?", "!")))


def newest_audit(subject: ReportSubject) -> pa.Table | None:
    """The findings of the newest audit of the split and label set; None where there is none."""
    result = subject.result
    for path in sorted(subject.dataset.paths.audits.glob("[!.]*.parquet"), reverse=True):
        try:
            found = read_part(path, AUDIT.names)
        except CxrembError:  # damaged: `store check` says so
            continue
        if len(found) and (found["split"][0].as_py(), found["label_set"][0].as_py()) == (
            result.split,
            result.label_set,
        ):
            return found
    return None


def checklist_section(subject: ReportSubject) -> Section | None:
    """The checklist that was asked for, filled from the reference."""
    if subject.checklist is None:
        return None
    found = fill_checklist(subject.main, subject.checklist)
    return Section(f"Checklist: {found.title}", f"{found.heading()}. {WORDING}", tables=[checklist_table(found)])


def provenance_section(subject: ReportSubject) -> Section:
    """How each run was made, with what, and the commands that make it again."""
    facts = [(row.title, run_in_words(subject.runs[row.arm])) for row in subject.result.rows]
    versions = {f"{name} {number}" for run in subject.runs.values() for name, number in run.record.versions.items()}
    facts += [("software", ", ".join(sorted(versions))), ("this page", f"cxremb {VERSION}")]
    return Section("Where the figures come from", facts=facts, commands=list(commands(subject)))


def run_in_words(run: Run) -> str:
    """Enough to find a run, and to know what it stands for."""
    record = run.record
    keys = [(key or "")[:16] for key in record.keys.values()]
    named = [f"{store} ({key})" for store, key in zip(record.stores, keys, strict=False)]
    stores = ", ".join(named or record.stores) or "none"
    which = f"folds {numbers(record.folds)}; repeats {numbers(record.repeats)}; seeds {numbers(record.seeds)}"
    text = describe_text(record.text, record.text_role)
    return (
        f"run {run.run_id}, key {record.key[:16]}, {record.created}; split {split_title(run)}; preset {record.preset}; "
        f"{which}; stores {stores}; {text}; {record.parameters:,} parameters a model; {record.seconds:g} s"
    )


def numbers(values: object) -> str:
    """`0, 1, 2`."""
    return ", ".join(map(str, values)) if isinstance(values, list | tuple) else str(values)


def commands(subject: ReportSubject) -> Iterator[str]:
    """What trains these arms again, where it is one call of `ablate`; and what writes this page again."""
    result = subject.result
    arms = [row.arm for row in result.rows]
    try:
        parse_arms(arms, known_texts(subject.dataset))
        words = ["cxremb", "ablate", "--dataset", result.dataset, "--arms", ",".join(arms)]
        words += ["--reference", result.reference] if result.reference not in (None, "fusion") else []
        words += ["--alone"] if result.reference is None else []
        words += ["--split", result.split, "--label-set", result.label_set, "--preset", result.preset]
        words += ["--text", result.text] if result.text else []
        words += ["--repeats", str(result.repeats)] if result.repeats > 1 else []
        words += ["--seeds", str(result.seeds)] if result.seeds > 1 else []
        words += ["--threshold", result.threshold] if result.threshold != FIXED else []
        words += ["--allow-leaky"] if result.leaky else []
        yield shlex.join([word for word in words if word is not None])
    except CxrembError:  # networks from pixels are no arms: they are trained one by one
        for run in subject.runs.values():
            record = run.record
            yield shlex.join(["cxremb", "train", "--dataset", record.dataset, "--preset", record.preset])
    yield shlex.join(["cxremb", "report", *(run.run_id for run in subject.runs.values())])
