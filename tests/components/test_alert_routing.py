# pyright: basic
from __future__ import annotations

import json

import pulumi
import pytest
from pulumi.errors import InputPropertiesError

from components.alert_routing import AlertRouting
from components.from_stack.alerts import alert_routing_args
from models.alerting import Alerting
from tests.components.watched import STACK

ALERTING = Alerting.model_validate(
    {
        "receivers": [
            {"name": "ml-oncall", "kind": "slack", "channel": "#ml", "urlSecret": "slackUrl"},
            {"name": "pager", "kind": "pagerduty", "routingKeySecret": "pagerdutyKey"},
            {
                "name": "mail",
                "kind": "email",
                "to": "ml@example.com",
                "from": "alerts@example.com",
                "smarthost": "smtp.example.com:587",
                "username": "alerts",
                "passwordSecret": "smtpPassword",
            },
            {"name": "hook", "kind": "webhook", "urlSecret": "hookUrl", "sendResolved": False},
        ],
        "default": "ml-oncall",
        "routes": [
            {"receiver": "pager", "severity": ["critical"]},
            {"receiver": "mail", "owner": ["payments (ml)", "growth"], "severity": ["info"]},
        ],
    }
)
SECRETS = {key: f"hidden-{key}" for key in ALERTING.secret_keys}


def test_the_secret_holds_what_the_config_holds_and_nothing_else_does(registered, golden):
    made = registered(
        lambda: AlertRouting("modelramp", alert_routing_args(ALERTING, STACK.cluster, SECRETS))
    )
    secret = made["modelramp-receivers"]["inputs"]["stringData"]
    # The mark of a secret stays on all of it: Pulumi encrypts it in its state.
    assert pulumi.runtime.rpc.is_rpc_secret(secret)
    assert pulumi.runtime.rpc.unwrap_rpc_secret(secret) == SECRETS
    others = {name: it for name, it in made.items() if name != "modelramp-receivers"}
    assert "hidden-" not in json.dumps(others)
    golden("alert_routing", made)


def test_secrets_may_be_outputs(registered):
    made = registered(
        lambda: AlertRouting(
            "modelramp",
            alert_routing_args(
                ALERTING,
                STACK.cluster,
                {key: pulumi.Output.secret(value) for key, value in SECRETS.items()},
            ),
        )
    )
    secret = made["modelramp-receivers"]["inputs"]["stringData"]
    assert pulumi.runtime.rpc.unwrap_rpc_secret(secret) == SECRETS
    assert "hidden-" not in json.dumps(made["modelramp"])


def test_all_wrong_arguments_are_named(registered):
    args = alert_routing_args(ALERTING, STACK.cluster, SECRETS)
    args["receivers"][1]["kind"] = "fax"
    del args["receivers"][0]["channel"]
    args["secrets"] = {key: it for key, it in SECRETS.items() if key != "hookUrl"}
    del args["receivers"][2]["username"]
    args["defaultReceiver"] = "nobody"
    args["routes"][0]["receiver"] = "somebody"
    with pytest.raises(InputPropertiesError) as caught:
        registered(lambda: AlertRouting("modelramp", args))
    assert caught.value.errors is not None
    assert [error["property_path"] for error in caught.value.errors] == [
        "receivers[0].channel",
        "receivers[1].kind",
        "receivers[2]",
        "receivers[3].secret",
        "defaultReceiver",
        "routes[0].receiver",
    ]
