"""Reports as programs export them: what stands beside the words is counted, and no ordinary report is called marked."""

from pathlib import Path

import pytest

from cxremb.catalog import add_collection
from cxremb.catalog.markup import MarkupNotes
from cxremb.types import Collection, Study

MARKED = {
    "RTF": r"{\rtf1\ansi\deff0 Lungs are clear.\par No effusion.}",
    "HTML": "<p>Lungs are <b>clear</b>.</p><BR/>No effusion.",
    "characters as HTML writes them": "Pleural fluid &lt; 5 mm &amp; clear",
    "line ends as Excel writes them": "Lungs clear._x000D_\nNo effusion.",
    "marks of HL7": r"Lungs clear.\.br\No effusion. \X0D\ Normal.",
    "letters that were read in another encoding": "Keine ErgÃ¼sse, kein Stauungszeichen",
    "a PDF": "JVBERi0xLjQKJcfs",
}
ORDINARY = (
    "Heart size < 50%, effusion <5 mm, PaO2 > 60 & stable. T11/T12 \\ old fracture, _x_ marks the place.",
    "Não há derrame. AÇÃO: controle. Herz nicht vergrößert, keine Ergüsse. Cœur normal, « rien à signaler ».",
    "See <report of 2012>; R&D; a <- b; x<y>z; 5 <b 6",
)


@pytest.mark.parametrize("kind", MARKED)
def test_each_kind_is_counted_once_a_text(kind: str) -> None:
    found = MarkupNotes()
    found.add("7", [("findings", MARKED[kind] * 2), ("impression", "Normal.")])
    (note,) = found.notes()
    assert kind in note.what
    assert (note.count, note.examples) == (1, ("findings of 7",))


def test_mojibake_of_every_letter_of_a_language_is_seen() -> None:
    for letter in "äöüÄÖÜßéèêçñõåø–’“”":
        found = MarkupNotes()
        found.add("1", [("findings", f"x{letter.encode().decode('cp1252', 'replace')}y")])
        assert len(found.notes()) == 1, letter


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_report_has_none(text: str) -> None:
    found = MarkupNotes()
    found.add("1", [("findings", text)])
    assert found.notes() == []


def test_texts_are_kept_as_they_are_and_the_note_is_stored(tmp_path: Path) -> None:
    studies = [Study(str(n), str(n), {"findings": text}) for n, text in enumerate((*MARKED.values(), *ORDINARY))]
    added = add_collection(Collection("c", studies, (), "", "", {}), tmp_path)
    assert added.dataset.reports["text"].to_pylist() == [*MARKED.values(), *ORDINARY]
    assert sum("in them" in note["what"] for note in added.dataset.descriptor["notes"]) == len(MARKED)
