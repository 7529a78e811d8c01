# pyright: basic
from __future__ import annotations

from typing import Any

import pytest

from local.embedded import envoy
from local.embedded.manifests import InferenceService
from local.embedded.prometheus import configuration, services_recorded
from models.errors import RuntimeTargetError
from models.names import DECLARED_PERCENT


def route(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "fraud", "namespace": "models"}, "spec": {"rules": list(rules)}}


def backend(name: str, weight: int = 1) -> dict[str, Any]:
    return {"name": name, "port": 80, "weight": weight}


PINNED = {
    "matches": [
        {
            "path": {"type": "PathPrefix", "value": "/v2/models/fraud"},
            "headers": [{"type": "Exact", "name": "x-model-version", "value": "1.5.0"}],
        }
    ],
    "backendRefs": [backend("b-predictor")],
}
SPLIT = {
    "matches": [
        {"path": {"type": "PathPrefix", "value": "/v2/models/fraud"}},
        {"path": {"type": "Exact", "value": "/v1/models/fraud:predict"}},
    ],
    "backendRefs": [backend("a-predictor", 95), backend("b-predictor", 5)],
    "timeouts": {"request": "10s"},
}


def routes_of(*rules: dict[str, Any]) -> list[dict[str, Any]]:
    (resource,) = envoy.route_configuration([route(*rules)])["resources"]
    (host,) = resource["virtual_hosts"]
    return host["routes"]


def test_the_most_specific_match_comes_first():
    matches = [it["match"] for it in routes_of(SPLIT, PINNED)]
    assert matches[0] == {"path": "/v1/models/fraud:predict"}
    assert matches[1]["headers"][0]["string_match"] == {"exact": "1.5.0"}
    assert matches[2] == {"path_separated_prefix": "/v2/models/fraud"}


def test_weights_timeouts_and_retries():
    action = routes_of(SPLIT)[0]["route"]
    assert [(it["name"], it["weight"]) for it in action["weighted_clusters"]["clusters"]] == [
        ("service/models/a-predictor/80/http", 95),
        ("service/models/b-predictor/80/http", 5),
    ]
    assert action["timeout"] == "10s"
    assert "5xx" not in action["retry_policy"]["retry_on"]  # a model's error is its own


def test_pinned_and_mirrored_traffic_is_not_counted_as_the_versions_own():
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": backend("c"), "percent": 30}}
    shadowed = {**SPLIT, "filters": [mirror]}
    names = {it["name"] for it in envoy.clusters([route(shadowed, PINNED)], {})["resources"]}
    assert names == {
        "service/models/a-predictor/80/http",
        "service/models/b-predictor/80/http",
        "pin/models/b-predictor/80/http",
        "mirror/models/c/80/http",
    }
    (policy,) = routes_of(shadowed)[0]["route"]["request_mirror_policies"]
    assert policy["runtime_fraction"]["default_value"]["numerator"] == 300_000


def test_only_unpinned_backends_with_a_share_must_be_ready():
    gone = {**SPLIT, "backendRefs": [backend("a-predictor", 100), backend("b-predictor", 0)]}
    assert envoy.backends(route(PINNED, gone)) == {"a-predictor"}


def test_a_rule_without_matches_takes_every_request():
    everything = {key: value for key, value in SPLIT.items() if key != "matches"}
    (entry,) = routes_of(everything)
    assert entry["match"] == {"prefix": "/"}
    assert envoy.backends(route(everything)) == {"a-predictor", "b-predictor"}


def test_the_same_routes_have_the_same_version_and_others_another():
    versions = {
        envoy.route_configuration([route(*rules)])["version_info"]
        for rules in ([SPLIT], [SPLIT], [SPLIT, PINNED])
    }
    assert len(versions) == 2


@pytest.mark.parametrize(
    "rule",
    [
        {**SPLIT, "filters": [{"type": "URLRewrite"}]},
        {**SPLIT, "matches": [{"path": {"type": "RegularExpression", "value": ".*"}}]},
    ],
)
def test_what_is_not_supported_is_said(rule):
    with pytest.raises(RuntimeTargetError, match="is not supported here"):
        envoy.route_configuration([route(rule)])


def test_pods_are_scraped_with_their_labels():
    pod = InferenceService("fraud-v1", "models", "fraud", "1.0.0", "s3://x/y", (), 1)
    monitor = {
        "metadata": {"name": "fraud", "namespace": "models"},
        "spec": {
            "selector": {"matchLabels": {"model-service": "fraud"}},
            "podTargetLabels": ["model-service", "model-version"],
            "podMetricsEndpoints": [{"port": "http", "path": "/metrics"}],
        },
    }
    jobs = configuration([monitor], [(pod, 8081)], 9901, [])["scrape_configs"]
    assert jobs[1]["static_configs"][0]["targets"] == ["127.0.0.1:8081"]
    assert jobs[1]["static_configs"][0]["labels"]["model_version"] == "1.0.0"
    other = {
        **monitor,
        "spec": {**monitor["spec"], "selector": {"matchLabels": {"model-service": "churn"}}},
    }
    assert (
        configuration([other], [(pod, 8081)], 9901, [])["scrape_configs"][1]["static_configs"] == []
    )


def test_recorded_services_are_found():
    rules = [
        {"record": DECLARED_PERCENT, "labels": {"service": "fraud"}},
        {"record": "another", "labels": {"service": "churn"}},
        {"alert": "y"},
    ]
    assert services_recorded({"spec": {"groups": [{"rules": rules}]}}) == {"fraud"}
