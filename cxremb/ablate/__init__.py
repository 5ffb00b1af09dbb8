"""What each modality adds. Read downward: arms, vectors, fit, pools, compare, fusing, controls, table, run."""

from cxremb.ablate.arms import parse_arms, read_grid, split_arms
from cxremb.ablate.compare import ArmResult, compare
from cxremb.ablate.run import ARMS, ablate
from cxremb.ablate.table import Ablation
from cxremb.ablate.trial import REFERENCE, Trial

__all__ = [
    "ARMS",
    "REFERENCE",
    "Ablation",
    "ArmResult",
    "Trial",
    "ablate",
    "compare",
    "parse_arms",
    "read_grid",
    "split_arms",
]
