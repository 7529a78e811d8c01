# pyright: basic
from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from review.preview import read_preview
from review.secrecy import without_codes, without_secrets
from tests.review.previews import RECORDED, recorded


def test_what_stays_as_it_is_is_no_step():
    found = recorded("dropped")
    assert {it.op for it in found.steps} == {"update", "delete"}
    assert [it.name for it in found.same if it.kind == "HTTPRoute"] == []
    assert found.counts == {"delete": 2, "same": 11, "update": 6}
    assert found.violations is None


def test_a_type_and_a_name_are_those_of_the_urn():
    (route, *_) = [it for it in recorded("update").steps if it.kind == "HTTPRoute"]
    assert route.type == "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
    assert (route.name, route.custom) == ("fraud-route", True)
    assert route.parent.endswith("modelramp:index:ModelService::fraud")


def test_a_mandatory_violation_is_in_the_event_log_alone():
    silent = recorded("mandatory")
    assert (silent.errors, silent.violations) == (("preview failed",), None)
    told = recorded("mandatory", events=True).violations
    assert told
    (first_step,) = [it for it in told if it.policy == "high-risk-first-step"]
    assert first_step.is_mandatory
    assert first_step.severity == "high"
    assert first_step.resource == "HTTPRoute fraud-route"
    # Without the rule's description.
    assert first_step.message == (
        "fraud is of high risk and 1.5.0 began with 10% of traffic; at most 5% is allowed"
    )


@pytest.mark.parametrize("text", ["[]", "{}", '{"steps": [{"op": "same"}]}', "Previewing..."])
def test_what_is_no_preview_is_said(tmp_path: Path, text: str):
    path = tmp_path / "preview.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not what `pulumi preview --json` prints"):
        read_preview(path)
    with pytest.raises(ConfigError, match=r"none\.json"):
        read_preview(tmp_path / "none.json")


def test_a_cli_that_ended_before_it_began_has_failed(tmp_path: Path):
    path = tmp_path / "preview.json"
    path.write_text("\n")
    found = read_preview(path, tmp_path / "never written")
    assert found.has_failed
    assert found.errors == ("pulumi printed nothing: its log says why",)
    assert found.violations is None


@pytest.mark.parametrize("text", ["no json", '{"policyEvent": {}}'])
def test_what_is_no_event_log_is_said(tmp_path: Path, text: str):
    path = tmp_path / "events"
    path.write_text(text)
    with pytest.raises(ConfigError, match="event-log"):
        read_preview(RECORDED / "same.json", path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=hunter2 and on", "password=[secret] and on"),
        ('{"token": "a b", "x": 1}', '{"token": [secret], "x": 1}'),
        ("DB_PASSWORD: 'a b'; c", "DB_PASSWORD: [secret]; c"),
        ("postgres://ann:pw@host/db", "postgres://[secret]@host/db"),
        ("Authorization: Bearer abc.def-123==", "Authorization: Bearer [secret]"),
        (f"is ghp_{'a' * 36} here", "is [secret] here"),
        ("AKIAIOSFODNN7EXAMPLE", "[secret]"),
        (
            "https://hooks.slack.com/services/T0/B0/x y",
            "https://hooks.slack.com/services/[secret] y",
        ),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----.", "[secret]."),
        ("monkeys: 3, https://host/path", "monkeys: 3, https://host/path"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, shown: str):
    assert without_secrets(text) == shown


def test_terminal_codes_go():
    coloured = "\x1b[1;31merror\x1b[0m\x1b]8;;http://x\x07link\x1b]8;;\x07\x07\x00\r\nnext\ttab"
    assert without_codes(coloured) == "errorlink\nnext\ttab"
