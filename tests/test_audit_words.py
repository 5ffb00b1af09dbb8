"""An audit tells where a text says the label, and where a reading stands in what was written before it."""

from pathlib import Path

import numpy as np
import pytest

from cxremb.audit.audit import Audit, audit
from cxremb.audit.words import names_of, read_synonyms
from cxremb.catalog import add_collection
from cxremb.errors import DataError
from cxremb.store.dataset import Dataset
from cxremb.types import Collection, LabelSet, Study

FILLER = [f"word{letter}{other}" for letter in "abcdefgh" for other in "abcdefgh"]


def build(folder: Path, *, positives: float, others: float, label: str = "COVID", says: str = "covid") -> Dataset:
    """300 studies with a note that says `says` in such shares of them, and a technique that reads films in a tenth."""
    rng = np.random.default_rng(3)
    studies = []
    for number in range(300):
        sick = number % 2
        words = list(rng.choice(FILLER, 12))
        words += [says] if rng.random() < (positives if sick else others) else []
        technique = "Two views. There is an effusion." if number % 10 == 0 else "Two views."
        studies.append(
            Study(
                f"s{number}",
                f"p{number}",
                {"indication": " ".join(words), "technique": technique},
                labels={"sick": {label: float(sick)}},
            )
        )
    sets = [LabelSet("sick", "binary", "sick", (label,))]
    collection = Collection("words", studies, [], "none", "none", {}, label_sets=sets)
    return add_collection(collection, folder).dataset


def audited(dataset: Dataset, **more: Path) -> dict[str, object]:
    result: Audit = audit(dataset, pixels=False, **more)  # type: ignore[arg-type]
    return {finding.name: finding for finding in result.findings}


def test_the_label_in_the_text_is_found(tmp_path: Path) -> None:
    found = audited(build(tmp_path, positives=0.36, others=0.05))["label in indication"]
    assert found.status == "note"
    assert 0.6 < found.value < 0.7  # (1 + .36 - .05) / 2 = .655
    assert "positives" in found.measured
    assert "most telling words, each alone: covid 0.6" in found.measured


def test_a_text_that_says_nothing_is_ok(tmp_path: Path) -> None:
    found = audited(build(tmp_path, positives=0.2, others=0.2))["label in indication"]
    assert found.status == "ok"
    assert 0.4 < found.value < 0.6


def test_users_extend_the_list_of_synonyms(tmp_path: Path) -> None:
    dataset = build(tmp_path / "s", positives=0.5, others=0.0, says="Lungenentzündung", label="pneumonia")
    assert audited(dataset)["label in indication"].value == 0.5  # that word is in no list; it is the most telling one
    assert "lungenentzündung 0.7" in audited(dataset)["label in indication"].measured
    (tmp_path / "mine.txt").write_text("# German\npneumonia: lungenentz\n", encoding="utf-8")
    assert audited(dataset, synonyms=tmp_path / "mine.txt")["label in indication"].value > 0.65
    (tmp_path / "bad.txt").write_text("pneumonia\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1 is no"):
        read_synonyms(tmp_path / "bad.txt")


def test_names_of_labels() -> None:
    known = read_synonyms()
    assert names_of("Pleural_Effusion", known).search("small pleural effusions")
    assert names_of("Pleural Effusion", known).search("Pleuraerguss") is None  # from the beginning of a word on
    assert names_of("Edema", known).search("mild oedema")
    assert names_of("mass", known).search("biomass") is None


def test_a_reading_under_a_heading_of_before_is_counted(tmp_path: Path) -> None:
    found = audited(build(tmp_path, positives=0, others=0))["reading before reading"]
    assert (found.status, found.value) == ("note", 30.0)
    assert "indication 0 of 300, technique 30 of 300" in found.measured
    assert found.examples[0] == "s0 (technique)"
