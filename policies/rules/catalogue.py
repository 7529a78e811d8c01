"""All policies of the pack, topic by topic."""

from __future__ import annotations

from pulumi_policy import Policy

from rules import alerts, artifacts, cost, governance, gpus, rollouts, storage, traffic, workloads

POLICIES: list[Policy] = [
    *traffic.POLICIES,
    *rollouts.POLICIES,
    *governance.POLICIES,
    *artifacts.POLICIES,
    *workloads.POLICIES,
    *gpus.POLICIES,
    *alerts.POLICIES,
    *storage.POLICIES,
    *cost.POLICIES,
]
