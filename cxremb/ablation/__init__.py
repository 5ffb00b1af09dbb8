"""What each modality adds. Read downward: arms, vectors, compare, fusing, controls, table, run."""

from cxremb.ablation.arms import parse_arms, split_arms
from cxremb.ablation.compare import ArmResult, compare
from cxremb.ablation.leaderboard import compare_encoders
from cxremb.ablation.run import ARMS, ablate
from cxremb.ablation.table import Ablation
from cxremb.ablation.trial import REFERENCE, Trial

__all__ = [
    "ARMS",
    "REFERENCE",
    "Ablation",
    "ArmResult",
    "Trial",
    "ablate",
    "compare",
    "compare_encoders",
    "parse_arms",
    "split_arms",
]
