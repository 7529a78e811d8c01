# pyright: basic
from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from models.metric_sources import METRIC_SOURCES
from models.metric_sources.batch import Batch
from tests.components.promtool import check_expressions

TEMPLATE = 'up{service="$service",version="$version",le=~"$edge([.]0)?"}'
HOSTILE = [
    'a"} or vector(1) or up{x="',
    "a|.*",
    "a\\",
    "a\n}",
    "(",
    "[",
    ".+",
    "$version",
    "${x}",
    "a b#",
    "é\u2028\x00",
    "'`",
]


def batch(*services: str) -> Batch:
    names = {(it, "1"): {"service": it, "version": "1.4.0", "edge": "250"} for it in services}
    return Batch(TEMPLATE, names)


def series(service: str, version: str = "1.4.0", le: str = "250.0") -> dict[str, str]:
    return {"service": service, "version": version, "le": le}


def test_one_query_selects_all_of_them():
    query = batch("fraud", "churn").query
    wanted = r'up{service=~"churn|fraud",version=~"1\\.4\\.0",le=~"250([.]0)?"}'
    assert query == wanted


def test_answers_are_told_apart_and_strangers_left_out():
    both = batch("fraud", "churn")
    assert both.owners(series("churn")) == [("churn", "1")]
    assert both.owners(series("fraud", le="250")) == [("fraud", "1")]
    assert not both.owners(series("fraud", version="1x4.0"))
    assert not both.owners(series("fraud", le="2500"))
    assert not both.owners(series("other"))
    assert not both.owners({})


def test_hostile_names_stay_names(tmp_path: Path):
    every = batch("fraud", *HOSTILE)
    for name in HOSTILE:
        assert every.owners(series(name)) == [(name, "1")]
    assert not every.owners(series("ab"))
    check_expressions([batch(it).query for it in HOSTILE] + [every.query], tmp_path)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_name_ends_where_its_string_ends(name: str):
    query = batch(name).query
    head, tail = 'up{service=~"', '",version=~"1\\\\.4\\\\.0",le=~"250([.]0)?"}'
    assert query.startswith(head)
    assert query.endswith(tail)
    inner = query[len(head) : -len(tail)]
    assert '"' not in inner.replace("\\\\", "").replace('\\"', "")
    assert "\n" not in inner


def test_copies_are_counted_where_either_target_counts_them():
    copies = METRIC_SOURCES["mlflow"].batch("mirrored_routed", "models", {("fraud", "1.5.0"): 250})
    for name in (
        "mirror/models/fraud-v1-5-0-predictor/80/http",
        "httproute/models/fraud/rule/2-mirror-0",
        "httproute/models/fraud/rule/0-mirror-1/backend/0",
    ):
        assert copies.owners({"envoy_cluster_name": name}) == [("fraud", "1.5.0")]
    for name in (
        "service/models/fraud-v1-5-0-predictor/80/http",
        "httproute/models/fraud-b/rule/2-mirror-0",
        "httproute/models/fraud/rule/2",
        "mirror/models/fraud-v1-4-0-predictor/80/http",
    ):
        assert not copies.owners({"envoy_cluster_name": name})
