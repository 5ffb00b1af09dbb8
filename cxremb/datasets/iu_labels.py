"""What the reports of Indiana University Chest X-rays were coded as, as label sets."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cxremb.errors import DataError
from cxremb.types import LabelSet, Note, Study

NORMAL, NOT_INDEXED = "normal", "No Indexing"
NOT_ACTIONABLE = Path(__file__).with_name("iu_not_actionable.txt")
LEAST = 20  # studies that carry a term before it becomes a label: ten folds then hold two each
READ = ("findings", "impression")
NORMAL_ABNORMAL = "normal_abnormal"  # the set that commands use where none is named

Values = Mapping[str, float]
Harmless = Mapping[str, frozenset[str]]  # heading -> the qualifiers that make it so; none: it always is


def label_studies(studies: Iterable[Study], least: int = LEAST) -> tuple[list[Study], list[LabelSet], list[Note]]:
    """The studies with their labels, what the label sets say, and a note if no finding is frequent enough.

    A study without MeSH headings has no labels. least: studies that carry a term, for it to be one of `findings`.
    """
    studies = list(studies)
    terms = frequent(studies, least)
    harmless = read_harmless(NOT_ACTIONABLE)
    rules: dict[str, Callable[[Study], Values]] = {
        NORMAL_ABNORMAL: normal_abnormal,
        "normal_abnormal_clean": lambda study: normal_abnormal(study) if indexed(study) and read(study) else {},
        "actionable": lambda study: actionable(study, harmless),
        "findings": lambda study: {term: float(term in problems(study)) for term in terms} if indexed(study) else {},
        "mesh": lambda study: dict.fromkeys(mesh(study), 1.0),
        "problems": lambda study: dict.fromkeys(problems(study), 1.0),
    }
    labelled = [replace(study, labels=labels_of(study, rules)) for study in studies]
    sets = [about for about in label_sets(terms, least, len(harmless)) if terms or about.name != "findings"]
    rare = Note(f"no term is in {least} studies: there is no label set findings", len(studies))
    return labelled, sets, [] if terms else [rare]


def labels_of(study: Study, rules: Mapping[str, Callable[[Study], Values]]) -> dict[str, Values]:
    """The labels of one study, by every rule that applies to it."""
    found = {name: rule(study) for name, rule in rules.items()} if mesh(study) else {}
    return {name: values for name, values in found.items() if values}


def label_sets(terms: Sequence[str], least: int, harmless: int) -> list[LabelSet]:
    """The definitions."""
    coded = "Coded from the report: text that predicts it recovers a label."
    return [
        LabelSet(
            NORMAL_ABNORMAL,
            "binary",
            "whether MeSH is anything but exactly `normal`",
            ["abnormal"],
            f"No Indexing counts as abnormal, as in the reference systems. {coded}",
        ),
        LabelSet(
            "normal_abnormal_clean",
            "binary",
            "whether MeSH is anything but exactly `normal`, where somebody coded a report with text",
            ["abnormal"],
            f"missing: No Indexing, and studies with neither findings nor impression. {coded}",
        ),
        LabelSet(
            "actionable",
            "binary",
            "whether any heading is more than a device, technical, degenerative, calcified or otherwise benign",
            ["actionable"],
            f"0 if {NOT_ACTIONABLE.name} lists all headings ({harmless} terms); No Indexing is missing. {coded}",
        ),
        LabelSet(
            "findings",
            "multilabel",
            f"which of the {len(terms)} headings without qualifiers that at least {least} studies carry",
            terms,
            f"without `normal`, which is all zeros; No Indexing is missing. {coded}",
        ),
        LabelSet("mesh", "terms", "one row per MeSH heading with qualifiers, such as Opacity/lung/base/left"),
        LabelSet("problems", "terms", "one row per MeSH heading without qualifiers, such as Opacity"),
    ]


def normal_abnormal(study: Study) -> Values:
    """0 if the MeSH column is exactly "normal", else 1: so "No Indexing" counts as abnormal.

    The rule of the reference systems, kept to the letter so that figures compare. It is coded from the report:
    predicting it from the report's text recovers a label, it does not diagnose.
    """
    return {"abnormal": float(mesh(study) != (NORMAL,))}


def actionable(study: Study, harmless: Harmless) -> Values:
    """0 if every heading is normal or harmless by itself, else 1."""
    return {"actionable": float(any(calls(term, harmless) for term in mesh(study)))} if indexed(study) else {}


def calls(term: str, harmless: Harmless) -> bool:
    """Whether a heading with its qualifiers, `Spine/degenerative/mild`, calls for action."""
    heading, *qualifiers = map(plain, term.split("/"))
    if heading == NORMAL:
        return False
    wanted = harmless.get(heading)
    return wanted is None or bool(wanted and wanted.isdisjoint(qualifiers))


def read_harmless(path: Path) -> Harmless:
    """The terms of the list. Raises `DataError`, naming the line, for more than one qualifier."""
    found: dict[str, frozenset[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        heading, *qualifiers = map(plain, line.partition("#")[0].split("/"))
        if len(qualifiers) > 1:
            raise DataError(f"{path}, line {number}: two qualifiers", hint="write one line for each of them")
        if heading:
            known = found.get(heading)
            always = not qualifiers or known == frozenset()
            found[heading] = frozenset() if always else frozenset(qualifiers) | (known or frozenset())
    return found


def plain(term: str) -> str:
    """A term to compare: coders wrote `Thoracic vertebrae` and `Subcutaneous  Emphysema` too."""
    return " ".join(term.split()).lower()


def frequent(studies: Iterable[Study], least: int) -> list[str]:
    """The terms that at least so many studies carry, the most frequent first."""
    carried = Counter(term for study in studies if indexed(study) for term in set(problems(study)) - {NORMAL})
    return [term for term, n in sorted(carried.items(), key=lambda pair: (-pair[1], pair[0])) if n >= least]


def mesh(study: Study) -> Sequence[str]:
    """The MeSH headings with their qualifiers."""
    return tuple(study.terms.get("mesh", ()))


def problems(study: Study) -> Sequence[str]:
    """The MeSH headings without."""
    return tuple(study.terms.get("problems", ()))


def indexed(study: Study) -> bool:
    """Whether somebody coded the report."""
    return bool(mesh(study)) and NOT_INDEXED not in mesh(study)


def read(study: Study) -> bool:
    """Whether the report says what was seen."""
    return not study.sections.keys().isdisjoint(READ)
