"""A dozen layouts of reports, as radiologists of one hospital write them; the texts are made up."""

import pytest

from cxremb.datasets.mimic_reports import parse_report, section_of
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
