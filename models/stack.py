"""A whole stack file: parsed, validated, every problem with its file, line and key path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from models.base import Declared, DurationSeconds, Name
from models.errors import ConfigError, Problem
from models.names import inference_service_name
from models.service import Service

CONFIG_PREFIX = "modelramp:"
_LONGEST_HOST_LABEL = 63


class Cluster(Declared):
    """Where the stack runs.

    Attributes:
        target: `embedded` runs it on this machine; `cluster` is any Kubernetes with KServe.
        namespace: the namespace of everything we create.
        gateway: `namespace/name` of the Gateway that routes are attached to.
        prometheus: URL; the embedded target has its own and takes none.
        server_image: image of our model server; the embedded target runs none.
        context: of the kubeconfig, so that no other cluster is ever meant; its current one if
            absent. The embedded target has no cluster.
        rule_interval_seconds: how often Prometheus evaluates our rules; its own default if absent.
    """

    target: Literal["embedded", "cluster"]
    namespace: Name
    gateway: str = Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")
    prometheus: str | None = Field(None, pattern=r"^https?://")
    server_image: str = "modelramp/server"
    context: str | None = Field(None, min_length=1)
    rule_interval_seconds: DurationSeconds | None = Field(None, alias="ruleInterval")

    @model_validator(mode="after")
    def _prometheus_where_needed(self) -> Cluster:
        if (self.target == "embedded") == (self.prometheus is not None):
            raise ValueError("prometheus is needed by target cluster, and by no other")
        return self

    @model_validator(mode="after")
    def _context_of_a_cluster(self) -> Cluster:
        if self.target == "embedded" and self.context is not None:
            raise ValueError("context names a cluster, and target embedded has none")
        return self


class Stack(Declared):
    """Everything one stack declares."""

    cluster: Cluster
    services: dict[Name, Service] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_fit(self) -> Stack:
        seen: dict[str, str] = {}
        for service_name, service in self.services.items():
            for version in service.versions:
                name = inference_service_name(service_name, version)
                whole = f"{service_name} {version}"
                # KServe makes <name>-predictor-<namespace> a label of a host name.
                host = f"{name}-predictor-{self.cluster.namespace}"
                if len(host) > _LONGEST_HOST_LABEL:
                    raise ValueError(f"{whole}: {host} is longer than {_LONGEST_HOST_LABEL}")
                if name in seen:
                    raise ValueError(f"{whole} and {seen[name]} both become {name}")
                seen[name] = whole
        return self


def stack_from_config(config: Mapping[str, Any], file: str, lines: Any = None) -> Stack:
    """Validates the `modelramp:` keys of a stack's config.

    Args:
        config: config by key without prefix, such as `cluster` and `services`.
        file: named in problems.
        lines: the same config as ruamel loaded it, to name lines; optional.

    Raises:
        ConfigError: all problems at once.
    """
    try:
        return Stack.model_validate(config)
    except ValidationError as error:
        raise ConfigError([_problem(detail, file, lines) for detail in error.errors()]) from None


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
        raise ConfigError([Problem(str(path), "no such stack file")]) from None


def parse_stack(text: str, file: str) -> Stack:
    """Reads the text of a stack file; `file` is named in problems.

    Raises:
        ConfigError: the text is no YAML, or declares something wrong.
    """
    try:
        document = YAML(typ="rt").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else file
        what = getattr(error, "problem", None) or str(error)
        raise ConfigError([Problem(where, f"not valid YAML: {what}")]) from None
    config = (document or {}).get("config") or {}
    ours = {
        key.removeprefix(CONFIG_PREFIX): value
        for key, value in config.items()
        if key.startswith(CONFIG_PREFIX)
    }
    return stack_from_config(ours, file, config)


def _problem(detail: Any, file: str, lines: Any) -> Problem:
    path = [str(part) for part in detail["loc"]]
    line = _line_of(lines, list(detail["loc"])) if lines is not None else None
    where = f"{file}:{line}" if line else file
    what = re.sub(r"^Value error, ", "", detail["msg"])
    given = detail["input"]
    if isinstance(given, str | int | float | bool) and repr(given) not in what:
        what += f" (got {given!r})"
    return Problem(f"{where}: {CONFIG_PREFIX}{'.'.join(path)}", what)


def _line_of(node: Any, path: list[Any]) -> int | None:
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
