"""The 14 labels of CheXpert, which MIMIC-CXR and BRAX have too: 1, 0, -1 (uncertain) or blank (not mentioned)."""

from collections.abc import Mapping

from cxremb.errors import DataError
from cxremb.store.readings import NO, UNSURE, YES, in_words
from cxremb.tablefile import TableFile
from cxremb.types import LabelSet, Policy

NORMAL, DEVICES = "No Finding", "Support Devices"
LABELS = (  # in the order of CheXpert's tables
    NORMAL,
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    DEVICES,
)
CODES = {"1": YES, "1.0": YES, "0": NO, "0.0": NO, "-1": UNSURE, "-1.0": UNSURE}
NORMAL_ABNORMAL = "normal_abnormal"


def row_readings(table: TableFile, line: int, row: Mapping[str, str]) -> dict[str, float]:
    """Label -> 1, 0 or -1 of a row; blank is left out. Raises `DataError` for any other cell."""
    found = {}
    for label in LABELS:
        if cell := row[label]:
            if cell not in CODES:
                raise DataError(
                    f"{table.path}: {table.place(line)}: {label} is {cell!r}; it may be 1, 0, -1 or blank",
                    hint=table.remedy,
                )
            found[label] = CODES[cell]
    return found


def read_code(value: object) -> float:
    """1, 0 or -1, of a number or its text. Raises `ValueError` for anything else."""
    if (code := CODES.get(str(value))) is None:
        raise ValueError(f"{value!r} is none of 1, 0 and -1")
    return code


def abnormal_values(values: Mapping[str, float]) -> dict[str, float]:
    """1 if any finding is, support devices aside; else 0 if No Finding is 1; else nothing is known."""
    if any(value for label, value in values.items() if label not in (NORMAL, DEVICES)):
        return {"abnormal": 1.0}
    return {"abnormal": 0.0} if values.get(NORMAL) else {}


def abnormal_set(who: str, policy: Policy) -> LabelSet:
    """The binary set of `abnormal_values`. who: read the labels."""
    means = f"1 if {who} read any finding but support devices, 0 if it read No Finding, else missing"
    return LabelSet(NORMAL_ABNORMAL, "binary", means, ("abnormal",), in_words(policy, several=False))
