# pyright: basic
"""The evaluator of policies that other tests rely on, on cases that AWS's documentation has."""

from __future__ import annotations

from typing import Any

import pytest

from tests.components.iam_policies import Policy, Request, allowed

ASK = Request("arn:aws:iam::1:role/a", "s3:GetObject", "arn:aws:s3:::b/c/d", {"Key": "v"})


def policy(*statements: dict[str, Any]) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(**changed: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **changed}


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([], False),
        ([allow()], True),
        ([allow(), allow(Effect="Deny")], False),
        ([allow(Action="s3:get*")], True),
        ([allow(Action="s3:Get")], False),
        ([allow(Action=["s3:PutObject", "s3:*"])], True),
        ([allow(Resource="arn:aws:s3:::b/*")], True),
        ([allow(Resource="arn:aws:s3:::b/?/d")], True),
        ([allow(Resource="arn:aws:s3:::b")], False),
        ([allow(Resource="arn:aws:s3:::B/*")], False),
        ([allow(Condition={"StringEquals": {"key": ["u", "v"]}})], True),
        ([allow(Condition={"StringEquals": {"key": "v", "other": "w"}})], False),
        ([allow(Condition={"StringEquals": {"other": "v"}})], False),
        ([allow(Condition={"StringEqualsIfExists": {"other": "v"}})], True),
        ([allow(Condition={"StringNotEquals": {"key": ["u", "v"]}})], False),
        ([allow(Condition={"StringNotEquals": {"other": "v"}})], True),
        ([allow(Condition={"StringNotEquals": {"other": "v"}, "Null": {"other": "false"}})], False),
        ([allow(Condition={"Null": {"key": "false"}})], True),
        ([allow(Condition={"StringLike": {"key": "V*"}})], False),
    ],
)
def test_identity_policies(statements, expected):
    assert allowed(ASK, identity=[policy(*statements)]) is expected


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("*", True),
        ({"AWS": "*"}, True),
        ({"AWS": [ASK.principal]}, True),
        ({"AWS": "arn:aws:iam::1:root"}, False),
        ({"Service": "ec2.amazonaws.com"}, False),
    ],
)
def test_resource_policies(principal, expected):
    assert allowed(ASK, resource=policy(allow(Principal=principal))) is expected
    denied = policy(allow(Principal=principal, Effect="Deny"))
    assert allowed(ASK, identity=[policy(allow())], resource=denied) is not expected


@pytest.mark.parametrize(
    "statement",
    [
        allow(Condition={"DateLessThan": {"key": "v"}}),
        allow(Condition={"ForAllValues:StringEquals": {"key": "v"}}),
        allow(NotAction="s3:PutObject"),
        allow(Resource="arn:aws:s3:::${aws:username}"),
        allow(Principal="*"),
    ],
)
def test_what_it_does_not_know_is_an_error(statement):
    with pytest.raises(AssertionError):
        allowed(ASK, identity=[policy(statement)])
