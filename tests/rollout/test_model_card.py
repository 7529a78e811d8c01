# pyright: basic
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from markdown_it import MarkdownIt

from models.offline_evidence import Evaluation, Fairness, LoadTest
from models.registry_tags import RegistryTags
from models.service import Service
from models.stack import parse_stack
from rollout.model_card import Known, render
from rollout.registry_evidence import Logged, Missing
from tests.stacks import DIGEST, LOCAL, OTHER

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CARD = """\
      card:
        purpose: holds payments back
        data: two years of payments
        limits: not for business customers
        contact: us@example.com
        links: {paper: "https://example.com/a)b"}
      gates: {fairness: [{metric: gap, max: 0.1}]}
"""
TAGS = RegistryTags(
    version="1.5.0",
    digest=OTHER,
    git_commit="c" * 40,
    data_hash=DIGEST,
    metrics_run="run1",
    reference_profile=True,
    owner="payments-ml",
)
VALUES = {"accuracy": {"better": "higher", "values": [1, 0, 1, 1]}}
LOGGED = Logged(
    Evaluation.model_validate(
        {"digest": OTHER, "dataHash": DIGEST, "ids": ["a", "b", "c", "d"], "metrics": VALUES}
    ),
    LoadTest.model_validate(
        {"digest": OTHER, "requests": 5000, "failed": 1, "p99Ms": 40, "requestsPerSecond": 90}
    ),
    Fairness.model_validate({"digest": OTHER, "dataHash": DIGEST, "metrics": {"gap": 0.05}}),
)
KNOWN = Known(TAGS, {"auc": 0.91}, LOGGED)
LINE = {
    "at": "2026-11-23T08:00:00+00:00",
    "candidate": "1.5.0",
    "digest": OTHER,
    "verdict": "deploy",
    "from": 0,
    "to": 1,
    "by": "me",
    "reason": "new",
}


def service(card: str = CARD, signature: str = "") -> Service:
    text = LOCAL.replace("      risk: high\n", f"      risk: high\n{card}")
    text = text.replace('registry: "models:/fraud/15"', f'registry: "models:/fraud/15"{signature}')
    return parse_stack(text, "x").services["fraud"]


def card_of(**changed: Any) -> str:
    given: dict[str, Any] = {
        "name": "fraud",
        "service": service(signature=', inputs: {"a|b": double}'),
        "version": "1.5.0",
        "stack": "prod",
        "known": KNOWN,
        "log": [LINE, {**LINE, "candidate": "1.4.0", "digest": DIGEST, "reason": "another"}],
        "now": NOW,
    }
    return render(**(given | changed))


def tokens(markdown: str) -> list[Any]:
    found: list[Any] = []
    for block in MarkdownIt("commonmark").enable("table").parse(markdown):
        found += [block, *(block.children or ())]
    return found


def texts(markdown: str) -> list[str]:
    """What a reader sees, block by block."""
    blocks = MarkdownIt("commonmark").enable("table").parse(markdown)
    return ["".join(it.content for it in block.children) for block in blocks if block.children]


def test_everything_that_is_known_is_on_the_card():
    seen = texts(card_of())
    for what in (
        "fraud 1.5.0",
        "holds payments back",
        "two years of payments",
        "not for business customers",
        "us@example.com",
        "prod: candidate, 5% of the traffic",
        OTHER,
        "models:/fraud/15",
        "run1",
        "c" * 40,
        "0.91",
        f"accuracy: 0.75 on average of 4 examples (higher is better), data {DIGEST}",
        "Load test: p99 40 ms of 5,000 requests at 90 a second, 1 failed",
        "gap: 0.05, must be at most 0.1",
        "a|b",
        "0 to 1",
        "paper",
    ):
        assert what in seen, (what, seen)
    assert "another" not in seen


def test_a_link_leads_where_it_says():
    (link,) = [it for it in tokens(card_of()) if it.type == "link_open"]
    assert link.attrs["href"] == "https://example.com/a)b"


HOSTILE = "<script>x</script> | `a` **b** [c](http://d) ![e](f)\n\n# heading\n- item"


def test_what_people_wrote_is_text_and_never_markup():
    card = CARD.replace("holds payments back", repr_yaml(HOSTILE))
    known = Known(TAGS, {HOSTILE: 1.0}, LOGGED)
    plain, hostile = (
        card_of(),
        card_of(
            service=service(card, signature=f", inputs: {{{repr_yaml(HOSTILE)}: double}}"),
            known=known,
            log=[{**LINE, "reason": HOSTILE}],
        ),
    )
    kinds = [it.type for it in tokens(hostile)]
    assert not [it for it in kinds if it.startswith("html")]
    for kind in ("heading_open", "table_open", "tr_open", "td_open", "link_open", "strong_open"):
        assert kinds.count(kind) == [it.type for it in tokens(plain)].count(kind), kind
    assert texts(hostile).count(" ".join(HOSTILE.split())) == 3


@pytest.mark.parametrize(
    "text", ["1. x", "2) x", "- x", "+ x", "# x", "===", "---", "> x", "    x"]
)
def test_no_line_begins_a_list_or_a_heading(text: str):
    card = card_of(service=service(CARD.replace("holds payments back", repr_yaml(text))))
    assert text.strip() in texts(card)


def repr_yaml(text: str) -> str:
    return '"' + text.replace("\n", "\\n").replace('"', '\\"') + '"'


def test_a_registry_that_is_down_leaves_the_rest():
    seen = texts(card_of(known=Missing("The registry has told nothing of it: refused")))
    assert "The registry has told nothing of it: refused" in seen
    assert seen.count("Not known.") == 2
    assert OTHER in seen


def test_a_service_without_a_card_is_told_so():
    text = card_of(service=service(card=""), log=[])
    assert "No model card is declared: services.fraud.card is missing." in texts(text)
    assert "Nothing is logged of this version on this stack." in texts(text)
