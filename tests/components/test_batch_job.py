# pyright: basic
from __future__ import annotations

from typing import Any

import pulumi
import pytest
from pulumi.errors import InputPropertiesError

from components.batch_job import BatchJob
from components.from_stack.batch import batch_job_args
from models.stack import parse_stack
from tests.stacks import LOCAL

ONCE = "{input: s3://models/in, output: s3://models/out, format: csv, parallelism: 3, timeout: 1h}"
NIGHTLY = (
    "{input: s3://models/in, output: s3://models/out, schedule: '0 2 * * *', zone: Europe/Berlin,"
    " version: candidate, retries: 0}"
)
STORE = (
    "modelramp:artifacts: {provider: s3-compatible, bucket: models, endpoint: http://store:7070,"
    " existingSecret: keys, prefixes: {fraud: a}}"
)
POOLS = "modelramp:gpuPools: {rack: {provider: existing, nodeSelector: {gpu: a100}, maxGpus: 8}}"


def stack_with(batch: str, runtime: str = "{kind: mlflow}"):
    return parse_stack(
        LOCAL.replace("{target: embedded,", "{target: cluster, prometheus: http://prometheus:9090,")
        .replace("risk: high", f"risk: high\n      batch: {{scores: {batch}}}")
        .replace("runtime: {kind: mlflow}", f"runtime: {runtime}", 1)
        .replace("config:", f"config:\n  {STORE}\n  {POOLS}")
        .replace("s3://m/a", "s3://models/a/4")
        .replace("s3://m/b", "s3://models/a/5"),
        "x",
    )


def args_of(stack, **changes) -> Any:
    fraud = stack.services["fraud"].model_copy(update=changes)
    return batch_job_args(
        "fraud",
        fraud,
        fraud.batch["scores"],
        stack,
        priority_classes={"rack": "rack"},
        service_account="fraud-batch",
        secret=pulumi.Output.from_input("keys"),
    )


@pytest.mark.parametrize(
    ("case", "batch", "runtime"),
    [
        ("once", ONCE, "{kind: mlflow, cpuLimit: '2'}"),
        ("nightly", NIGHTLY, "{kind: mlflow}"),
        ("gpu", ONCE, "{kind: mlflow, gpu: {pool: rack}}"),
    ],
)
def test_what_is_registered(case, batch, runtime, registered, golden):
    stack = stack_with(batch, runtime)
    golden(f"batch-{case}", registered(lambda: BatchJob("fraud-scores", args_of(stack))))


def test_another_version_is_another_job(registered):
    stack = stack_with(ONCE)
    names = {
        registered(lambda it=it: BatchJob("scores", args_of(stack) | it))["scores-run"]["inputs"][
            "metadata"
        ]["name"]
        for it in ({}, {"digest": "sha256:2"}, {"source": "s3://m/other"}, {"retries": 9})
    }
    assert len(names) == 3  # how often it is tried makes no other run
    assert all(len(name) == len("scores-12345678") for name in names)


def test_without_a_candidate_there_is_nothing_to_predict_with(registered):
    stack = stack_with(NIGHTLY)
    rollout = stack.services["fraud"].rollout
    assert rollout is not None
    alone = rollout.model_copy(update={"candidate": None, "moves": ()})
    asked: list[Any] = []
    registered(lambda: asked.extend([args_of(stack), args_of(stack, rollout=alone)]))
    assert asked[0]["version"] == "1.5.0"
    assert asked[1] is None


def test_all_wrong_arguments_are_named_before_anything_is_made(registered):
    stack = stack_with(ONCE)
    wrong = {"format": "xml", "source": "/data", "parallelism": 0}
    with pytest.raises(InputPropertiesError) as caught:
        registered(lambda: BatchJob("scores" * 10, args_of(stack) | wrong))
    assert caught.value.errors is not None
    assert {it["property_path"] for it in caught.value.errors} == {
        "name",
        "format",
        "source",
        "parallelism",
    }
