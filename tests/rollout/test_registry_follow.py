# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.errors import RegistryError
from models.registry_tags import StackTag
from models.stack import Stack, parse_stack
from rollout.registry_follow import Change, Registered, changes_of
from tests.stacks import LOCAL, OTHER

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MOVED = datetime(2026, 11, 23, 9, tzinfo=UTC)
ALIASES = LOCAL.replace("gateway/models}", "gateway/models, registryAliases: true}")


def tag(role: str, percent: int, since: datetime = NOW) -> str:
    return StackTag.model_validate(
        {"role": role, "percent": percent, "since": since}
    ).model_dump_json()


def changes(
    text: str,
    tags: dict[str, dict[str, str]],
    aliases: dict[str, str] | None = None,
    named: set[str] | None = None,
    now: datetime = NOW,
) -> list[Change]:
    registered = Registered("fraud", tags, aliases or {})
    stack: Stack = parse_stack(text, "x")
    return [*changes_of(registered, "prod", stack, named or set(), now)]


NAME = "modelramp.stack.prod"
AS_DECLARED = {
    "14": {NAME: tag("stable", 95)},
    "15": {NAME: tag("candidate", 5, MOVED)},
}


def test_each_declared_version_is_tagged_with_its_role_and_share():
    assert changes(LOCAL, {"13": {}, "14": {}, "15": {}}) == [
        Change("fraud", "14", NAME, tag("stable", 95)),
        Change("fraud", "15", NAME, tag("candidate", 5, MOVED)),
    ]


def test_a_second_time_there_is_nothing_to_do_however_late():
    assert changes(LOCAL, AS_DECLARED, now=NOW + timedelta(days=90)) == []
    aliases = {"champion": "14", "challenger": "15"}
    assert changes(ALIASES, AS_DECLARED, aliases) == []


def test_what_people_wrote_into_a_tag_is_written_anew():
    (change,) = changes(LOCAL, AS_DECLARED | {"14": {NAME: '{"role": "boss"}'}})
    assert change.value == tag("stable", 95)


def test_aliases_follow_only_where_the_stack_says_so():
    others = {"champion": "13", "mine": "12"}
    assert changes(LOCAL, AS_DECLARED, others) == []
    assert changes(ALIASES, AS_DECLARED, others) == [
        Change("fraud", "14", "champion", "set", is_alias=True),
        Change("fraud", "15", "challenger", "set", is_alias=True),
    ]


def test_a_candidate_that_was_taken_back_is_no_challenger():
    text = ALIASES.replace("percent: 5,", "percent: 0,").replace(
        "        moves:",
        f'        rejected: [{{digest: "{OTHER}", at: "2026-11-23T09:00:00Z", why: x}}]\n'
        "        moves:",
    )
    found = changes(text, AS_DECLARED, {"champion": "14", "challenger": "15"})
    assert Change("fraud", "15", "challenger", None, is_alias=True) in found
    assert Change("fraud", "15", NAME, tag("rejected", 0, MOVED)) in found


def test_two_services_of_one_model_have_no_one_champion():
    entry = '{uri: "s3://m/c", digest: "%s", registry: "models:/fraud/13"}' % OTHER  # noqa: UP031
    text = ALIASES.replace("    churn:\n", f'    churn:\n      versions: {{"1.0.0": {entry}}}\n')
    with pytest.raises(RegistryError, match="2 services"):
        changes(text, AS_DECLARED)


GONE = {"13": {NAME: tag("none", 0, NOW)}}
LATER = NOW + timedelta(days=31)


def test_a_version_that_is_declared_no_more_is_archived_after_its_retention():
    was = {"13": {NAME: tag("stable", 100)}}
    assert changes(LOCAL, AS_DECLARED | was) == [Change("fraud", "13", NAME, tag("none", 0))]
    assert changes(LOCAL, AS_DECLARED | GONE, now=NOW + timedelta(days=29)) == []
    aliases = {"champion": "13"}
    assert changes(LOCAL, AS_DECLARED | GONE, aliases, now=LATER) == [
        Change("fraud", "13", "modelramp.archived", "2026-12-24T12:00:00+00:00"),
        Change("fraud", "13", "champion", None, is_alias=True),
    ]


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({}, set()),  # was never declared
        (GONE["13"], {"models:/fraud/13"}),  # another stack declares it
        (GONE["13"] | {"modelramp.stack.dev": tag("stable", 100)}, set()),  # dev has yet to follow
        (GONE["13"] | {"modelramp.stack.dev": "?"}, set()),  # nobody knows
        (GONE["13"] | {"modelramp.stack.dev": tag("none", 0, LATER)}, set()),  # too soon
        (GONE["13"] | {"modelramp.archived": "before"}, set()),  # is already
    ],
)
def test_nothing_else_is_archived(tags: dict[str, str], named: set[str]):
    assert changes(LOCAL, AS_DECLARED | {"13": tags}, named=named, now=LATER) == []


def test_a_version_that_is_declared_again_is_archived_no_more():
    back = {"14": {NAME: tag("stable", 95), "modelramp.archived": "before"}}
    assert changes(LOCAL, AS_DECLARED | back) == [Change("fraud", "14", "modelramp.archived", None)]
