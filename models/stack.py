"""A whole stack file: parsed, validated, every problem with its file, line and key path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.reader import ReaderError
from yaml import YAMLError as LibyamlError

from models.alerting import Alerting
from models.artifact_store import ArtifactStore
from models.aws import Aws
from models.base import Declared, DurationSeconds, Name, refuse
from models.calendar import Calendar
from models.cost import Cost
from models.errors import ConfigError, Problem
from models.gpu_pool import GpuPool
from models.metrics_server import PrometheusAccess
from models.notifications import Notifications
from models.rules import KeyPath, broken_rules
from models.service import Service
from models.yaml_reading import load_yaml

CONFIG_PREFIX = "modelramp:"


_PLAINLY = {
    "extra_forbidden": "no such key here; see stacks/schema.json",
    "union_tag_not_found": "needs its kind or provider, which is missing",
    "model_type": "must be keys and values",
    "dict_type": "must be keys and values",
}
"""For what pydantic says in terms of Python, by its type of error."""


class Cluster(Declared):
    """Where the stack runs.

    Attributes:
        target: `embedded` runs it on this machine; `cluster` is any Kubernetes with KServe; `eks`
            is one on AWS.
        mode: KServe's deployment mode: `standard` makes Deployments, and we own the route;
            `knative` leaves the split to KServe's `canaryTrafficPercent`.
        namespace: the namespace of everything we create.
        gateway: `namespace/name` of the Gateway that routes are attached to.
        gateway_url: where drift-check reaches it, for smoke tests; the embedded target has its own.
        prometheus: URL; the embedded target has its own and takes none.
        prometheus_access: how it is reached, where a URL is not enough.
        registry: URL of the MLflow server; the embedded target's own, or that of the environment's
            MLFLOW_TRACKING_URI, if absent.
        registry_aliases: whether the registry's aliases `champion` and `challenger` follow this
            stack's stable and candidate. Aliases are few and stacks are many: say it in one.
        server_image: image of our model server; the embedded target runs none.
        context: of the kubeconfig, so that no other cluster is ever meant; its current one if
            absent. The embedded target has no cluster.
        rule_interval_seconds: how often Prometheus evaluates our rules; its own default if absent.
        callers: namespaces whose pods may talk to the models: the gateway's proxies, Prometheus.
    """

    target: Literal["embedded", "cluster", "eks"]
    mode: Literal["standard", "knative"] = "standard"
    namespace: Name
    gateway: str = Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")
    gateway_url: str | None = Field(None, pattern=r"^https?://[^\s@]+$")
    prometheus: str | None = Field(None, pattern=r"^https?://")
    prometheus_access: PrometheusAccess | None = None
    registry: str | None = Field(None, pattern=r"^https?://[^\s@]+$")
    registry_aliases: bool = False
    server_image: str = "modelramp/server"
    context: str | None = Field(None, min_length=1)
    rule_interval_seconds: DurationSeconds | None = Field(None, alias="ruleInterval")
    callers: tuple[Name, ...] = Field(("envoy-gateway-system", "monitoring"), min_length=1)

    @model_validator(mode="after")
    def _fits_the_target(self) -> Cluster:
        embedded = self.target == "embedded"
        rules = (
            (
                embedded == (self.prometheus is not None),
                "prometheus is needed by targets cluster and eks, and by no other",
            ),
            (
                embedded and self.context is not None,
                "context names a cluster, and target embedded has none",
            ),
            (embedded and self.mode == "knative", "mode knative needs a cluster"),
        )
        access = self.prometheus_access
        unreachable = access.problems(self.prometheus) if access else []
        refuse([*(what for wrong, what in rules if wrong), *unreachable])
        return self


class Stack(Declared):
    """Everything one stack declares.

    Attributes:
        cluster: where it runs.
        aws: the AWS account, for target `eks`, node groups and buckets.
        gpu_pools: nodes with GPUs, by name.
        alerting: who hears of alerts.
        artifacts: where models lie, and who may read them; access is made elsewhere if absent.
        calendar: when traffic may move.
        cost: what it may cost.
        notifications: who hears of rollouts.
        services: served models, by name.
    """

    cluster: Cluster
    aws: Aws | None = None
    gpu_pools: dict[Name, GpuPool] = Field(default_factory=dict)
    alerting: Alerting | None = None
    artifacts: ArtifactStore | None = None
    calendar: Calendar = Field(default_factory=lambda: Calendar.model_validate({}))
    cost: Cost | None = None
    notifications: Notifications | None = None
    services: dict[Name, Service] = Field(default_factory=dict)


CONFIG_KEYS = tuple(field.alias or name for name, field in Stack.model_fields.items())
"""Config keys of a stack, without prefix."""


def stack_from_config(config: Mapping[str, Any], file: str, lines: Any = None) -> Stack:
    """Validates the `modelramp:` keys of a stack's config.

    Args:
        config: config by key without prefix, such as `cluster` and `services`.
        file: named in problems.
        lines: the same config as ruamel loaded it, to name lines; optional.

    Raises:
        ConfigError: all problems at once.
    """
    found: list[tuple[Sequence[str | int], str]] = []
    stack: Stack | None = None
    try:
        stack = Stack.model_validate(config, by_alias=True, by_name=False)
    except ValidationError as error:
        wrong = error.errors()
        found = [(_keys(it["loc"], config), _what(it)) for it in wrong]
        stack = _without(config, {it["loc"][:2] for it in wrong})
    if stack is not None:
        found += broken_rules(stack)
    if stack is None or found:
        raise ConfigError([_problem(path, what, file, lines) for path, what in found])
    return stack


def find_service(stack: Stack, name: str, file: Path) -> Service:
    """Returns a declared service.

    Raises:
        ConfigError: there is none of this name; says which there are.
    """
    if name not in stack.services:
        known = ", ".join(stack.services) or "none"
        raise ConfigError([Problem(str(file), f"no service {name!r}; there are: {known}")])
    return stack.services[name]


def load_stack(path: Path) -> Stack:
    """Reads `Pulumi.<stack>.yaml`.

    Raises:
        ConfigError: the file is missing, is no YAML, or declares something wrong.
    """
    try:
        return parse_stack(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        there = ", ".join(sorted(it.name for it in path.parent.glob("Pulumi.*.yaml"))) or "none"
        what = f"no such stack file; there are: {there}"
        raise ConfigError([Problem(str(path), what)]) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(str(path), "is no text in UTF-8")]) from None


@lru_cache(maxsize=4)
def parse_stack(text: str, file: str) -> Stack:
    """Reads the text of a stack file, once; `file` is named in problems.

    Raises:
        ConfigError: the text is no YAML, or declares something wrong.
    """
    try:
        return _stack_of(load_yaml(text), file)
    except (LibyamlError, ConfigError):
        pass  # once more, slowly: what is wrong, in which line
    try:
        document = YAML(typ="rt").load(text)
    except (YAMLError, ValueError, TypeError) as error:  # of `._`, and of lists as keys
        raise ConfigError([_unreadable(error, text, file)]) from None
    return _stack_of(document, file)


def _stack_of(document: Any, file: str) -> Stack:
    """Validates a stack file as it was loaded; problems have lines if it was loaded with them."""
    config: Any = document.get("config") if isinstance(document, Mapping) else document
    if not isinstance(config, Mapping | None):
        raise ConfigError([Problem(file, "config must be keys and values", "config")])
    config = config or {}
    ours = {
        key.removeprefix(CONFIG_PREFIX): value
        for key, value in config.items()
        if isinstance(key, str) and key.startswith(CONFIG_PREFIX)
    }
    if misplaced := [*_misplaced({key: ours[key] for key in CONFIG_KEYS if key in ours})]:
        raise ConfigError([_problem(path, what, file, config) for path, what in misplaced])
    declared = {key: value for key, value in ours.items() if not _is_secret(value)}
    stack = stack_from_config(declared, file, config)
    if missing := [it for it in secret_keys(stack) if not _is_secret(ours.get(it[1]))]:
        raise ConfigError(
            [
                _problem(
                    path,
                    f"{key} is no secret of this stack; set it: "
                    f"pulumi config set --secret {CONFIG_PREFIX}{key}",
                    file,
                    config,
                )
                for path, key in missing
            ]
        )
    return stack


def _unreadable(error: Exception, text: str, file: str) -> Problem:
    if isinstance(error, ReaderError):  # which tells no line
        at = text.count("\n", 0, error.position) + 1
        return Problem(file, f"not valid YAML: {error.reason}", line=at)
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    return Problem(file, f"not valid YAML: {what}", line=mark.line + 1 if mark else None)


def secret_keys(stack: Stack) -> list[tuple[KeyPath, str]]:
    """Returns the config keys of secrets that a stack names, each with the key path of where."""
    receivers = stack.alerting.receivers if stack.alerting else ()
    store = stack.artifacts.secret_keys if stack.artifacts else ()
    return [
        *((("artifacts",), key) for key in store),
        *(
            (("alerting", "receivers", at), it.secret_key)
            for at, it in enumerate(receivers)
            if it.secret_key is not None
        ),
    ]


def _misplaced(node: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yields what Pulumi would hand to the program in another form than it stands in the file."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in items:
        if _is_secret(value):
            yield (*path, key), "a secret hides all of its key; give it a config key of its own"
        elif isinstance(value, date):
            yield (*path, key), f'put the date in quotes: "{value.isoformat()}"'
        elif isinstance(value, Mapping | list):
            yield from _misplaced(value, (*path, key))


def _is_secret(value: Any) -> bool:
    return isinstance(value, Mapping) and [*value] == ["secure"]


def _without(config: Mapping[str, Any], wrong: set[tuple[str | int, ...]]) -> Stack | None:
    """Returns what is left without the services that are wrong, if that is a stack."""
    services = config.get("services")
    if not isinstance(services, Mapping):
        return None
    left = {name: it for name, it in services.items() if ("services", name) not in wrong}
    try:
        return Stack.model_validate({**config, "services": left}, by_alias=True, by_name=False)
    except ValidationError:
        return None


def _problem(path: Sequence[str | int], what: str, file: str, lines: Any) -> Problem:
    key = f"{CONFIG_PREFIX}{'.'.join(map(str, path))}"
    return Problem(file, what, key, _line_of(lines, path))


def _what(detail: Any) -> str:
    what = _PLAINLY.get(detail["type"]) or re.sub(r"^Value error, ", "", detail["msg"])
    given = detail["input"]
    if isinstance(given, str | int | float | bool) and repr(given) not in what:
        what += f" (got {given!r})"
    return what


def _keys(loc: Sequence[str | int], config: Any) -> list[str | int]:
    """Returns the keys in the file that lead to a problem, without pydantic's own parts.

    Pydantic names the chosen kind of a union, and `[key]` where the key itself is wrong.
    """
    keys: list[str | int] = []
    node: Any = config
    for part in loc:
        mapping: Mapping[Any, Any] = node if isinstance(node, Mapping) else {}
        chosen = part in (mapping.get("kind"), mapping.get("provider")) and part not in mapping
        if part == "[key]" or chosen:
            continue
        keys.append(part)
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            node = None
    return keys


def _line_of(node: Any, path: Sequence[str | int]) -> int | None:
    """Returns the 1-based line of the deepest key of `path` that the file has."""
    line = None
    for depth, part in enumerate(path):
        key = f"{CONFIG_PREFIX}{part}" if depth == 0 else part
        try:
            position = node.lc.item(key) if isinstance(key, int) else node.lc.key(key)
            node = node[key]
        except (KeyError, AttributeError, IndexError, TypeError):
            break
        line = position[0] + 1
    return line
