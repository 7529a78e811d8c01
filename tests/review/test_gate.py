# pyright: basic
"""What may be deleted and replaced, and what not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError
from review.gate import PROTECTED, allowance, findings
from review.preview import Preview
from tests.review.previews import HTTP_ROUTE, VERSION, facts, made, recorded, route, step, version

NOW = datetime(2026, 11, 28, tzinfo=UTC)
A, B, C = "1.4.0", "1.5.0", "1.6.0"


def verdicts(preview: Preview, *allowed: str) -> dict[str, str]:
    found = findings(preview, [allowance(it) for it in allowed], NOW)
    return {it.step.name: it.verdict for it in found}


def why(preview: Preview, name: str) -> str:
    return next(it.why for it in findings(preview, [], NOW) if it.step.name == name)


@pytest.mark.parametrize("name", ["create", "update", "revert", "promoted", "same"])
def test_what_deletes_nothing_passes(name: str):
    assert verdicts(recorded(name)) == {}


def test_a_dropped_candidate_and_a_previous_version_after_its_time_pass():
    assert verdicts(recorded("dropped")) == {"fraud-1.5.0": "implied"}
    assert verdicts(recorded("previous-leaves")) == {"fraud-1.4.0": "implied"}


def test_a_previous_version_before_its_time_is_refused():
    early = recorded("previous-early")
    assert verdicts(early) == {"fraud-1.4.0": "refused"}
    assert why(early, "fraud-1.4.0") == "previous 1.4.0 is kept until 2027-11-24 10:00 UTC"


def test_a_service_that_leaves_is_refused_with_all_that_people_depend_on():
    assert verdicts(recorded("delete")) == dict.fromkeys(
        (
            *("fraud-1.4.0", "fraud-1.5.0", "fraud-route", "fraud-known", "fraud-declared"),
            *("fraud-alerts", "mlflow-runtime"),
        ),
        "refused",
    )
    assert why(recorded("delete"), "fraud-1.5.0") == "it has 5% of fraud's traffic"


def test_replacements_are_refused():
    assert set(verdicts(recorded("replace")).values()) == {"refused"}
    assert len(verdicts(recorded("replace"))) == 7


def test_what_is_allowed_with_a_reason_passes_and_the_rest_does_not():
    found = verdicts(recorded("delete"), "fraud-*=fraud is retired, see #12")
    assert found.pop("mlflow-runtime") == "refused"
    assert set(found.values()) == {"allowed"}
    (first, *_) = findings(recorded("delete"), [allowance("*=all = of it")], NOW)
    assert first.why == "all = of it"
    urn = first.step.urn
    assert verdicts(recorded("delete"), f"{urn}=this one")[first.step.name] == "allowed"


@pytest.mark.parametrize("text", ["fraud-*", "fraud-*=", "=because", "fraud= "])
def test_an_allowance_without_a_reason_is_none(text: str):
    with pytest.raises(ConfigError, match="is no NAME=REASON"):
        allowance(text)


def test_refused_comes_first():
    order = [it.verdict for it in findings(recorded("delete"), [allowance("fraud-*=x")], NOW)]
    assert order == ["refused", *["allowed"] * 6]


def leaving(tmp_path: Path, gone: str, old: dict[str, Any] | None, new: Any) -> Preview:
    """A version is deleted while its route changes from `old` to `new`."""
    steps = [step("delete", VERSION, f"s-{gone}", version("s", gone))]
    if old:
        steps.append(step("update", HTTP_ROUTE, "s-route", old, new))
    return made(tmp_path, *steps)


def test_a_version_with_traffic_is_refused_whatever_its_route_says_of_itself(tmp_path: Path):
    lying = route("s", {A: 90, B: 10}, facts(A, B, 0))
    found = leaving(tmp_path, B, lying, route("s", {A: 100}, facts(A)))
    assert why(found, f"s-{B}") == "a route leads to it"


def test_a_version_that_still_serves_is_refused(tmp_path: Path):
    old = route("s", {A: 100, B: 0}, facts(A, B, 0, previous=C))
    for gone in (B, C):
        found = leaving(tmp_path, gone, old, old)
        assert verdicts(found) == {f"s-{gone}": "implied" if gone == B else "refused"}


def test_a_version_whose_route_nobody_shows_is_refused(tmp_path: Path):
    found = leaving(tmp_path, B, None, None)
    assert "--show-sames" in why(found, f"s-{B}")


def test_a_candidate_that_never_got_ready_may_go(tmp_path: Path):
    # `pulumi up` failed before the route: it stays as it is, and --show-sames shows it.
    stays = route("s", {A: 100}, facts(A))
    found = made(
        tmp_path,
        step("delete", VERSION, f"s-{B}", version("s", B)),
        step("same", HTTP_ROUTE, "s-route", stays, stays),
    )
    assert verdicts(found) == {f"s-{B}": "implied"}
    assert why(found, f"s-{B}") == f"{B} had no traffic"


def test_a_previous_version_may_give_way_to_the_next(tmp_path: Path):
    old = route("s", {B: 0, C: 100}, facts(B, C, 100, previous=A))
    old["metadata"]["annotations"]["modelramp.dev/previous-until"] = "2027-01-01T00:00:00+00:00"
    new = route("s", {C: 100}, facts(C, previous=B))
    assert verdicts(leaving(tmp_path, A, old, new)) == {f"s-{A}": "implied"}


def test_a_service_that_leaves_takes_versions_without_traffic_along_only_if_allowed(tmp_path):
    old = route("s", {A: 100, B: 0}, facts(A, B, 0))
    found = made(
        tmp_path,
        step("delete", VERSION, f"s-{B}", version("s", B)),
        step("delete", HTTP_ROUTE, "s-route", old),
    )
    assert verdicts(found) == {f"s-{B}": "refused", "s-route": "refused"}


def test_where_kserve_owns_the_split_its_one_service_is_never_implied(tmp_path: Path):
    old = route("s", {}, facts(A, B, 10), "InferenceService")
    old["metadata"]["labels"] = {"model-service": "s"}
    found = made(tmp_path, step("replace", VERSION, "s-service", old, old))
    assert verdicts(found) == {"s-service": "refused"}
    assert why(found, "s-service") == "it serves all versions of s"


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("aws:s3/bucket:Bucket", "refused"),
        ("aws:s3/bucketV2:BucketV2", "refused"),
        ("aws:kms/key:Key", "refused"),
        ("aws:eks/nodeGroup:NodeGroup", "refused"),
        ("aws-native:s3:Bucket", "refused"),
        ("kubernetes:karpenter.sh/v1:NodePool", "refused"),
        ("kubernetes:core/v1:Namespace", "refused"),
        ("kubernetes:gateway.networking.k8s.io/v1:GRPCRoute", "refused"),
        ("kubernetes:serving.kserve.io/v1alpha1:ClusterServingRuntime", "refused"),
        ("kubernetes:monitoring.coreos.com/v1:PrometheusRule", "refused"),
        ("kubernetes:serving.kserve.io/v1beta1:InferenceService", "refused"),
        ("kubernetes:policy/v1:PodDisruptionBudget", None),
        ("aws:s3/bucketObject:BucketObject", None),
        ("modelramp:index:GpuNodePool", None),
    ],
)
@pytest.mark.parametrize("op", ["delete", "replace", "import-replacement", "delete-replaced"])
def test_each_protected_kind(tmp_path: Path, kind: str, verdict: str | None, op: str):
    new = None if op == "delete" else {}
    found = verdicts(made(tmp_path, step(op, kind, "it", {}, new)))
    assert found == ({} if verdict is None else {"it": verdict})


def test_a_resource_that_is_protected_no_more_is_refused(tmp_path: Path):
    bucket = step("same", "aws:s3/bucket:Bucket", "models", {}, {})
    bucket["oldState"]["protect"] = True
    (found,) = findings(made(tmp_path, bucket), [], NOW)
    assert (found.verdict, found.what) == ("refused", "no longer protected from deletion")


def test_what_pulumi_forgets_is_said_to_stay(tmp_path: Path):
    kept = step("delete", "aws:s3/bucket:Bucket", "models", {}, retainOnDelete=True)
    (found,) = findings(made(tmp_path, kept), [], NOW)
    assert (found.verdict, found.what) == ("refused", "left behind, no longer Pulumi's")


def test_every_kind_says_why():
    assert all(PROTECTED.values())
