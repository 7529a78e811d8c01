"""Who hears of alerts: Alertmanager's configuration, and the secrets of its receivers."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NotRequired, TypedDict

import pulumi
import pulumi_kubernetes as kubernetes

from components.arguments import refuse

_TITLE: Final = (
    "[{{ .Status | toUpper }}] {{ .CommonLabels.service }}: {{ .CommonLabels.alertname }}"
)
_TEXT: Final = (
    "{{ range .Alerts }}{{ .Labels.severity }}: {{ .Annotations.summary }}\n"
    "{{ .Annotations.description }}\n{{ .Annotations.runbook_url }}\n{{ end }}"
)
# PagerDuty knows four severities; alerts of several in one message have none in common.
_SEVERITY: Final = "{{ with .CommonLabels.severity }}{{ . }}{{ else }}error{{ end }}"

_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "slack": ("channel", "secret"),
    "pagerduty": ("secret",),
    "email": ("to", "sender", "smarthost"),
    "webhook": ("secret",),
}


class ReceiverArgs(TypedDict):
    """Somebody to tell."""

    name: str
    """By which routes name it."""

    kind: str
    """slack, pagerduty, email or webhook."""

    sendResolved: bool
    """Whether it also hears that an alert has ended."""

    secret: NotRequired[str]
    """Key in `secrets`: the URL of slack and webhook, pagerduty's routing key, the password of
    email."""

    channel: NotRequired[str]
    """Of slack: the channel."""

    to: NotRequired[str]
    """Of email: who gets it."""

    sender: NotRequired[str]
    """Of email: whom it comes from."""

    smarthost: NotRequired[str]
    """Of email: `host:port` of the mail server."""

    username: NotRequired[str]
    """Of email: at the mail server."""


class AlertRouteArgs(TypedDict):
    """Which alerts go to a receiver."""

    receiver: str
    """Name of the receiver."""

    severities: list[str]
    """Only alerts of these severities; of all if empty."""

    owners: list[str]
    """Only alerts of services of these owners; of all if empty."""


class AlertRoutingArgs(TypedDict):
    """Arguments of `AlertRouting`."""

    namespace: str
    """Namespace of the alerts; the operator routes no others to these receivers."""

    receivers: list[ReceiverArgs]
    """Whom there is to tell."""

    defaultReceiver: str
    """Name of the receiver of what no route takes."""

    routes: list[AlertRouteArgs]
    """Which alerts go to another one; the first that matches takes an alert."""

    groupWait: str
    """How long the first alert of a service waits for others of it, a Prometheus duration."""

    groupInterval: str
    """Least time before news of the same service are sent."""

    repeatInterval: str
    """After which an alert that goes on is sent again."""

    secrets: Mapping[str, pulumi.Input[str]]
    """The receivers' secrets, by key. They go into a Kubernetes Secret and nowhere else."""


