"""What texts give away: the label's own name in them, their most telling words, and words that only a reading has."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxremb.audit.lookups import CHANCE, GIVES_AWAY, Guess, judged_folds, macro_auroc, most_frequent, scores_of
from cxremb.audit.subject import COLLECTION, LOOK_UPS, NOTE, OK, AuditSubject, Finding, Numbers, skipped
from cxremb.errors import DataError
from cxremb.store.layout import BEFORE_READING
from cxremb.store.texts import PLACES
from cxremb.types import EXAMPLES

SHIPPED = Path(__file__).parent / "synonyms.txt"
TELLING = 3  # words that are named
SURE = 2.4  # standard errors: one of three words passes by chance in 20 texts
FEWEST_TEXTS = 20  # of fewer, no word is telling
VOCABULARY = 2_000  # the most frequent words
READING_SHARE = 0.02  # of a section's texts: `stable angina` is in some
READING_WORDS = re.compile(
    r"\b(?:effusions?|no acute|no evidence of|no focal|unchanged|stable|unremarkable|(?:is|are) clear|"
    r"within normal limits)\b",
    re.IGNORECASE,
)

Synonyms = Mapping[str, Sequence[str]]  # label in lower case -> other words for it


@dataclass(frozen=True)
class SectionTexts:
    """One text of every row of an audit: "" where a row has none."""

    section: str
    role: str
    texts: Sequence[str]  # (n,)

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n,) the rows that have it."""
        return np.array([bool(text) for text in self.texts], dtype=np.bool_)


