"""Makes policies of rules: what all of them have, and what becomes of a value that is unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, Unpack

from pulumi_policy import (
    PolicyConfigSchema,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from rules.reading import Declared, Finding, NotKnown, each

DOCUMENTATION = "docs/policies.md"
"""In the repository that the stack is declared in."""

RISKS = ("low", "medium", "high")

Options = Mapping[str, Any]
"""Configuration of a policy, its defaults included."""

ResourceRule = Callable[[Declared, Options], Iterable[Finding]]
"""Yields what is wrong with one resource."""

StackRule = Callable[[Sequence[Declared], Options], Iterable[tuple[Declared | None, Finding]]]
"""Yields what is wrong, and with which resource if it is one."""

_EXEMPT = {
    "exempt": {
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "description": "names of resources, in Pulumi or in the cluster, that are passed over",
    }
}


class Details(TypedDict):
    """What every policy says of itself."""

    name: str
    """Of the policy, in kebab case."""

    title: str
    """In a few words."""

    description: str
    """What should be, in a sentence."""

    severity: Severity
    """How bad a violation is."""

    remediation: str
    """What to do about a violation, in a sentence."""

    options: NotRequired[dict[str, dict[str, Any]]]
    """JSON Schema of its own options, each with a default and a description."""


def resource_policy(
    topic: str, rule: ResourceRule, **details: Unpack[Details]
) -> ResourceValidationPolicy:
    """Makes a policy of a rule about one resource.

    Args:
        topic: of the policy.
        rule: yields what is wrong with it.
        details: of the policy.
    """

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        declared = Declared(
            args.resource_type,
            args.name,
            args.urn,
            args.props,
            bool(args.opts and args.opts.protect),
            args.provider.props if args.provider else {},
        )
        options = args.get_config()
        if _is_exempt(declared, options):
            return
        findings = each([declared], lambda it: _sound(rule(it, options)))
        _tell(((None, it) for it in findings), report)

    return ResourceValidationPolicy(validate=validate, **_told(topic, details))


def stack_policy(topic: str, rule: StackRule, **details: Unpack[Details]) -> StackValidationPolicy:
    """Makes a policy of a rule about all resources of a stack together.

    Args:
        topic: of the policy.
        rule: yields what is wrong with them.
        details: of the policy.
    """

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        options = args.get_config()
        declared = [it for it in map(_declared, args.resources) if not _is_exempt(it, options)]
        _tell(rule(declared, options), report)

    return StackValidationPolicy(validate=validate, **_told(topic, details))


def each_of(
    subjects: Iterable[Declared], check: Callable[[Declared], Iterable[Finding]]
) -> Iterable[tuple[Declared, Finding]]:
    """Applies a check to each resource, whatever is unknown or malformed of another."""
    for subject in subjects:
        for finding in each([subject], lambda it: _sound(check(it))):
            yield subject, finding


def _sound(findings: Iterable[Finding]) -> Iterable[Finding]:
    """Turns what is malformed into a violation: it must not pass unread."""
    try:
        yield from findings
    except ValueError as error:
        yield f"could not be checked: {error}"


def _declared(resource: PolicyResource) -> Declared:
    return Declared(
        resource.resource_type,
        resource.name,
        resource.urn,
        resource.props,
        bool(resource.opts and resource.opts.protect),
        resource.provider.props if resource.provider else {},
        {
            key: [it.urn for it in resources]
            for key, resources in resource.property_dependencies.items()
        },
    )


def _is_exempt(declared: Declared, options: Options) -> bool:
    exempt = options.get("exempt", [])
    return declared.name in exempt or declared.object_name in exempt


def _tell(findings: Iterable[tuple[Declared | None, Finding]], report: ReportViolation) -> None:
    """Reports all violations, and then, as advice, what could not be checked.

    Raises:
        UnknownValueError: the engine shows it as advice, whatever the policy's level.
    """
    unknown: dict[str, None] = {}
    try:
        for declared, finding in findings:
            if isinstance(finding, NotKnown):
                unknown[f"{declared.name}: {finding.reason}" if declared else finding.reason] = None
            else:
                report(finding, declared.urn if declared else None)
    except UnknownValueError as error:
        unknown[error.message] = None
    if unknown:
        error = UnknownValueError(UNKNOWN_STRING_VALUE, [])
        error.message = f"could not be checked: {'; '.join(unknown)}"
        raise error


def _told(topic: str, details: Details) -> dict[str, Any]:
    return {
        "name": details["name"],
        "display_name": details["title"],
        "description": details["description"],
        "severity": details["severity"],
        "remediation_steps": details["remediation"],
        "url": f"{DOCUMENTATION}#{details['name']}",
        "tags": [topic],
        "config_schema": PolicyConfigSchema(properties={**details.get("options", {}), **_EXEMPT}),
    }
