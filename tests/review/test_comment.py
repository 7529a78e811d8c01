# pyright: basic
"""The comment as reviewers get it: golden files, limits, and names that mean harm."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from review.capacity import capacity_of
from review.comment import LIMIT_BYTES, Subject, marker, render
from review.gate import allowance, findings
from review.preview import Preview
from tests.review.previews import (
    HTTP_ROUTE,
    VERSION,
    component,
    digest,
    event,
    facts,
    made,
    recorded,
    route,
    step,
    version,
)
from tests.review.test_capacity import POOL, gpu_version
from tests.review.test_cost import EKS, PRICES, canary, service, stack

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 28, tzinfo=UTC)
REMEDIES = {
    "high-risk-first-step": "Begin with 5 percent or less.",
    "images-by-digest": "Write name@sha256:<digest>; `docker inspect` tells it, or `x`.",
}


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.md"
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        assert path.read_text() == text, "--update-golden, then read it"

    return compare


def subject(preview: Preview, *allowed: str, **more: Any) -> Subject:
    found = findings(preview, [allowance(it) for it in allowed], NOW)
    fields = {"remedies": REMEDIES, "commit": "0123456789abcdef", "run_url": "https://ci.example/1"}
    return Subject("prod", preview, found, **{**fields, **more})


@pytest.mark.parametrize(
    "name",
    ["create", "update", "revert", "promoted", "dropped", "previous-early", "replace", "same"],
)
def test_previews_of_the_real_engine(golden, name: str):
    golden(name, render(subject(recorded(name)))[0])


def test_a_delete_that_is_allowed_in_part(golden):
    golden("delete", render(subject(recorded("delete"), "fraud-*=fraud is retired, see 12"))[0])


def test_a_failure_tells_what_failed(golden):
    golden("failure", render(subject(recorded("failure")))[0])


def test_a_mandatory_policy_stops_it(golden):
    golden("policies", render(subject(recorded("mandatory", events=True)))[0])
    # Without the event log nobody can tell.
    assert "only --event-log tells" in render(subject(recorded("mandatory")))[0]


def test_gpus_and_cost(golden, tmp_path: Path):
    chat = component("chat")
    new = step("create", VERSION, "chat-2.0.0", None, gpu_version("2.0.0", 1), parent=chat)
    pool = {"maxGpus": 4, "eks": {"instanceTypes": ["g5.xlarge"], "gpusPerNode": 1, "minNodes": 0}}
    pool["eks"] |= {"spot": False, "onDemandBase": 0}
    preview = made(
        tmp_path,
        new,
        step("update", POOL, "p", pool, {"maxGpus": 6}),
        step("update", VERSION, "o-1", version("o", "1", 1), version("o", "1", 4)),
    )
    capacity = capacity_of(preview.steps, stack(EKS, service(canary(10))), PRICES)
    golden("gpus", render(subject(preview, capacity=capacity))[0])
    text = render(subject(preview, why_not="x:3: modelramp:services.chat.risk: is wrong"))[0]
    assert "GPUs and cost are unknown: x:3: modelramp:services.chat.risk: is wrong" in text


def many(tmp_path: Path, services: int) -> Preview:
    """Every service moves; a tenth of them is taken back."""
    steps: list[dict[str, Any]] = []
    for number in range(services):
        name, to = f"service-{number:03}", 0 if number % 10 == 0 else 25
        old = route(name, {"1.4.0": 90, "1.5.0": 10}, facts("1.4.0", "1.5.0", 10))
        new = route(name, {"1.4.0": 100 - to, "1.5.0": to}, facts("1.4.0", "1.5.0", to))
        diff = {f"spec.rules[0].backendRefs[{it}].weight": "update" for it in (0, 1)}
        steps.append(
            step("update", HTTP_ROUTE, f"{name}-route", old, new, diff, parent=component(name))
        )
    return made(tmp_path, *steps, same=services)


def test_300_services_have_room(golden, tmp_path: Path):
    text, is_whole = render(subject(many(tmp_path, 300)))
    golden("300-services", text)
    # Only the folded list is cut.
    assert not is_whole
    assert "more changes: in the summary of the run._" in text
    assert len(text.encode()) <= LIMIT_BYTES
    assert text.count("from 10% to") == 300


def test_what_has_no_room_is_counted(tmp_path: Path):
    preview = many(tmp_path, 800)
    text, is_whole = render(subject(preview))
    assert not is_whole
    assert len(text.encode()) <= LIMIT_BYTES
    more = re.search(r"_And (\d+) more services: in the summary of the run._", text)
    assert more
    assert int(more[1]) + text.count("+ **service-") == 800
    assert "_And 800 more changes: in the summary of the run._" in text
    assert "800 to update; 800 unchanged" in text
    assert text.count("<details>") == text.count("</details>") == 1
    whole, is_whole = render(subject(preview), 1_000_000)
    assert is_whole
    assert whole.count("from 10% to") == 800


def test_hardly_any_room_is_no_error(tmp_path: Path):
    for limit in (2000, 200):
        text, is_whole = render(subject(many(tmp_path, 300)), limit)
        assert len(text.encode()) <= limit
        assert not is_whole
        assert text.startswith(marker("prod"))


HOSTILE = (
    "@everyone <img src=x onerror=alert(1)> [a](http://evil) `c` | x | #1 **b** \x1b[31m<!-- -->"
)


def test_names_that_mean_harm_are_text(golden, tmp_path: Path):
    old = route("s", {"1": 100}, facts("1"))
    old["metadata"]["annotations"]["modelramp.dev/service"] = HOSTILE
    new = route("s", {"1": 100}, facts(HOSTILE, HOSTILE, 5))
    new["metadata"]["annotations"]["modelramp.dev/service"] = HOSTILE
    steps = [
        step("update", HTTP_ROUTE, f"{HOSTILE}-route", old, new, {f"a.{HOSTILE}": "update"}),
        step("delete", "aws:s3/bucket:Bucket", HOSTILE, {}),
    ]
    events = tmp_path / "events"
    events.write_text(event("no-" + HOSTILE, steps[0]["urn"], HOSTILE, severity=HOSTILE) + "\n")
    preview = made(tmp_path, *steps, errors=(HOSTILE,), events=events)
    text, _ = render(subject(preview, f"nobody={HOSTILE}", why_not=HOSTILE))
    golden("hostile", text)
    assert "<img" not in text
    assert "\x1b" not in text
    assert text.count("<!--") == 1
    # Nobody is mentioned and no issue referred to but in code.
    assert not re.search(r"(?<![\w`])@\w", re.sub(r"`[^`]*`", "", text))
    assert not re.search(r"(?<!\w)#\d", text)
    rows = [it for it in text.splitlines() if it.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", it)) for it in rows} == {6, 5}


def test_secrets_are_masked(tmp_path: Path):
    kind, other = "kubernetes:core/v1:Secret", "kubernetes:monitoring.coreos.com/v1:PodMonitor"
    steps = (
        step(
            "update",
            kind,
            "s",
            {"data": {"a": "b2xk"}},
            {"data": {"a": "bmV3"}},
            {"data.a": "update"},
        ),
        step(
            "update",
            other,
            "m",
            {"spec": {"password": "hunter2", "url": "http://ann:pw1@h"}},
            {"spec": {"password": "hunter3", "url": "http://ann:pw2@h"}},
            {"spec.password": "update", "spec.url": "update"},
        ),
    )
    text, _ = render(subject(made(tmp_path, *steps, errors=("token=abc",))))
    for hidden in ("b2xk", "bmV3", "hunter", "pw1", "pw2", "abc"):
        assert hidden not in text
    assert text.count(r"\[secret\]") == 5


def test_what_is_known_only_after_up_says_so(tmp_path: Path):
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    kind = "kubernetes:core/v1:ConfigMap"
    diff = {"data.a": "update", 'data["b.c"]': "add", "data.d[1].e": "delete", "data.zz": "update"}
    old = {"data": {"a": "x" * 100, "d": [0, {"e": 5}]}}
    new = {"data": {"a": unknown, "b.c": True}}
    text, _ = render(subject(made(tmp_path, step("update", kind, "m", old, new, diff))))
    assert f"data.a: {'x' * 57}... to known after up" in text
    assert 'b.c"\\]: true is new' in text
    assert "e: 5 goes" in text
    assert "data.zz: ... to ..." in text


def test_the_same_preview_in_another_order_is_the_same_comment(tmp_path: Path):
    steps = digest()["steps"]
    steps += [step("delete", "aws:kms/key:Key", name, {}) for name in ("b", "a", "c")]
    steps += [step("update", "aws:s3/bucket:Bucket", name, {}, {}) for name in ("z", "y")]
    forth = render(subject(made(tmp_path, *steps)))
    assert render(subject(made(tmp_path, *reversed(steps)))) == forth


def test_each_stack_has_a_comment_of_its_own():
    assert marker("prod") != marker("prod-eu")
    assert marker("a --> b") == "<!-- modelramp preview of a-----b -->"
