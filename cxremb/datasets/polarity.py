"""Which of two classes is the 1: the words for yes, no and nothing found, and how one class negates another.

Polarity is never left to the alphabet: where these tables do not decide, the reader stops and asks for it.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from cxremb.cells import plain
from cxremb.errors import DataError, name_list


def phrases(*lines: str) -> tuple[str, ...]:
    """The words and phrases between commas."""
    return tuple(phrase.strip() for line in lines for phrase in line.split(","))


# All words stand here as `folded` leaves them: small letters, no accents, spaces for _ and - between letters.
YES = frozenset(
    phrases(
        "1, yes, true, positive, pos, present, detected, +, ++, +++, (+)",  # English, and signs
        "ja, wahr, positiv, vorhanden, nachgewiesen, oui, vrai, positif, presente",  # German, French
        "si, verdadero, positivo, positiva, vero, sim, verdadeiro",  # Spanish, Italian, Portuguese
        "waar, positief, aanwezig, sann, tosi, kylla",  # Dutch, Swedish, Finnish
        "да, истина, есть, так, tak, prawda, ano, evet, var, ναι",  # Slavic languages, Turkish, Greek
        "是, 有, 阳性, 陽性, はい, あり, 예, 있음, 양성, نعم, हां",
    )
)
NO = frozenset(
    phrases(
        "0, no, false, negative, neg, absent, undetected, -, --, (-)",
        "nein, falsch, negativ, fehlt, fehlend, non, faux, negatif",
        "falso, negativo, negativa, ausente, assente, nao",
        "nee, onwaar, negatief, afwezig, nej, falskt, ei",
        "нет, ложь, ні, nie, falsz, ne, hayir, yok, οχι",
        "否, 无, 無, 阴性, 陰性, いいえ, なし, 아니오, 없음, 음성, لا, नहीं",
    )
)
# Single letters mean yes and no only as one of these pairs: f and m, or d and n, are something else.
LETTERS = phrases("yn, jn, on, sn, tf, pn, wf, vf, eh, дн")
# A class of those in whom nothing was found. A word of NO of three letters or more is one too.
NOTHING = frozenset(
    phrases(
        "no, none, nothing, nil, normal, normals, norm, healthy, health, well, control, controls, benign, clear",
        "no finding, no findings, no abnormality, no abnormalities, no abnormality detected, no disease, unremarkable",
        "no acute disease, within normal limits, wnl, nad, asymptomatic",
        "gesund, gesunde, unauffallig, unauffaellig, o. b., o.b., ohne befund, kein befund, keine, kein",
        "keiner, keines, nichts, ohne, kontrolle, kontrollen, normalbefund, gutartig",
        "sain, saine, sains, aucun, aucune, rien, rien a signaler, normale, temoin, benin",
        "sano, sana, sanos, saludable, ninguno, ninguna, ningun, nada, sin hallazgos, benigno",
        "nessuno, nessuna, niente, controllo, nenhum, nenhuma, saudavel, sem achados, geen, gezond",
        "норма, нормальный, нормальная, здоров, здорова, здоровый, здоровые, контроль, ничего, нет патологии",
        "zdrowy, brak, normalny, zdravy, normalni, frisk, saglikli, 正常, 健康, 정상",
    )
)
# Neither yes nor no, and no class either: missing.
UNKNOWN = frozenset(
    phrases(
        "-1, ?, ??, unknown, uncertain, unclear, not known, not available, not recorded, not reported, missing",
        "n.a., k.a., k. a., keine angabe, unbekannt, unklar, inconnu, inconnue, non renseigne, incertain",
        "desconocido, desconocida, sin datos, ignoto, sconosciuto, desconhecido, onbekend, неизвестно, неясно",
        "nieznany, 不明, 未知",
    )
)
# What stands before or after a class and turns it into its opposite, or says that it is there.
WITHOUT = phrases(
    "no evidence of, no signs of, no sign of, absence of, negative for, free of, free from, no, non, not, without, w/o",
    "negative, neg, absent, kein nachweis von, kein, keine, keinen, ohne, nicht",
    "pas de, pas d', absence de, absence d', aucun, aucune, sans, sin, ningun, ninguna, senza, nessun, nessuna, sem",
    "nao, geen, zonder, niet, ingen, utan, без, нет, не, bez, brak",
)
WITH = phrases(
    "evidence of, signs of, presence of, positive for, with, w/, has, is, positive, pos, present",
    "mit, avec, presence de, presence d', con, com, met, med, с, со",
)
AFTER_WITHOUT = phrases("free, frei, negative, negativ, negatif, negativo, neg, absent, no, nein, non, нет")
AFTER_WITH = phrases("positive, positiv, positif, positivo, pos, present, yes, ja, oui, si, да")
SAME_LETTERS = str.maketrans({"\u2019": "'", "\u0131": "i", "\u0451": "\u0435"})  # Turkish i, Russian yo
GLUED = ("un", "non", "nicht")  # uninfected, noncovid; "in" is not among them: inpatient
SHARED = 4  # letters, at least, that two words begin with, if one is to be the other with another ending
MOST_NAMED = 10


def folded(word: str) -> str:
    """A class as it is compared: without case, accents, and differences of spaces, _ and - between its parts."""
    text = unicodedata.normalize("NFKD", plain(word.strip())).casefold()
    text = unicodedata.normalize("NFKC", re.sub("(?<=[a-z\u0370-\u03ff])[\u0300-\u036f]+", "", text))
    text = re.sub("[\u2010-\u2015\u2212]", "-", text).translate(SAME_LETTERS)
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])|\s+", " ", text).strip(" _")


class Spellings(NamedTuple):
    """What became of words that differ in nothing but their spelling."""

    of: Mapping[str, str]  # word -> the spelling that is kept
    merged: Sequence[str]  # "covid, Covid (as COVID)" for each class with several


def one_spelling(counts: Mapping[str, int]) -> Spellings:
    """Each word's most frequent spelling, else the first by code point. counts: word -> how often."""
    groups: dict[str, list[str]] = {}
    for word in sorted(counts, key=lambda word: (-counts[word], word)):
        groups.setdefault(folded(word), []).append(word)
    kept = {word: group[0] for group in groups.values() for word in group}
    different = (list(dict.fromkeys(map(plain, group))) for group in groups.values())
    merged = [f"{', '.join(sorted(group[1:]))} (as {group[0]})" for group in different if len(group) > 1]
    return Spellings({word: plain(one) for word, one in kept.items()}, sorted(merged))