class AlertRouting(pulumi.ComponentResource):
    """One AlertmanagerConfig: alerts grouped by service, sent by severity and owner.

    A critical alert of a service silences its lesser ones.
    """

    def __init__(
        self, name: str, args: AlertRoutingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        _validate(args)
        inputs = {key: value for key, value in args.items() if key != "secrets"}
        super().__init__("modelramp:index:AlertRouting", name, inputs, opts)
        secret = kubernetes.core.v1.Secret(
            f"{name}-receivers",
            metadata={"name": f"{name}-receivers", "namespace": args["namespace"]},
            string_data={
                key: pulumi.Output.secret(value) for key, value in args["secrets"].items()
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        kubernetes.apiextensions.CustomResource(
            f"{name}-routing",
            api_version="monitoring.coreos.com/v1alpha1",
            kind="AlertmanagerConfig",
            metadata={"name": name, "namespace": args["namespace"]},
            spec=_spec(args, secret_name=f"{name}-receivers"),
            # The operator refuses a configuration whose secret is missing.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[secret]),
        )
        self.register_outputs({})


def _spec(args: AlertRoutingArgs, secret_name: str) -> dict[str, Any]:
    return {
        "route": {
            "receiver": args["defaultReceiver"],
            "groupBy": ["namespace", "service"],
            "groupWait": args["groupWait"],
            "groupInterval": args["groupInterval"],
            "repeatInterval": args["repeatInterval"],
            "routes": [
                {
                    "receiver": route["receiver"],
                    "matchers": [
                        _matcher(label, values)
                        for label, values in (
                            ("severity", route["severities"]),
                            ("owner", route["owners"]),
                        )
                        if values
                    ],
                }
                for route in args["routes"]
            ],
        },
        "inhibitRules": [
            {
                "sourceMatch": [_matcher("severity", ["critical"])],
                "targetMatch": [_matcher("severity", ["warning", "info"])],
                "equal": ["namespace", "service"],
            }
        ],
        "receivers": [_receiver(receiver, secret_name) for receiver in args["receivers"]],
    }


def _matcher(label: str, values: list[str]) -> dict[str, str]:
    if len(values) == 1:
        return {"name": label, "matchType": "=", "value": values[0]}
    # Not re.escape: Go's expressions know no escaped space.
    escaped = (re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value) for value in values)
    return {"name": label, "matchType": "=~", "value": "|".join(escaped)}


def _receiver(receiver: ReceiverArgs, secret_name: str) -> dict[str, Any]:
    secret = {"name": secret_name, "key": receiver.get("secret")}
    settings: dict[str, Any] = {"sendResolved": receiver["sendResolved"]}
    match receiver["kind"]:
        case "slack":
            settings |= {"apiURL": secret, "channel": receiver.get("channel")}
            settings |= {"title": _TITLE, "text": _TEXT}
        case "pagerduty":
            settings |= {"routingKey": secret, "severity": _SEVERITY, "description": _TITLE}
        case "email":
            settings |= {
                "to": receiver.get("to"),
                "from": receiver.get("sender"),
                "smarthost": receiver.get("smarthost"),
                "requireTLS": True,
                "headers": [{"key": "Subject", "value": _TITLE}],
                "text": _TEXT,
            }
            if "username" in receiver:
                settings |= {"authUsername": receiver["username"], "authPassword": secret}
        case _:
            settings |= {"urlSecret": secret}
    return {"name": receiver["name"], f"{receiver['kind']}Configs": [settings]}


def _validate(args: AlertRoutingArgs) -> None:
    """Raises `InputPropertiesError` with everything that is wrong."""
    found = [
        (f"receivers[{index}]{path}", why)
        for index, receiver in enumerate(args["receivers"])
        for path, why in _wrong(receiver, args["secrets"])
    ]
    names = [receiver["name"] for receiver in args["receivers"]]
    if len(set(names)) < len(names):
        found.append(("receivers", "two have the same name"))
    named = {"defaultReceiver": args["defaultReceiver"]}
    named |= {
        f"routes[{at}].receiver": route["receiver"] for at, route in enumerate(args["routes"])
    }
    found += [
        (path, f"{name} is not among receivers {', '.join(names)}")
        for path, name in named.items()
        if name not in names
    ]
    refuse("AlertRouting", found)


def _wrong(
    receiver: ReceiverArgs, secrets: Mapping[str, pulumi.Input[str]]
) -> Iterator[tuple[str, str]]:
    """Yields path and reason of each mistake in a receiver."""
    kind = receiver["kind"]
    if kind not in _NEEDS:
        yield ".kind", f"must be one of {', '.join(_NEEDS)}"
    for key in _NEEDS.get(kind, ()):
        if key not in receiver:
            yield f".{key}", f"{kind} needs it"
    if kind == "email" and ("username" in receiver) != ("secret" in receiver):
        yield "", "username and secret come together"
    if "secret" in receiver and receiver["secret"] not in secrets:
        yield ".secret", f"{receiver['secret']} is not among secrets"