def read_synonyms(path: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Label -> other words for it: the list that is shipped, with that of `path` added to it.

    Raises `DataError`, naming the line, for one that is not `label: word, word`.
    """
    found: dict[str, tuple[str, ...]] = {}
    for file in (SHIPPED, *([path] if path else [])):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise DataError(f"{file}: cannot be read ({error})", hint="check the path given to --synonyms") from error
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            label, colon, words = line.lower().partition(":")
            given = tuple(word.strip() for word in words.split(",") if word.strip())
            if not colon or not label.strip() or not given:
                raise DataError(f"{file}: line {number} is no `label: word, word`", hint=f"as in {SHIPPED.name}")
            found[label.strip()] = (*found.get(label.strip(), ()), *given)
    return found


def names_of(label: str, synonyms: Synonyms) -> re.Pattern[str]:
    """What finds a label in a text: its name, or one of its synonyms, each from the beginning of a word on."""
    name = " ".join(re.split(r"[\W_]+", label.lower())).strip()
    words = {name, label.lower(), *synonyms.get(label.lower(), ()), *synonyms.get(name, ())}
    return re.compile("|".join(rf"(?<!\w){re.escape(word)}" for word in sorted(words) if word), re.IGNORECASE)


def check_words(subject: AuditSubject, synonyms: Synonyms) -> list[Finding]:
    """A finding for each text: how well the label is known of whoever looks for its name; and its telling words."""
    columns = most_frequent(subject.rows.y)
    if not len(columns):
        return []
    found = [label_in_text(subject, text, columns, synonyms=synonyms) for text in texts_of(subject)]
    return [*found, reading_before(subject)]


def texts_of(subject: AuditSubject) -> Iterator[SectionTexts]:
    """Each section of the reports that enough rows have, in the order of a report."""
    reports, rows = subject.dataset.reports, subject.rows.study_ids.to_pylist()
    sections = reports["section"].unique().to_pylist()
    for section in sorted(sections, key=lambda name: (PLACES.index(name) if name in PLACES else len(PLACES), name)):
        table = reports.filter(pc.equal(reports["section"], section))
        known = dict(zip(table["study_id"].to_pylist(), table["text"].to_pylist(), strict=True))
        text = SectionTexts(section, table["role"][0].as_py(), [known.get(study) or "" for study in rows])
        if text.present.sum() >= FEWEST_TEXTS:
            yield text


def label_in_text(subject: AuditSubject, text: SectionTexts, columns: Numbers, *, synonyms: Synonyms) -> Finding:
    """The finding of one text."""
    name = f"label in {text.section}"
    items, present = subject.rows, text.present
    folds = [(train[present[train]], judged[present[judged]]) for train, judged in judged_folds(items, columns)]
    folds = [(train, judged) for train, judged in folds if len(train) and len(judged)]
    if not folds:
        return skipped(LOOK_UPS, name, "no fold has labelled rows with this text in train and in test")
    labels = [subject.labels.names[column] for column in columns]
    rows = np.concatenate([judged for _, judged in folds])
    patterns = [names_of(label, synonyms) for label in labels]
    said = np.array([[bool(it.search(text.texts[row])) for it in patterns] for row in rows.tolist()], dtype=np.float64)
    y = items.y[rows][:, columns]
    guess = Guess(rows, said, np.full_like(said, CHANCE))
    auroc = macro_auroc(scores_of(subject.dataset.name, guess, y, patients=items.patients[rows]))
    words = telling_words(text, folds[0], items.y[:, columns[0]])
    named = (auroc.value or 0) >= GIVES_AWAY and (auroc.low is None or auroc.low > CHANCE)
    telling = ", ".join(f"{word} {figure:.2f}" for word, figure, _ in words) or "none"
    whose = "" if len(labels) == 1 else f" of {labels[0]}"
    status = NOTE if named or any(sure and figure >= GIVES_AWAY for _, figure, sure in words) else OK
    why = "Who sent the patient knew it." if text.role == BEFORE_READING else "Labels are read from this text."
    return Finding(
        LOOK_UPS,
        name,
        f"the label's name or a synonym in the {text.section}: {share(said[y == 1])} of positives, "
        f"{share(said[y == 0])} of the others; most telling words{whose}, each alone: {telling}",
        auroc.value,
        "-" if auroc.value is None else f"{auroc.value:.3f}",
        status,
        "" if status == OK else why,
        "" if status == OK else "train on texts that do not name it, or report results beside this look-up",
    )


def share(said: NDArray[np.float64]) -> str:
    """How many, as a reader sees it."""
    return f"{said.mean():.1%}" if said.size else "none"


def telling_words(
    text: SectionTexts, fold: tuple[Numbers, Numbers], y: NDArray[np.float64]
) -> list[tuple[str, float, bool]]:
    """The words of the highest weight of a linear model of train, each with the AUROC of its being there in test.

    And whether that is beyond doubt. Where its absence tells, the figure is of that.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge

    train, judged = (rows[np.isfinite(y[rows])] for rows in fold)
    if min(len(np.unique(y[rows])) for rows in (train, judged)) < 2:
        return []
    counter = CountVectorizer(binary=True, max_features=VOCABULARY, token_pattern=r"[^\W\d_]{2,}")
    try:
        known = counter.fit_transform([text.texts[row] for row in train.tolist()])
    except ValueError:  # not one word
        return []
    weights = np.abs(Ridge(solver="lsqr").fit(known, y[train]).coef_)
    seen = counter.transform([text.texts[row] for row in judged.tolist()])
    names, found = counter.get_feature_names_out(), []
    for column in np.argsort(-weights, kind="stable")[:TELLING].tolist():
        there = seen[:, [column]].toarray()[:, 0] > 0
        with_it, without = (there[y[judged] == value] for value in (1, 0))
        difference = abs(with_it.mean() - without.mean())
        error = np.sqrt(with_it.var() / len(with_it) + without.var() / len(without))
        found.append((str(names[column]), float(1 + difference) / 2, bool(difference > SURE * error)))
    return found


def reading_before(subject: AuditSubject) -> Finding:
    """Words that only a reading has, in sections that count as written before it."""
    name = "reading before reading"
    reports = subject.dataset.reports
    before = reports.filter(pc.equal(reports["role"], BEFORE_READING))
    if not before.num_rows:
        return skipped(COLLECTION, name, "no section counts as written before the reading")
    texts: dict[str, list[tuple[str, str]]] = {}
    for study, section, text in zip(*(before[it].to_pylist() for it in ("study_id", "section", "text")), strict=True):
        texts.setdefault(section, []).append((study, text or ""))
    hits = {section: [study for study, text in its if READING_WORDS.search(text)] for section, its in texts.items()}
    shares = {section: len(hits[section]) / len(its) for section, its in texts.items()}
    counts = ", ".join(f"{section} {len(hits[section]):,} of {len(its):,}" for section, its in texts.items())
    worst = max(shares, key=lambda section: shares[section])
    status = NOTE if shares[worst] >= READING_SHARE else OK
    return Finding(
        COLLECTION,
        name,
        f"texts with effusion, no acute, unchanged, stable or the like: {counts}",
        float(sum(map(len, hits.values()))),
        f"{shares[worst]:.1%}",
        status,
        "" if status == OK else "`--text pre-read` may read the answer, if a reading stands under the wrong heading.",
        "" if status == OK else "read the examples; leave the section out, or add it as a plain --text",
        [f"{study} ({worst})" for study in hits[worst][:EXAMPLES]],
    )