@lru_cache(4096)  # a cell is asked for in every row, and there are few different ones
def is_unknown(word: str) -> bool:
    """Whether it says that nobody knows."""
    return folded(word) in UNKNOWN


def says_yes(word: str) -> bool:
    """Whether it is a word for yes."""
    name = folded(word)
    return name in YES or name in {pair[0] for pair in LETTERS}


def are_answers(words: Iterable[str]) -> bool:
    """Whether all of them say yes or no, in whatever language."""
    names = {folded(word) for word in words}
    letters = {name for name in names if len(name) == 1 and name.isalpha() and name not in YES | NO}
    alone = letters == names  # a letter O among zeros and ones is a slip of the hand, not the French for yes
    known = any(letters == set(pair) or (alone and letters <= set(pair)) for pair in LETTERS)
    return names - letters <= YES | NO and (not letters or known)


def is_nothing(word: str) -> bool:
    """Whether a class of this name is of those in whom nothing was found: normal, none, healthy, negative, -."""
    name = folded(word)
    if name in NOTHING or name.startswith(("normal ", "healthy ")):
        return True
    return name in NO and (len(name) > 2 or not (name.isascii() and name.isalpha()))


class Core(NamedTuple):
    """A class without its negation: `no effusion` is effusion, -1; `with effusion` effusion, 1."""

    text: str
    sign: int


