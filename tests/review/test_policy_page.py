# pyright: basic
from __future__ import annotations

from pathlib import Path

from review.policy_page import remedies

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"


def test_every_policy_says_what_to_do():
    headings = [it[4:] for it in PAGE.read_text().splitlines() if it.startswith("### ")]
    found = remedies(PAGE)
    assert len(headings) > 20
    assert [*found] == headings
    assert all(it.endswith(".") for it in found.values())


def test_a_policy_without_a_remedy_takes_none_of_the_next(tmp_path: Path):
    page = tmp_path / "policies.md"
    page.write_text("### one\n\nIt is so.\n\n### two\n\nRemedy: Do that.\nRemedy: Not that.\n")
    assert remedies(page) == {"two": "Do that."}
    assert remedies(tmp_path / "none.md") == {}
