"""The judge: from counts per interval to a verdict. Pure functions, no stored state."""

from rollout.judge.series import Arm, Counts, Observations
from rollout.judge.verdict import MetricVerdict, SplitVerdict, Verdict, judge

__all__ = [
    "Arm",
    "Counts",
    "MetricVerdict",
    "Observations",
    "SplitVerdict",
    "Verdict",
    "judge",
]
