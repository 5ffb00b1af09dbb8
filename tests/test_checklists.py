"""A checklist says what run, split, data set and audit hold, and leaves to people what only they know."""

import csv
import io
import json
from dataclasses import replace

import pytest
from planted import Planted, plant

import cxremb
from cxremb.audit.audit import audit
from cxremb.checklists import KINDS, Checklist
from cxremb.checklists.facts import Subject, facts_of
from cxremb.checklists.fill import TO_WRITE
from cxremb.errors import DataError
from cxremb.splits.stored import fold_rows, read_split
from cxremb.store.dataset import Dataset
from cxremb.table import span
from cxremb.training.runs import Run


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return plant(tmp_path_factory.mktemp("checklists"), Planted(studies=300, image=1.0, text=1.5))


@pytest.fixture(scope="module")
def run(dataset) -> Run:
    return cxremb.train("image", epochs=2, root=dataset.paths.root)


def answers(found: Checklist) -> dict[str, str]:
    return {f"{row.item} {row.asks}": row.answer for row in found.rows}


def test_items_are_those_of_the_checklists() -> None:
    claim, tripod = ([item[0] for item in items] for items in KINDS.values())
    assert claim == [str(number) for number in range(1, 45)]
    assert list(dict.fromkeys(tripod)) == [str(number) for number in range(1, 28)]


def test_every_fact_is_known_and_asked_for(run, dataset) -> None:
    asked = {fact for items in KINDS.values() for *_, fact in items} - {""}
    given = facts_of(Subject(run, dataset))
    assert set(given) <= asked
    assert asked - set(given) <= {"controls", "groups"}  # there are none of this run
    assert all(answer and source for answer, source in given.values())


def test_answers_are_those_of_run_split_and_data_set(run, dataset) -> None:
    found = answers(cxremb.checklist(run, "claim"))
    record = run.record
    split = read_split(dataset.paths.splits / f"{record.split}.parquet")
    rows = {row["part"]: row for row in fold_rows(dataset, split, record.label_set) if row["fold"] == 0}
    positive = {part: round(row["prevalence"]["abnormal"] * row["studies"]) for part, row in rows.items()}
    for part, row in rows.items():
        expected = (
            f"{part}: {row['studies']} studies of {row['patients']} patients, positive: abnormal {positive[part]}"
        )
        assert expected in found["36 characteristics of each part"]
    area, low, high = run.metric("auroc")
    assert f"auroc {span(area, low, high)}" in found["37 the measures with their uncertainty"]
    named = {"recall": "sensitivity", "specificity": "specificity", "precision": "PPV at this prevalence"}
    rates = ", ".join(f"{words} {span(*run.metric(name))}" for name, words in named.items())
    assert found["38 diagnostic accuracy and its precision"] == f"at a threshold of 0.5: {rates}"
    assert found["20 at which level the parts are disjoint"].startswith("no patient is in two parts")
    assert record.split_means in found["19 how data were shared out"]
    assert f"{record.parameters:,} trainable parameters" in found["22 the model in detail"]
    assert all(
        f"{name} {version}" in found["23 software and its versions"] for name, version in record.versions.items()
    )
    assert "planted; the films are simulated; none" in found.values()  # a citation, as the data set gives it
    studies = dataset.studies.num_rows
    assert f"{studies:,} studies of" in found["8 who was included and who excluded, and why"]
    assert f"{record.rows:,} {record.unit} rows of" in found["8 who was included and who excluded, and why"]
    assert found["44 funding and the role of funders"] == TO_WRITE


@pytest.mark.parametrize("citation", ["", "not given"])
def test_what_is_not_given_is_named(run, dataset, citation: str) -> None:
    silent = replace(run, record=replace(run.record, dataset_citation=citation, dataset_licence="not given"))
    found = facts_of(Subject(silent, dataset))
    assert found["source"][0] == "planted; the films are simulated; citation not given"
    assert found["availability"][0].startswith("licence of the data: not given; ")


def test_positives_are_counted_and_not_a_share_of_studies_whose_label_is_missing(tmp_path) -> None:
    dataset = plant(tmp_path, Planted(studies=300, text=1.0, kinds=1.5))
    run = cxremb.train("text", label_set="found", epochs=2, root=tmp_path)
    split = read_split(dataset.paths.splits / f"{run.record.split}.parquet").table.to_pylist()
    test = {row["study_id"] for row in split if (row["fold"], row["part"]) == (0, "test")}
    rows = [row for row in dataset.labels.to_pylist() if row["label_set"] == "found" and row["study_id"] in test]
    known = {name: [row["value"] for row in rows if row["label"] == name] for name in ("nodule", "effusion")}
    assert len(known["nodule"]) < len(test)  # some are missing
    ones = {name: int(sum(values)) for name, values in known.items()}
    given = facts_of(Subject(run, dataset))
    assert given["parts"][0].endswith(f"positive: nodule {ones['nodule']}, effusion {ones['effusion']}")
    judged = "{0} of {0} patients".format
    events = f"positive: nodule {judged(ones['nodule'])}, effusion {judged(ones['effusion'])}; each judged by"
    assert events in given["internal"][0]


def test_an_epoch_that_nobody_chose_is_not_said_to_be_chosen(run, dataset) -> None:
    last = replace(run, record=replace(run.record, options={**run.record.options, "select": "last"}))
    chosen, kept = (facts_of(Subject(one, dataset))["selection"][0] for one in (run, last))
    assert chosen.endswith("by its validation rows")
    assert kept.endswith("the last one: none was chosen")


def test_a_leaky_split_is_told_with_its_numbers(run, dataset) -> None:
    leaky = replace(run, record=replace(run.record, leaky=True))
    assert facts_of(Subject(leaky, dataset))["internal"][0].endswith("some judged by a model that has seen the patient")


def test_an_audit_of_the_split_is_quoted(run, dataset) -> None:
    done = audit(dataset, run.record.label_set, pixels=False)
    quoted = answers(cxremb.checklist(run, "tripod"))["16 how training and evaluation data differ"]
    overlap = [finding for finding in done.findings if finding.section == "overlap"]
    assert overlap
    assert all(f"{finding.measured} ({finding.status})" in quoted for finding in overlap)


def test_the_command_writes_every_format(cxremb, run, dataset) -> None:
    words = ("runs", "checklist", run.run_id, "--root", dataset.paths.root)
    found = json.loads(cxremb(*words, "--format", "json").out)
    assert len(found["rows"]) == 44
    rows = list(csv.DictReader(io.StringIO(cxremb(*words, "--kind", "tripod", "--format", "csv").out)))
    assert [row["item"] for row in rows] == [item[0] for item in KINDS["tripod"]]
    assert {row["source"] for row in rows if row["answer"] == TO_WRITE} == {""}
    shown = cxremb(*words)
    assert "rows to be written" in shown.out
    markdown = cxremb(*words, "--format", "markdown").out
    assert markdown.count("\n| ") == 46  # a heading, the line below it, 44 items
    wrong = cxremb(*words, "--kind", "clam")
    assert wrong.code == 1
    assert "claim" in wrong.err


def test_another_kind_is_refused(run) -> None:
    with pytest.raises(DataError, match="no checklist is called 'stard'") as caught:
        cxremb.checklist(run, "stard")
    assert "claim or tripod" in caught.value.hint
