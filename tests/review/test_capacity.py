# pyright: basic
"""What a preview changes of pods, GPUs and cost, derived by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from review.capacity import Capacity, capacity_of
from tests.review.previews import VERSION, made, step, version
from tests.review.test_cost import (
    EKS,
    KARPENTER,
    MONTH,
    OWN,
    PRICES,
    STABLE,
    canary,
    service,
    stack,
)

POOL = "modelramp:index:GpuNodePool"


def gpu_version(number: str, pods: int, pool: str = "p") -> dict[str, Any]:
    wanted = {"nvidia.com/gpu": "1", "cpu": "1", "memory": "1Gi"}
    return version(
        "chat",
        number,
        pods,
        nodeSelector={"modelramp.dev/gpu-pool": f"modelramp-m-{pool}"},
        model={"resources": {"requests": wanted}},
    )


def of(tmp_path: Path, pool: str, services: str, *steps: dict[str, Any]) -> Capacity:
    return capacity_of(made(tmp_path, *steps).steps, stack(pool, services), PRICES)


def test_a_candidate_takes_gpus_and_money(tmp_path: Path):
    # After: stable 2, the candidate 1 of 2 for its next step.
    new = step("create", VERSION, "chat-2.0.0", None, gpu_version("2.0.0", 1))
    (change,) = of(tmp_path, EKS, service(canary(10)), new).pools
    assert change.before
    assert (change.before.gpus, change.after.gpus) == (2, 3)
    assert change.cost.expected == pytest.approx(1.2 * MONTH)
    # The cap and so the most are as before.
    assert (change.before.cap, change.after.cap) == (6, 6)
    assert change.cost.most == 0


def test_pods_on_nodes_that_are_there_cost_nothing_more(tmp_path: Path):
    floor = EKS.replace("min: 1", "min: 4")
    new = step("create", VERSION, "chat-2.0.0", None, gpu_version("2.0.0", 1))
    (change,) = of(tmp_path, floor, service(canary(10)), new).pools
    assert (change.after.gpus, change.cost.expected) == (3, 0)


def test_a_version_that_grows_and_one_that_leaves(tmp_path: Path):
    # Stable grows from 1 to 2, the candidate's 2 pods leave.
    steps = (
        step("update", VERSION, "chat-1.0.0", gpu_version("1.0.0", 1), gpu_version("1.0.0", 2)),
        step("delete", VERSION, "chat-2.0.0", gpu_version("2.0.0", 2)),
    )
    (change,) = of(tmp_path, EKS, service(STABLE), *steps).pools
    assert change.before
    assert (change.before.gpus, change.after.gpus) == (3, 2)
    assert change.cost.expected == pytest.approx(-1.2 * MONTH)


def test_a_service_that_leaves_gives_its_gpus_back(tmp_path: Path):
    gone = step("delete", VERSION, "chat-1.0.0", gpu_version("1.0.0", 2))
    (change,) = of(tmp_path, KARPENTER % "", "", gone).pools
    assert change.before
    assert (change.before.gpus, change.after.gpus) == (2, 0)
    assert change.cost.expected == pytest.approx(-2 * 1.2 * MONTH)


def test_a_higher_cap_and_other_types(tmp_path: Path):
    old = {
        "maxGpus": 4.0,
        "eks": {
            "instanceTypes": ["g5.xlarge"],
            "gpusPerNode": 1.0,
            "minNodes": 0.0,
            "spot": False,
            "onDemandBase": 0.0,
        },
    }
    (change,) = of(tmp_path, EKS, "", step("update", POOL, "p", old, {"maxGpus": 6})).pools
    assert change.before
    assert (change.before.cap, change.after.cap) == (4, 6)
    # From no node to one that is always there.
    assert change.cost.expected == pytest.approx(1.2 * MONTH)
    assert change.cost.most == pytest.approx((6 * 1.6 - 4 * 1.2) * MONTH)


def test_a_new_pool_and_one_that_leaves(tmp_path: Path):
    made_and_gone = (
        step("create", POOL, "p", None, {"maxGpus": 6}),
        step("delete", POOL, "old", {"maxGpus": 2}),
    )
    found = of(tmp_path, EKS, "", *made_and_gone)
    (change,) = found.pools
    assert change.before is None
    assert change.cost.expected == pytest.approx(1.2 * MONTH)
    assert found.gone == ("old",)


def test_a_pool_of_karpenter_before(tmp_path: Path):
    old = {
        "maxGpus": 4,
        "karpenter": {"instanceFamilies": ["g5"], "capacityTypes": ["on-demand"]},
    }
    (change,) = of(tmp_path, KARPENTER % "", "", step("update", POOL, "p", old, {})).pools
    assert change.cost.most == pytest.approx((8 * 1.6 - 4 * 1.6) * MONTH)
    assert change.cost.expected == 0


def test_nodes_that_are_there_already_are_told_by_the_service(tmp_path: Path):
    own = gpu_version("2.0.0", 1)
    own["spec"]["predictor"]["nodeSelector"] = {"gpu": "a"}
    new = step("create", VERSION, "chat-2.0.0", None, own)
    (change,) = of(tmp_path, OWN, service(canary(10)), new).pools
    assert (change.after.gpus, change.cost.expected) == (3, None)
    assert change.after.cost.why


def test_pods_without_gpus_are_counted_and_have_no_price(tmp_path: Path):
    cpu = service(STABLE).replace("gpu: {pool: p}", "memory: 1Gi")
    steps = (
        step(
            "update",
            VERSION,
            "chat-1.0.0",
            version("chat", "1.0.0", 1),
            version("chat", "1.0.0", 2),
        ),
        step("update", VERSION, "o-1", version("o", "1", 3), version("o", "1", 3)),
    )
    found = of(tmp_path, EKS, cpu, *steps)
    assert (found.pools, found.pods) == ((), {"chat": (1, 2)})


def test_what_changes_nothing_is_not_shown(tmp_path: Path):
    same = step("update", VERSION, "chat-1.0.0", gpu_version("1.0.0", 2), gpu_version("1.0.0", 2))
    found = of(tmp_path, EKS, service(STABLE), same)
    assert (found.pools, found.pods, found.gone) == ((), {}, ())
