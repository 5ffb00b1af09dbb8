"""Arms as data: what is read, by which head, and what is changed. The grammar that names them.

ARM   = BASE | BASE[AXIS=VALUE,...] | AXIS=VALUE        the last is short for fusion[AXIS=VALUE]
BASE  = image | text | fusion | TEXT | image+TEXT       TEXT: a section, findings+impression or pre-read
      | image+prior                                     films beside those of the examination before
      | zero-shot                                       films by their cosines to prompts: nothing is trained
VALUE = one, or several with | between: one arm each
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from cxremb.errors import TrainError, did_you_mean
from cxremb.store.readings import READERS, UNCERTAIN
from cxremb.store.texts import KEEP, MARKS, WAYS
from cxremb.training.heads import HeadSpec, find_head

# What may be changed about an arm, in the order in which names say it; a tuple lists the values there are.
AXES: dict[str, tuple[str, ...] | str] = {
    "head": ("mlp", "linear", "gated", "late", "stacked", "attention", "either"),
    "encoder": "an encoder or a store",
    "pooling": "such as cls, mean or avg",
    "views": ("all", "frontal"),
    "train-fraction": "above 0, up to 1",
    "shots": "rows of each class, 1 or more",
    "missing": ("image", "text"),
    MARKS: WAYS,
    "text": "a text",
    "prior": ("difference",),
    "label": (*(f"uncertain-{name}" for name in UNCERTAIN), *(f"readers-{name}" for name in READERS)),
    "prompts": "a set of prompts, or several joined by +",
}
USUAL = {
    "head": "mlp",
    "views": "all",
    "train-fraction": "1",
    MARKS: KEEP,
    "prompts": "plain",
}  # not worth a word in a name

# reads -> head as arms call it -> its name in `training.heads.HEADS`
HEADS_OF = {
    "image": {"mlp": "image", "linear": "linear-image", "attention": "attention-image"},
    "text": {"mlp": "text", "linear": "linear-text"},
    "fusion": {name: "fusion" if name == "mlp" else name for name in AXES["head"]},
}
ZERO_SHOT = "zero-shot"
OF_ZERO_SHOT = ("encoder", "views", "prompts")  # the axes that it has
BASES = (*HEADS_OF, ZERO_SHOT)
WITH_PRIOR = "image+prior"  # short for image[prior=difference]
ALIASES = {head: (reads, called) for reads, heads in HEADS_OF.items() for called, head in heads.items()}

GRAMMAR = (
    "an arm is image, text, fusion, zero-shot, a text such as findings or pre-read, or image+TEXT; change it in "
    "brackets, as in fusion[head=gated,views=frontal], with "
)


@dataclass(frozen=True)
class Arm:
    """What one row of the table is trained on. `changes` has the axes that differ from what is usual."""

    reads: str  # one of BASES
    text: str | None = None  # another text than the table's
    changes: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """As tables, runs and SQL call it; parsing it gives the same arm."""
        base = self.reads if self.text is None else self.text if self.reads == "text" else f"image+{self.text}"
        short = self.reads == "image" and bool(self.get("prior"))
        base = WITH_PRIOR if short else base
        changes = ",".join(f"{axis}={value}" for axis, value in self.changes if not (short and axis == "prior"))
        return f"{base}[{changes}]" if changes else base

    def get(self, axis: str) -> str | None:
        """The value of an axis; None where nothing is asked for."""
        return dict(self.changes).get(axis, USUAL.get(axis))

    @property
    def is_zero_shot(self) -> bool:
        return self.reads == ZERO_SHOT

    @property
    def blocks(self) -> Sequence[str]:
        """The modalities that it reads."""
        return ("image",) if self.is_zero_shot else self.head.blocks

    @property
    def pools_films(self) -> bool:
        """Whether its rows are studies, all films of which it reads at once."""
        return not self.is_zero_shot and self.head.kind == "attention"

    @property
    def head_name(self) -> str:
        """Its head, as `training.heads.HEADS` calls it."""
        return HEADS_OF[self.reads][self.get("head") or "mlp"]

    @property
    def head(self) -> HeadSpec:
        return find_head(self.head_name)

    @property
    def fraction(self) -> float:
        """The share of each fold's training patients that it is trained on."""
        return float(self.get("train-fraction") or 1)

    @property
    def shots(self) -> int | None:
        """How many training rows of each class it is trained on; None: all."""
        return int(found) if (found := self.get("shots")) else None


