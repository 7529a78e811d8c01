"""The judge: from counts per interval to a verdict. Pure functions, no stored state."""

from rollout.judge.rules import judge
from rollout.judge.series import Arm, Categories, Counts, Observations, Values
from rollout.judge.terms import Terms
from rollout.judge.verdict import Kind, MetricVerdict, SplitVerdict, Verdict

__all__ = [
    "Arm",
    "Categories",
    "Counts",
    "Kind",
    "MetricVerdict",
    "Observations",
    "SplitVerdict",
    "Terms",
    "Values",
    "Verdict",
    "judge",
]
