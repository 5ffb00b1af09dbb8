"""What the words of collections call a view, and the one word that it has here: the table to read, and to add to.

The words are those of DICOM (ViewPosition: PS3.3 C.8.7.1.1.3), CheXpert, NIH, MIMIC-CXR, PadChest, BRAX and Open-i,
and of hospitals that write German, French, Spanish, Italian, Portuguese or Russian.
"""

import re
import unicodedata
from collections import Counter

from cxremb.types import EXAMPLES, Note

PA, AP, AP_SUPINE, FRONTAL, LATERAL, OBLIQUE = "PA", "AP", "AP supine", "Frontal", "Lateral", "Oblique"
# View -> the words that name it, in capitals without accents. Others (`portable`, `erect`, `chest`) say nothing of it.
WORDS = {
    PA: "PA DV POSTEROANTERIOR POSTERIOANTERIOR POSTERIORANTERIOR POSTEROANTERIEUR POSTEROANTERIORE DORSOVENTRAL",
    AP: "AP VD ANTEROPOSTERIOR ANTERIOPOSTERIOR ANTERIORPOSTERIOR ANTEROPOSTERIEUR ANTEROPOSTERIORE VENTRODORSAL",
    AP_SUPINE: "SUPINE SUPINO SUPINA HORIZONTAL LIEGEND LIEGENDAUFNAHME RECUMBENT LYING COUCHE DEITADO ЛЕЖА",
    FRONTAL: "FRONTAL FRONT FRONTALE FACE ПРЯМАЯ",
    LATERAL: "LATERAL LAT L LL RL LLAT RLAT LATERALE LATERALLY SEITLICH SEITE PROFIL PROFILE PROFILO PERFIL БОКОВАЯ",
    OBLIQUE: "OBLIQUE OBL OBLICUA OBLIQUA OBLIQUO SCHRAG SCHRAEG LAO RAO LPO RPO LLO RLO КОСАЯ",
}
NAMES = {word: view for view, words in WORDS.items() for word in words.split()}
NO_VIEW = {"DECUBITUS", "LLD", "RLD", "LORDOTIC", "APICAL", "AXIAL", "SWIMMERS"}  # films that are neither of these


def view_named(words: str | None) -> str | None:
    """The view that the words name: PA, AP, AP supine, Frontal (PA or AP is not said), Lateral, Oblique; None if they
    name none of these, or two that exclude each other.
    """
    found = {NAMES[word] for word in spelled(words) if word in NAMES}
    if not found or NO_VIEW & set(spelled(words)):
        return None
    if found <= {PA, FRONTAL} and PA in found:
        return PA
    if found <= {AP, AP_SUPINE, FRONTAL} and found != {FRONTAL}:
        return AP_SUPINE if AP_SUPINE in found else AP
    if found <= {PA, AP, FRONTAL}:
        return FRONTAL
    if OBLIQUE in found:
        return OBLIQUE
    return LATERAL if found == {LATERAL} else None


def spelled(words: str | None) -> list[str]:
    """The words in capitals, without accents; `a.p.` and `antero-posterior` are one word each."""
    bare = "".join(it for it in unicodedata.normalize("NFKD", (words or "").upper()) if not unicodedata.combining(it))
    bare = re.sub(r"\b([AP])\s?[./-]\s?([AP])\b\.?", r"\1\2", bare.replace("_", " "))
    bare = re.sub(r"\b(ANTERO|POSTERO|ANTERIO|POSTERIO|ANTERIOR|POSTERIOR)[ -]+(?=ANTERI|POSTERI)", r"\1", bare)
    return re.findall(r"[^\W\d]+", bare)


def view_notes(unnamed: Counter[str], hint: str) -> list[Note]:
    """How many films have no view, by what is written of it; `blank` where nothing is."""
    examples = tuple(f"{words or 'blank'}: {count:,}" for words, count in unnamed.most_common(EXAMPLES))
    return [Note("images whose view is not known", unnamed.total(), examples, hint)] if unnamed else []