def parse_arms(words: Sequence[str], texts: Sequence[str] = ()) -> list[Arm]:
    """The arms that the words name, once each, in order. texts: those that the data set knows.

    Raises `TrainError`, saying what there is, for anything that is no arm, or no arm at all.
    """
    found = dict.fromkeys(arm for word in words for arm in parse_arm(word, texts))
    if not found:
        raise TrainError("no arm to train", hint=f"name some of {', '.join((*BASES, *texts))}")
    return list(found)


def split_arms(text: str) -> list[str]:
    """The words of a list: commas and semicolons part them, but commas in brackets do not."""
    return [word.strip() for word in re.split(r"[,;](?![^\[\]]*\])", text) if word.strip()]


def parse_arm(word: str, texts: Sequence[str]) -> Iterator[Arm]:
    """The arms of one word: several where an axis has several values."""
    found = re.fullmatch(r"(?P<base>[^\[\]=|]*)(\[(?P<body>[^\[\]]*)\])?", word.strip())
    if found is None and re.fullmatch(r"[a-z-]+=[^\[\],=]+", word.strip()):
        base, body = "fusion", word.strip()
    elif found is None or not found["base"]:
        raise TrainError(f"{word!r} names no arm", hint=GRAMMAR + axes_in_words())
    else:
        base, body = found["base"], found["body"] or ""
    axes: dict[str, list[str]] = {}
    for part in filter(None, map(str.strip, body.split(","))):
        axis, equals, values = part.partition("=")
        if not equals or axis in axes:
            raise TrainError(f"{part!r} of {word!r} is no AXIS=VALUE", hint=GRAMMAR + axes_in_words())
        axes[axis] = values.split("|")
    for chosen in product(*axes.values()):
        yield make_arm(base, dict(zip(axes, chosen, strict=True)), texts)


def make_arm(base: str, changes: Mapping[str, str], texts: Sequence[str] = ()) -> Arm:
    """An arm, checked. Raises `TrainError` for a base, an axis or a value that there is not, or that do not fit."""
    if base == WITH_PRIOR and "prior" not in texts:
        base, changes = "image", {"prior": "difference", **changes}
    reads, text, head = read_base(base, texts)
    wanted = {"head": head, **changes} if head else dict(changes)
    for axis in wanted:
        refuse_value(axis, wanted[axis])
    text = wanted.pop("text", text)
    if text is not None:
        refuse_text(text, reads, texts)
    if "train-fraction" in wanted:
        wanted["train-fraction"] = fraction_of(wanted["train-fraction"])
    if "shots" in wanted:
        wanted["shots"] = shots_of(wanted["shots"])
    ordered = [(axis, wanted[axis]) for axis in AXES if axis in wanted and wanted[axis] != USUAL.get(axis)]
    arm = Arm(reads, text, tuple(ordered))
    refuse_unfit(arm)
    refuse_together(arm)
    return arm


def read_base(base: str, texts: Sequence[str]) -> tuple[str, str | None, str | None]:
    """(what is read, which text if another, which head if another)."""
    if base in BASES:
        return base, None, None
    if base in ALIASES:
        reads, head = ALIASES[base]
        return reads, None, head
    if base in texts:
        return "text", base, None
    if base.startswith("image+"):
        return "fusion", base.removeprefix("image+"), None
    known = (*HEADS_OF, *texts, "image+TEXT", WITH_PRIOR, ZERO_SHOT)
    near = did_you_mean(base, known)
    hint = f"{near}choose among {', '.join(known)}; change one in brackets with {axes_in_words()}"
    raise TrainError(f"no arm called {base!r}", hint=hint)


