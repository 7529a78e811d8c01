"""The decision rules of others, to compare the judge with: on simulated and on recorded counts.

Own implementations after the published sources, which each module names. All read counts per
interval, of one rollout or many at once, and return a `Reaction`.
"""

from rollout.peers.argo import argo
from rollout.peers.flagger import flagger
from rollout.peers.growthbook import growthbook
from rollout.peers.kayenta import kayenta
from rollout.peers.naive import naive_z
from rollout.peers.reaction import Reaction
from rollout.peers.wald import wald, wald_two_arms

__all__ = [
    "Reaction",
    "argo",
    "flagger",
    "growthbook",
    "kayenta",
    "naive_z",
    "wald",
    "wald_two_arms",
]
