# pyright: basic
"""What policies of IAM decide: of an identity, of a resource, or of both in one account.

It knows what our policies use, and nothing else: an element or operator that it does not know is
an error, so no condition is passed over unseen.

Source: "Policy evaluation logic" and "IAM JSON policy elements" in the IAM User Guide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Policy = Mapping[str, Any]

ANYBODY = "*"
"""The principal of a request that is not signed."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        principal: ARN, name of a service of AWS, or `*` for a request that is not signed.
        action: such as `s3:GetObject`.
        resource: its ARN.
        context: condition keys that the request has.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)

    def having(self, **changed: Any) -> Request:
        return replace(self, **changed)


def allowed(
    request: Request, *, identity: Iterable[Policy] = (), resource: Policy | None = None
) -> bool:
    """Whether a request is let through: one statement allows it, and none denies it."""
    effects = {
        *(effect for policy in identity for effect in _effects(policy, request, principal=False)),
        *_effects(resource or {"Version": "2012-10-17", "Statement": []}, request, principal=True),
    }
    return "Deny" not in effects and "Allow" in effects


def _effects(policy: Policy, request: Request, *, principal: bool) -> Iterable[str]:
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        unknown = statement.keys() - {
            *("Sid", "Effect", "Principal", "Action", "Resource", "Condition")
        }
        assert not unknown, f"this evaluator does not know {unknown}"
        assert ("Principal" in statement) == principal
        if (
            (not principal or _is_principal(statement["Principal"], request.principal))
            and any(_like(it, request.action, case=False) for it in _list(statement["Action"]))
            # A policy of trust has none: it is of the role itself.
            and any(_like(it, request.resource) for it in _list(statement.get("Resource", "*")))
            and _holds(statement.get("Condition", {}), request.context)
        ):
            yield statement["Effect"]


def _is_principal(declared: Any, principal: str) -> bool:
    if declared == "*":
        return True
    ((kind, names),) = declared.items()
    assert kind in ("AWS", "Service", "Federated"), f"this evaluator does not know {kind}"
    # An account's root stands for its policies; by itself it lets no role in.
    return names == "*" or principal in _list(names)


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    has = {key.lower(): value for key, value in context.items()}
    return all(
        _compare(operator, _list(values), has.get(key.lower()))
        for operator, keys in condition.items()
        for key, values in keys.items()
    )


def _compare(operator: str, values: list[str], given: str | None) -> bool:
    if operator == "Null":
        return any((given is None) == (it == "true") for it in values)
    if_exists = operator.endswith("IfExists")
    name = operator.removesuffix("IfExists")
    if name == "StringNotEquals":  # and all that negate hold on a key that is not there
        return given is None or given not in values
    known = {
        "StringEquals": lambda it, given: it == given,
        "StringLike": _like,
        "Bool": lambda it, given: it == given,
        "NumericLessThan": lambda it, given: float(given) < float(it),
        "ArnEquals": _like,
    }
    assert name in known, f"this evaluator does not know {operator}"
    if given is None:
        return if_exists
    return any(known[name](it, given) for it in values)


def _like(pattern: str, text: str, *, case: bool = True) -> bool:
    assert "${" not in pattern, "this evaluator does not know variables"
    parts = [{"*": ".*", "?": "."}.get(it, re.escape(it)) for it in pattern]
    return bool(re.fullmatch("".join(parts), text, 0 if case else re.IGNORECASE))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
