"""What must stand beside the figures of a judgement: calibration, thresholds, what is compared, in words."""

from collections.abc import Mapping

from cxremb.errors import count_of
from cxremb.inference.distance import ALARMS, NEIGHBOUR, Space
from cxremb.inference.scales import RULE, Members, Scales

NO_SPACE = (
    "unusual and nearest are empty: a network from pixels has no stored vectors to compare; a head on vectors has "
    "(`cxremb train image`)"
)
FEW = "no limit of what is unusual: too few training or validation rows have a vector"


def calibration_in_words(scales: Scales) -> str:
    """Whether probabilities are calibrated, and on what."""
    if not scales.calibrations:
        return "probabilities as the models give them"  # the reason is a note
    spread = sorted(one.temperature for one in scales.calibrations.values())
    own = " to ".join(dict.fromkeys(f"{one:.2f}" for one in (spread[0], spread[-1])))
    return (
        f"probabilities calibrated: the logits of each of {count_of(len(spread), 'model')} divided by a temperature "
        f"({own}) that was fitted on its validation rows"
    )


def threshold_in_words(scales: Scales) -> str:
    """How the thresholds came about, on which rows, with which prevalence."""
    if not scales.chosen_on:
        return "no threshold: of several classes the likeliest is called" if not scales.reasons else "no threshold"
    on = "; ".join(
        f"{label}: {rows:,} rows, prevalence {scales.prevalence[label]:.2f}" for label, rows in scales.chosen_on.items()
    )
    return f"threshold: {RULE.title()}'s, chosen for each model on its validation rows ({on}); of several their mean"


def space_in_words(spaces: Mapping[str, Space], *, from_pixels: bool) -> str:
    """What `unusual` compares, and how often it is wrong. from_pixels: of a network, which compares nothing."""
    if from_pixels:
        return NO_SPACE
    lines = []
    for block, space in spaces.items():
        if space.limits:
            beyond, looked_at = (sum(one[place] for one in space.alarms.values()) for place in (0, 1))
            few = f" (too few patients for {ALARMS:.0%})" if space.expected > ALARMS else ""
            lines.append(
                f"unusual: further (1 - cosine) from its {NEIGHBOUR}th nearest training {block} vector than all but "
                f"{space.expected:.0%} of ordinary ones{few}, by validation rows; of the {looked_at:,} test ones, "
                f"which are ordinary, it calls {beyond:,} unusual: false alarms"
            )
    return "; ".join(lines) or FEW


def notes_of(scales: Scales, members: Members, spaces: Mapping[str, Space]) -> list[str]:
    """What could not be known."""
    lacking = [FEW] if any(not space.limits for space in spaces.values()) else []
    return [*scales.reasons, *([members.reason] if members.reason else []), *lacking]
