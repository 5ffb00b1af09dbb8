"""A dozen layouts of reports, as radiologists of one hospital write them; the texts are made up."""

import pytest

from cxremb.datasets.mimic_sections import parse_report, section_of
from cxremb.store.layout import BEFORE_READING, ROLES

STANDARD = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new cough  // evaluate for
 infection

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 There is no consolidation.  The heart
 is large.

 A clip is seen.

 IMPRESSION:

 1.  No acute process.

 2.  Cardiomegaly.
"""
STANDARD_SECTIONS = {
    "examination": "CHEST (PA AND LAT)",
    "indication": "___F with new cough // evaluate for infection",
    "technique": "Chest PA and lateral",
    "comparison": "___",
    "findings": "There is no consolidation. The heart is large.\nA clip is seen.",
    "impression": "1. No acute process.\n2. Cardiomegaly.",
}
LAYOUTS = {
    "standard": (STANDARD, STANDARD_SECTIONS),
    "blank lines that hold a blank, as published": (STANDARD.replace("\n\n", "\n \n"), STANDARD_SECTIONS),
    "line ends of Windows": (STANDARD.replace("\n", "\r\n"), STANDARD_SECTIONS),
    "wet read above": (
        " WET READ: ___ ___ ___ 9:54 PM\n  No pneumonia.\n " + "_" * 78 + f"\n{STANDARD}",
        {"wet_read": "___ ___ ___ 9:54 PM No pneumonia.", **STANDARD_SECTIONS},
    ),
    "two versions of a wet read": (
        " WET READ VERSION #1 ___ ___ ___ 5:12 PM\n  Clear.\n WET READ VERSION #2 ___ 6:02 PM\n  Effusion.\n"
        " FINAL REPORT\n IMPRESSION: Effusion.\n",
        {
            "wet_read": "VERSION #1 ___ ___ ___ 5:12 PM Clear.\nVERSION #2 ___ 6:02 PM Effusion.",
            "impression": "Effusion.",
        },
    ),
    "addendum above": (
        " FINAL ADDENDUM\n ADDENDUM:  The nodule is old.\n" + "=" * 40 + "\n Final Report\n HISTORY:  Fall.\n \n"
        " IMPRESSION:  Nodule.\n",
        {"addendum": "The nodule is old.", "history": "Fall.", "impression": "Nodule."},
    ),
    "no heading at all": (
        " FINAL REPORT\n Heart size is normal.\n \n Lungs are clear.\n",
        {"report": "Heart size is normal.\nLungs are clear."},
    ),
    "the reading follows the reason without a heading": (
        " FINAL REPORT\n REASON FOR EXAMINATION:  Evaluation of the tube.\n \n Portable AP radiograph of the chest was"
        " reviewed in\n comparison to ___.\n \n There is pulmonary edema.\n",
        {
            "indication": "Evaluation of the tube.",
            "report": "Portable AP radiograph of the chest was reviewed in comparison to ___.\n"
            "There is pulmonary edema.",
        },
    ),
    "the reading follows an empty heading": (
        " CLINICAL INFORMATION:\n Fever.\n \n COMPARISON:\n \n There is an effusion.\n",
        {"history": "Fever.", "report": "There is an effusion."},
    ),
    "the views head the findings": (
        " CLINICAL HISTORY:  Syncope.\n \n PA AND LATERAL VIEWS OF THE CHEST:  The lungs are clear.\n \n"
        " CONCLUSION:  Normal.\n",
        {
            "history": "Syncope.",
            "findings": "PA AND LATERAL VIEWS OF THE CHEST: The lungs are clear.",
            "impression": "Normal.",
        },
    ),
    "a title that ends in a colon": (
        " FINAL REPORT\n CHEST, TWO VIEWS:\n \n INDICATION:  Cough.\n \n FINDINGS AND IMPRESSION:  Clear.\n",
        {"examination": "CHEST, TWO VIEWS", "indication": "Cough.", "impression": "Clear."},
    ),
    "organs within the findings": (
        " FINDINGS:\n LINES: A port.\n LUNGS: Clear.\n \n HEART: Large.\n \n RECOMMENDATION(S):  CT.\n \n"
        " NOTIFICATION:   Dr. ___ was told at 5:12 PM.\n",
        {
            "findings": "LINES: A port. LUNGS: Clear.\nHEART: Large.",
            "recommendations": "CT.",
            "notification": "Dr. ___ was told at 5:12 PM.",
        },
    ),
    "all on one line": (
        "INDICATION: Cough. COMPARISON: None. FINDINGS: COPD: stable. IMPRESSION: Stable.",
        {"indication": "Cough.", "comparison": "None.", "findings": "COPD: stable.", "impression": "Stable."},
    ),
    "misspelt and without a colon": (
        " IDICATION: Cough.\n \n COMPARISION: ___.\n \n FINDNGS: Clear.\n \n IMPRESSION\n Normal.\n",
        {"indication": "Cough.", "comparison": "___.", "findings": "Clear.", "impression": "Normal."},
    ),
    "mixed case": (
        "Final Report\nIndication: Pain.\n\nFindings: Clear. Note: no prior.\nImpression: Normal.",
        {"indication": "Pain.", "findings": "Clear. Note: no prior.", "impression": "Normal."},
    ),
    "a heading twice, once empty": (
        " FINDINGS:\n \n COMPARISON:  ___.\n \n FINDINGS:  One.\n \n IMPRESSION:\n \n FINDINGS:  Two.\n",
        {"comparison": "___.", "findings": "One.\nTwo."},
    ),
    "a reading inside the technique": (
        " TECHNIQUE AND FINDINGS:  One view. Clear.\n \n INDICATION:  Pain.\n UNUSUAL HEADING:  Opacity.\n",
        {"findings": "One view. Clear.", "indication": "Pain.", "report": "UNUSUAL HEADING: Opacity."},
    ),
    "nothing": (" \n FINAL REPORT\n \n IMPRESSION:\n" + "_" * 20, {}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_cut_where_a_reader_would_cut_it(layout):
    text, sections = LAYOUTS[layout]
    assert parse_report(text) == sections


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_word_is_lost(layout):
    """Every word of a report is in a section, or is a heading."""
    text, _ = LAYOUTS[layout]
    kept = " ".join(parse_report(text).values())
    for word in text.split():
        if not word.isupper() and any(letter.isalpha() for letter in word) and not word.endswith(":"):
            assert word in kept or word in ("Final", "Report")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_reading_counts_as_written_before_the_film_was_read(layout):
    before = " ".join(t for s, t in parse_report(LAYOUTS[layout][0]).items() if ROLES.get(s) == BEFORE_READING)
    for said in ("lear", "ormal", "edema", "ffusion", "Opacity", "large", "odule", "table"):
        assert said not in before


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("IMPRESSON", "impression"),
        ("IMPERSSION", "impression"),
        ("CONCUSION", "impression"),
        ("COMPARISON STUDIES", "comparison"),
        ("REASON FOR EXAM", "indication"),
        ("CLINICAL INFORMATION/HISTORY", "history"),
        ("FINDINGS/ IMPRESSION", "impression"),
        ("Findings", "findings"),
        ("Findings of note", None),
        ("MEDICATION", None),
        ("HEART", None),
        ("COMMENT", None),
    ],
)
def test_headings(heading, section):
    assert section_of(heading) == section


# --- headings and layouts, in as many ways as reports are written ----------------------------------------------------

READING = (
    "The lungs are clear.",
    "There is a small left pleural effusion.",
    "No acute cardiopulmonary process.",
    "Heart size is top normal.",
    "As compared to the previous radiograph, the edema has worsened.",
    "Unchanged position of the tracheostomy tube.",
    "Persistent bibasilar atelectasis.",
    "Bilateral opacities, right more than left.",
    "Stable cardiomegaly without focal consolidation.",
)
BEFORE = {
    "INDICATION": "___ year old woman with cough, evaluate for pneumonia.",
    "REASON FOR EXAM": "Rule out effusion.",
    "CLINICAL HISTORY": "Fall from a ladder.",
    "HISTORY": "___M with chest pain.",
    "COMPARISON": "___.",
    "COMPARISON STUDIES": "Chest radiograph from ___.",
    "TECHNIQUE": "Chest PA and lateral.",
    "EXAMINATION": "CHEST (PA AND LAT)",
    "INDICATION FOR CHEST X-RAY": "Fever.",
}
HEADS_OF_READINGS = (
    "FINDINGS",
    "Findings",
    "VIEWS OF THE CHEST",
    "EXAMINATION OF THE CHEST",
    "STUDY, PORTABLE CHEST",
    "TECHNIQUE, PA AND LATERAL CHEST",
    "PROCEDURE AND RESULTS",
    "PROCEDURE AND FINDINGS",
    "EXAM RESULT",
    "AP CHEST, 5:32 A.M.",
    "PORTABLE CHEST, ___ AT 17:05",
    "COMPARISON TO PRIOR CHEST FILM",
    "Portable chest",
    "INTERPRETATION",
    "TWO VIEWS",
    "IMPRESSION",
)
UNDER = {  # how a reading stands under a heading
    "beside": "{head}: {first} {rest}",
    "on the next line": "{head}:\n {first}\n {rest}",
    "after a blank line": "{head}:\n \n {first} {rest}",
    "in paragraphs": "{head}:\n {first}\n \n {rest}",
}
WITHOUT_HEADING = {  # how a reading follows what was written before it
    "in the same paragraph": " {head}: {before} {first} {rest}\n",
    "on the next line": " {head}: {before}\n {first}\n {rest}\n",
    "after a blank line": " {head}: {before}\n \n {first} {rest}\n",
    "under a title with a clock time": " {head}: {before}\n AP CHEST, 5:32 A.M.\n {first}\n {rest}\n",
    "under a title and a blank line": " {head}: {before}\n \n PORTABLE AP CHEST, 5:32 A.M. ___\n \n {first} {rest}\n",
    "under an organ": " {head}: {before}\n Lungs: {first} {rest}\n",
    "under another empty heading": " {head}: {before}\n \n COMPARISON:\n \n {first} {rest}\n",
}


def parted(text: str) -> tuple[str, str]:
    """(what counts as written before, the rest)."""
    found = parse_report(text)
    before = " ".join(words for section, words in found.items() if ROLES.get(section) == BEFORE_READING)
    return before, " ".join(words for section, words in found.items() if ROLES.get(section) != BEFORE_READING)


@pytest.mark.parametrize("head", HEADS_OF_READINGS)
@pytest.mark.parametrize("under", UNDER)
@pytest.mark.parametrize("first", READING)
def test_a_reading_under_any_heading_is_a_source_of_labels(head: str, under: str, first: str) -> None:
    for asked, question in BEFORE.items():
        text = f" FINAL REPORT\n {asked}: {question}\n \n " + UNDER[under].format(
            head=head, first=first, rest=READING[1]
        )
        before, reading = parted(text)
        assert first in reading, text
        assert READING[1] in reading, text
        assert first not in before, text
        assert question.rstrip(".") in f"{before} {reading}", text


@pytest.mark.parametrize("layout", WITHOUT_HEADING)
@pytest.mark.parametrize("first", READING)
def test_a_reading_without_a_heading_is_a_source_of_labels(layout: str, first: str) -> None:
    for asked, question in BEFORE.items():
        text = WITHOUT_HEADING[layout].format(head=asked, before=question, first=first, rest=READING[1])
        before, reading = parted(text)
        assert first in reading, text
        assert READING[1] in reading, text
        assert first not in before, text


@pytest.mark.parametrize("asked", BEFORE)
def test_what_was_written_before_is_kept_as_such(asked: str) -> None:
    before, reading = parted(
        f" {asked}: {BEFORE[asked]}\n \n FINDINGS:\n \n {READING[0]}\n \n IMPRESSION: {READING[2]}\n"
    )
    assert before == BEFORE[asked]
    assert reading == f"{READING[0]} {READING[2]}"


@pytest.mark.parametrize("inner", ["COMPARISON: ___.", "HISTORY: of asthma.", "TECHNIQUE: same.", "INDICATION: tube."])
def test_within_a_reading_only_another_reading_begins(inner: str) -> None:
    text = f" FINDINGS: {READING[0]} {inner} {READING[1]} IMPRESSION: {READING[2]}\n"
    assert parse_report(text) == {"findings": f"{READING[0]} {inner} {READING[1]}", "impression": READING[2]}
    wrapped = f" FINDINGS: {READING[0]} Larger than in\n {inner} {READING[1]}\n \n IMPRESSION: {READING[2]}\n"
    found = parse_report(wrapped)
    assert found["findings"].endswith(f"{inner} {READING[1]}")
    assert found["impression"] == READING[2]


@pytest.mark.parametrize("time", ["5:32 A.M.", "17:05", "11:59 p.m."])
def test_a_clock_time_is_no_heading(time: str) -> None:
    found = parse_report(
        f" AP CHEST, {time.upper()}\n \n HISTORY: Sepsis.\n \n IMPRESSION: Seen at {time} {READING[0]}\n"
    )
    assert found == {
        "examination": f"AP CHEST, {time.upper()}",
        "history": "Sepsis.",
        "impression": f"Seen at {time} {READING[0]}",
    }


def test_one_word_that_reads_is_no_comparison() -> None:
    found = parse_report(" COMPARISON: None. Hyperexpanded.\n \n IMPRESSION: COPD.\n")
    assert found == {"comparison": "None.", "report": "Hyperexpanded.", "impression": "COPD."}
    kept = "PA and lateral. The patient was upright. Two films."
    assert parse_report(f" TECHNIQUE: {kept}\n \n FINDINGS: {READING[0]}\n")["technique"] == kept
