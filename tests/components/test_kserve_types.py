# pyright: basic
"""Our InferenceServices, field by field, against the types of KServe's own SDK."""

from __future__ import annotations

import re
from typing import Any

import kubernetes.client
import pytest
from kserve import models as kserve_models

from components.model_service import ModelService
from tests.components.conftest import record
from tests.components.test_model_service import RUNTIMES, STRATEGIES, args_of, stack_with


def unknown(value: Any, kind: str, path: str = "") -> list[str]:
    """Returns the fields that a type of KServe or Kubernetes does not know."""
    if nested := re.fullmatch(r"(?:list\[|dict\(str, |dict\[str, )(.+)[\])]", kind):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [it for key, one in items for it in unknown(one, nested[1], f"{path}.{key}")]
    known = getattr(kserve_models, kind, None) or getattr(kubernetes.client, kind, None)
    if known is None or not isinstance(value, dict):
        return []
    fields = {json: known.openapi_types[name] for name, json in known.attribute_map.items()}
    found = [f"{path}.{key}" for key in value if key not in fields]
    for key in value.keys() & fields.keys():
        found += unknown(value[key], fields[key], f"{path}.{key}")
    return found


@pytest.mark.parametrize("case", RUNTIMES)
def test_kserves_own_types_know_every_field(case):
    how, percent = STRATEGIES["canary"]
    stack = stack_with(
        runtime=RUNTIMES[case],
        strategy=how,
        percent=percent,
        more="\n      predictionLog: {url: 'http://log.models'}",
    )
    made = record(lambda: ModelService("fraud", args_of(stack)))
    service = made["fraud-1.5.0"]["inputs"]
    assert not unknown(service, "V1beta1InferenceService")
    # It can find something.
    service["spec"]["predictor"]["topologySpreadConstraints"][0]["minSkew"] = 1
    assert unknown(service, "V1beta1InferenceService") == [
        ".spec.predictor.topologySpreadConstraints.0.minSkew"
    ]