def core_of(word: str) -> Core:
    """What a class is of, and whether it says with (1), without (-1) or neither (0)."""
    name = folded(word)
    before: tuple[tuple[Sequence[str], int], ...] = ((WITHOUT, -1), (WITH, 1))
    after: tuple[tuple[Sequence[str], int], ...] = ((AFTER_WITHOUT, -1), (AFTER_WITH, 1))
    for words, sign in before:
        for lead in sorted(words, key=len, reverse=True):
            gap = "" if lead.endswith("'") else " "
            if name.startswith(lead + gap) and len(name) > len(lead + gap):
                return Core(name[len(lead + gap) :].strip(), sign)
    for words, sign in after:
        for end in words:
            if name.endswith(f" {end}"):
                return Core(name[: -len(end) - 1].strip(), sign)
    if len(name) > 1 and name[-1] in "+-":
        return Core(name.rstrip("+- ("), 1 if name[-1] == "+" else -1)
    return Core(name, 0)


def negates(one: str, other: str) -> bool:
    """Whether `one` is `other` with a negation: `no effusion` of `effusion`, `uninfected` of `infected`."""
    first, second = core_of(one), core_of(other)
    if len(folded(other)) >= SHARED - 1 and any(folded(one) == lead + folded(other) for lead in GLUED):
        return True
    return first.sign < 0 and first.sign < second.sign and alike(first.text, second.text)


def alike(one: str, other: str) -> bool:
    """Whether the words of one are all among the other's: `no pneumonia` negates `bacterial pneumonia`."""
    few, many = sorted((one.split(), other.split()), key=len)
    return bool(few) and all(any(same_word(word, name) for name in many) for word in few)


def same_word(one: str, other: str) -> bool:
    """Whether they are equal or begin alike: endings change after a negation (выпот, без выпота).

    pneumonia and pneumothorax, or cardiac and cardiomegaly, begin alike as well, but not for three quarters.
    """
    alike_letters = next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return one == other or alike_letters >= max(SHARED, 0.75 * min(len(one), len(other)))


def says_something(one: str, zero: str) -> bool:
    """Whether a class beside one of nothing found is of those in whom something was: neither unknown nor a negation.

    A negation of the other class (`not normal`) says something; that of anything else (`no cancer` beside `benign`)
    may be nothing found again.
    """
    core = core_of(one)
    if folded(zero) == "0" and len(folded(one)) == 1 and one.isalpha():
        return False  # a letter O beside a zero is a slip of the hand
    return not is_unknown(one) and (core.sign >= 0 or alike(core.text, folded(zero)))


def positive_of(classes: Sequence[str]) -> str | None:
    """The one of two classes that is 1; None if the tables of this module do not decide.

    Nothing found comes first: `not normal` negates `normal`, and is the positive of the two.
    """
    pairs = (tuple(classes), tuple(reversed(classes)))
    answers = are_answers(classes)
    for zero, one in pairs:
        if answers and says_yes(one) and not says_yes(zero):
            return one
    for zero, one in pairs:
        if is_nothing(zero) and not is_nothing(one) and says_something(one, zero):
            return one
    for zero, one in pairs:
        if negates(zero, one) and not negates(one, zero):
            return one
    return None


@dataclass(frozen=True)
class Binary:
    """Two groups of classes: `one` is the label, `zeros` are all others."""

    one: str
    zeros: Sequence[str]


def binary_of(classes: Sequence[str], positive: str | None, *, where: str, option: str) -> Binary:
    """Which class is 1: the one that `positive` names, however spelled, else the one that the tables know.

    where: what holds the classes, for messages. option: what to type, with {} for the class. Raises `DataError` if
    `positive` is none of them, or of two classes neither is known to be negative.
    """
    if positive is not None:
        named = [name for name in classes if folded(name) == folded(positive)]
        if not named:
            raise DataError(
                f"{where} has no class {positive!r}; it has {name_list(classes, MOST_NAMED)}",
                hint=f"type one of them: {option.format(classes[0])}",
            )
        return Binary(named[0], [name for name in classes if name != named[0]])
    one = positive_of(classes)
    if one is None:
        raise DataError(
            f"{where} has the classes {' and '.join(classes)}: which of them is 1 cannot be told from their names",
            hint=f"say it: {option.format(classes[0])} or {option.format(classes[1])}",
        )
    return Binary(one, [name for name in classes if name != one])
