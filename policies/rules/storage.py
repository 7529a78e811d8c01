"""Rules about buckets: a bucket and its settings are resources of their own, judged together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pulumi_policy import Severity
from pulumi_policy.proxy import UnknownValueError

from rules.policy import Options, StackRule, each_of, resource_policy, stack_policy
from rules.reading import (
    Declared,
    Finding,
    NotKnown,
    Properties,
    at,
    mapping,
    mappings,
    members,
    sequence,
    texts,
)

_TOPIC = "storage"
_BUCKET = "s3/Bucket"
_ENCRYPTION = (
    "rules",
    "serverSideEncryptionConfiguration",
    "serverSideEncryptionConfigurations",
    "bucketEncryption",
)
_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_OPEN_ACLS = ("publicread", "publicreadwrite", "authenticatedread", "awsexecread")
_ANYBODY = ("/AllUsers", "/AuthenticatedUsers")
_NARROWING = frozenset(
    {
        *("aws:principalarn", "aws:principalorgid", "aws:principalorgpaths", "aws:sourcearn"),
        *("aws:principalaccount", "aws:sourceaccount", "aws:sourceorgid", "aws:userid"),
        *("aws:sourceip", "aws:sourcevpc", "aws:sourcevpce", "s3:dataaccesspointaccount"),
    }
)
"""Conditions with which S3 calls a policy not public."""

Check = Callable[[Declared, "Settings", Options], Iterable[Finding]]


class Settings:
    """What other resources say of one bucket."""

    def __init__(self, bucket: Declared, resources: Sequence[Declared]) -> None:
        self._found: list[Declared] = []
        self._unknown: dict[str, str] = {}
        names = {
            str(value)
            for key, value in members(bucket.props)
            if key in ("bucket", "bucketName", "id", "arn") and not isinstance(value, NotKnown)
        }
        for declared in resources:
            if not declared.aws.startswith("s3/Bucket"):
                continue
            try:
                theirs = str(declared.props.get("bucket")) in names
            except UnknownValueError as unknown:
                theirs = False
                if not declared.made_from.get("bucket"):
                    self._unknown[declared.aws] = f"{declared.name}: {unknown.message}"
            if theirs or bucket.urn in declared.made_from.get("bucket", ()):
                self._found.append(declared)

    def of(self, kind: str) -> list[Declared]:
        """Returns the resources of a kind, such as `BucketPolicy`."""
        return [it for it in self._found if it.aws == f"s3/{kind}"]

    def lacking(self, kind: str, text: str) -> Finding:
        """Returns what is wrong without a setting, unless one of an unknown bucket may be it.

        Args:
            kind: of the setting.
            text: what is wrong.
        """
        unknown = self._unknown.get(f"s3/{kind}")
        return NotKnown(unknown) if unknown else text


def _rule(check: Check) -> StackRule:
    def rule(
        resources: Sequence[Declared], options: Options
    ) -> Iterator[tuple[Declared | None, Finding]]:
        buckets = [it for it in resources if it.aws == _BUCKET]
        yield from each_of(buckets, lambda it: check(it, Settings(it, resources), options))

    return rule


def _private(bucket: Declared, settings: Settings, _: Options) -> Iterator[Finding]:
    blocks = [it.props for it in settings.of("BucketPublicAccessBlock")]
    blocks.append(mapping(bucket.props.get("publicAccessBlockConfiguration")))
    if not any(all(block.get(it) is True for it in _BLOCKS) for block in blocks):
        yield settings.lacking(
            "BucketPublicAccessBlock",
            f"public access is not blocked: {', '.join(_BLOCKS)} must be true",
        )
    acls = settings.of("BucketAcl")
    for declared in (bucket, *acls):
        for key in ("acl", "accessControl"):
            acl = str(declared.props.get(key) or "")
            if acl.replace("-", "").casefold() in _OPEN_ACLS:
                yield f"the ACL {acl} lets others in"
    granted = [bucket.props.get("grants"), *(it.props.get("accessControlPolicy") for it in acls)]
    for text in texts(granted):
        if isinstance(text, NotKnown):
            yield text
        elif text.endswith(_ANYBODY):
            yield f"a grant lets others in: {text}"
    for statement in _statements(bucket, settings):
        if (
            statement.get("Effect") == "Allow"
            and _is_anybody(statement)
            and not _narrows(statement)
        ):
            yield f"the policy lets anybody in: {statement.get('Sid') or 'a statement without Sid'}"


def _versioned(bucket: Declared, settings: Settings, _: Options) -> Iterator[Finding]:
    said = [
        *(
            at(it.props, "versioningConfiguration", "status")
            for it in settings.of("BucketVersioning")
        ),
        at(bucket.props, "versioningConfiguration", "status"),
        at(bucket.props, "versioning", "enabled"),
        *(it.get("enabled") for it in mappings(bucket.props.get("versionings"))),
    ]
    if not any(it is True or it == "Enabled" for it in said):
        yield settings.lacking(
            "BucketVersioning", "no versioning: what is replaced or deleted is gone"
        )


def _encrypted(bucket: Declared, settings: Settings, options: Options) -> Iterator[Finding]:
    allowed = options.get("algorithms", ["aws:kms", "aws:kms:dsse", "AES256"])
    sources = [bucket, *settings.of("BucketServerSideEncryptionConfiguration")]
    said = [value for it in sources for key, value in members(it.props) if key in _ENCRYPTION]
    algorithms = [*_values(said, "sseAlgorithm")]
    if not algorithms:
        yield settings.lacking(
            "BucketServerSideEncryptionConfiguration", "it says not how objects are encrypted"
        )
    for algorithm in algorithms:
        if isinstance(algorithm, NotKnown):
            yield algorithm
        elif algorithm not in allowed:
            yield f"objects are encrypted by {algorithm}; allowed are {', '.join(allowed)}"


def _tls_only(bucket: Declared, settings: Settings, _: Options) -> Iterator[Finding]:
    name = bucket.props.get("bucket") or bucket.props.get("bucketName") or bucket.props.get("id")
    if not any(_denies_plain(it, str(name or "*")) for it in _statements(bucket, settings)):
        yield settings.lacking(
            "BucketPolicy",
            "its policy lets requests in that do not use TLS: no Deny of s3:* on the bucket and "
            "its objects where aws:SecureTransport is false",
        )


def _denies_plain(statement: Properties, bucket: str) -> bool:
    conditions = {
        str(operator).casefold(): {
            str(key).casefold(): [str(it).casefold() for it in _listed(value)]
            for key, value in mapping(keys).items()
        }
        for operator, keys in mapping(statement.get("Condition")).items()
    }
    resources = {str(it).rpartition(":::")[2] for it in _listed(statement.get("Resource"))}
    return (
        statement.get("Effect") == "Deny"
        and _is_anybody(statement)
        and any(str(it).casefold() in ("*", "s3:*") for it in _listed(statement.get("Action")))
        and ("*" in resources or {bucket, f"{bucket}/*"} <= resources)
        and conditions == {"bool": {"aws:securetransport": ["false"]}}
    )


def _is_anybody(statement: Properties) -> bool:
    if "NotPrincipal" in statement:
        return statement.get("Effect") == "Allow"
    principal = statement.get("Principal")
    return "*" in _listed(principal) or "*" in _listed(mapping(principal).get("AWS"))


def _narrows(statement: Properties) -> bool:
    """Whether a condition lets in only some: one that S3 too takes for that."""
    return any(
        str(key).casefold() in _NARROWING and "*" not in _listed(value)
        for operator, keys in mapping(statement.get("Condition")).items()
        if "not" not in str(operator).casefold() and "ifexists" not in str(operator).casefold()
        for key, value in mapping(keys).items()
    )


def _statements(bucket: Declared, settings: Settings) -> list[Properties]:
    """Returns the statements of a bucket's policies.

    Raises:
        ValueError: a policy is no JSON.
    """
    policies = [
        it.props.get("policy", it.props.get("policyDocument")) for it in settings.of("BucketPolicy")
    ]
    policies.append(bucket.props.get("policy"))
    found: list[Properties] = []
    for policy in policies:
        if not policy:
            continue
        try:
            document: Any = json.loads(policy) if isinstance(policy, str) else policy
        except ValueError as error:
            raise ValueError(f"the policy of {bucket.name} is no JSON") from error
        statements = mapping(document).get("Statement")
        found += mappings(statements) or ([mapping(statements)] if mapping(statements) else [])
    return found


def _values(value: Any, key: str) -> Iterator[Any]:
    """Yields what stands under a key, wherever in a value."""
    if isinstance(value, NotKnown):
        yield value
        return
    for name, inner in members(value):
        yield from (inner,) if name == key else _values(inner, key)


def _listed(value: Any) -> Sequence[Any]:
    return sequence(value) or ([] if value is None or isinstance(value, Mapping) else [value])


def _protected(declared: Declared, _: Options) -> Iterator[Finding]:
    if declared.aws != _BUCKET:
        return
    if not declared.is_protected:
        yield "it is not protected: Pulumi would delete it"
    if declared.props.get("forceDestroy") is True:
        yield "forceDestroy deletes all that lies in it"


POLICIES = [
    stack_policy(
        _TOPIC,
        _rule(_private),
        name="bucket-private",
        title="Private buckets",
        description="No bucket should be open to others.",
        severity=Severity.CRITICAL,
        remediation="Give the bucket a BucketPublicAccessBlock with all four settings true, no "
        "public ACL, and no policy that allows everybody.",
    ),
    stack_policy(
        _TOPIC,
        _rule(_versioned),
        name="bucket-versioned",
        title="Versioned buckets",
        description="Every bucket should keep what is replaced or deleted.",
        severity=Severity.HIGH,
        remediation="Give the bucket a BucketVersioning whose status is Enabled.",
    ),
    stack_policy(
        _TOPIC,
        _rule(_encrypted),
        name="bucket-encrypted",
        title="Encrypted buckets",
        description="Every bucket should say how its objects are encrypted.",
        severity=Severity.HIGH,
        remediation="Give the bucket a BucketServerSideEncryptionConfiguration.",
        options={
            "algorithms": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["aws:kms", "aws:kms:dsse", "AES256"],
                "description": "allowed values of sseAlgorithm",
            }
        },
    ),
    stack_policy(
        _TOPIC,
        _rule(_tls_only),
        name="bucket-tls-only",
        title="Buckets by TLS only",
        description="Every bucket should refuse requests that do not use TLS.",
        severity=Severity.HIGH,
        remediation="Deny s3:* to everybody on the bucket and its objects where "
        "aws:SecureTransport is false, in a BucketPolicy.",
    ),
    resource_policy(
        _TOPIC,
        _protected,
        name="bucket-protected",
        title="Protected buckets",
        description="Every bucket should be protected from deletion.",
        severity=Severity.HIGH,
        remediation="Set protect in the bucket's resource options, and leave forceDestroy out.",
    ),
]