def refuse_value(axis: str, value: str) -> None:
    """Raises `TrainError` for an axis or a value that there is not."""
    if axis not in AXES:
        raise TrainError(f"arms have no {axis!r}", hint=f"change {axes_in_words()}")
    known = AXES[axis]
    if not value or (isinstance(known, tuple) and value not in known):
        possible = known if isinstance(known, str) else " or ".join(known)
        raise TrainError(f"{axis}={value} is not possible", hint=f"{axis} is {possible}")


def refuse_text(text: str, reads: str, texts: Sequence[str]) -> None:
    """Raises `TrainError` for a text that the data set does not know, or of an arm that reads none."""
    if texts and text not in texts:
        raise TrainError(f"no text called {text!r}", hint=f"there is {', '.join(texts)}")
    if reads in ("image", ZERO_SHOT):
        raise TrainError(f"the {reads} arm reads no text", hint=f"use fusion or image+{text}")


def refuse_unfit(arm: Arm) -> None:
    """Raises `TrainError` for changes that the arm cannot take."""
    changed = [axis for axis, _ in arm.changes]
    if not arm.is_zero_shot:
        refuse_untrainable(arm, changed)
    elif unfit := [axis for axis in changed if axis not in OF_ZERO_SHOT]:
        hint = f"change {', '.join(OF_ZERO_SHOT)}"
        raise TrainError(f"{arm.name}: nothing is trained, so there is no {unfit[0]}", hint=hint)


def refuse_untrainable(arm: Arm, changed: Sequence[str]) -> None:
    """As `refuse_unfit`, for an arm that is trained. changed: its axes."""
    if "prompts" in changed:
        raise TrainError(f"{arm.name}: a trained arm reads no prompts", hint="use zero-shot[prompts=...]")
    heads = HEADS_OF[arm.reads]
    if (head := arm.get("head") or "mlp") not in heads:
        raise TrainError(f"{arm.name}: no head {head} reads {arm.reads} alone", hint=f"choose {', '.join(heads)}")
    if arm.get("missing") and arm.reads != "fusion":
        raise TrainError(f"{arm.name}: without it nothing is left", hint="use fusion[missing=...]")
    if arm.reads == "text" and arm.get("views") != "all":
        raise TrainError(f"{arm.name}: a text has no views", hint="use image or fusion")
    if arm.reads == "image" and arm.get(MARKS) != KEEP:
        raise TrainError(f"{arm.name}: the image arm reads no text", hint="use text or fusion")
    if arm.pools_films and arm.get("pooling"):
        raise TrainError(f"{arm.name}: attention reads the first pooling of a store", hint="leave pooling out")


def refuse_together(arm: Arm) -> None:
    """Raises `TrainError` for changes that exclude each other."""
    if arm.fraction < 1 and arm.shots:
        raise TrainError(f"{arm.name}: a share of the patients and a number of rows", hint="give one of the two")
    if arm.reads == "text" and arm.get("prior"):
        raise TrainError(f"{arm.name}: a text has no film before it", hint="use image or fusion")
    if arm.pools_films and arm.get("prior"):
        raise TrainError(f"{arm.name}: attention reads the films of one study", hint="use another head")


def fraction_of(value: str) -> str:
    """A share as names write it. Raises `TrainError` unless it is above 0 and up to 1."""
    try:
        share = float(value)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise TrainError(f"train-fraction={value} is no share", hint=f"it is {AXES['train-fraction']}, such as 0.25")
    return f"{share:g}"


def shots_of(value: str) -> str:
    """A number of rows as names write it. Raises `TrainError` unless it is a whole number of 1 or more."""
    if not value.isascii() or not value.isdigit() or not int(value):
        raise TrainError(f"shots={value} is no number of rows", hint="it is 1 or more of each class, such as 16")
    return str(int(value))


def axes_in_words() -> str:
    """The axes with their values, in words."""
    return "; ".join(f"{axis}={'|'.join(v) if isinstance(v, tuple) else f'({v})'}" for axis, v in AXES.items())
