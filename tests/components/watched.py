# pyright: basic
"""A service with every kind of alert, for tests."""

from __future__ import annotations

from components.alert_rules import AlertRulesArgs
from components.from_stack.alerts import alert_rules_args
from models.stack import parse_stack
from tests.stacks import LOCAL

STACK = parse_stack(LOCAL, "x")
FRAUD = STACK.services["fraud"]


def watched(**changed: object) -> AlertRulesArgs:
    """Returns the arguments of the alerts of `fraud`: 1.4.0 stable, 1.5.0 at 5%."""
    return {**alert_rules_args(FRAUD, STACK.cluster), **changed}  # type: ignore[typeddict-item]
