"""Right or wrong, study by study: how often McNemar's test finds a difference between two equally good models.

120 patients with 1, 4 or 8 studies each, whose scores share 70% of their variance within a patient. The test takes
studies as independent, or exchanges the studies of a patient together.
"""

from typing import Any

import numpy as np

from coverage_steps.simulated import sigmoid
from cxremb.evaluation.significance import mcnemar

PATIENTS, STUDIES = 120, (1, 4, 8)
PREVALENCE, SHARED, APART = 0.4, 0.7, 1.2


def run(quick: bool) -> dict[str, Any]:
    """What is written under "units"; a minute. quick: a tenth of the data sets."""
    data_sets = 200 if quick else 2000
    about = {"data_sets": data_sets, "patients": PATIENTS, "shared_variance": SHARED}
    return {**about, "rejection": {str(many): rejected(many, data_sets) for many in STUDIES}}


def rejected(many: int, data_sets: int) -> dict[str, float]:
    """How often p < .05, by what is independent."""
    counts = {"studies": 0, "patients": 0}
    for seed in range(data_sets):
        rng = np.random.default_rng([many, seed])
        patients = np.repeat(np.arange(PATIENTS), many)
        y = (rng.random(PATIENTS) < PREVALENCE).astype(np.float64)[patients]
        shared, own = rng.standard_normal((2, PATIENTS))[:, patients], rng.standard_normal((2, len(y)))
        a, b = sigmoid(APART * (y - 0.5) + np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own)
        studies = np.arange(len(y))
        counts["studies"] += (mcnemar(y, a, b, studies=studies).p or 0.0) < 0.05
        counts["patients"] += (mcnemar(y, a, b, studies=studies, patients=patients).p or 0.0) < 0.05
    return {name: count / data_sets for name, count in counts.items()}


def table(result: dict[str, Any]) -> list[str]:
    """The lines of the table in docs/evaluation.md."""
    lines = ["| studies a patient | studies independent | exchanged by patient |", "| --- | --- | --- |"]
    return lines + [
        f"| {many} | {row['studies']:.1%} | {row['patients']:.1%} |" for many, row in result["rejection"].items()
    ]
