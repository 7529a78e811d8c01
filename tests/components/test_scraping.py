# pyright: basic
from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pulumi.errors import InputPropertiesError

from components.from_stack.alerts import scraping_args
from components.scraping import Scraping
from tests.components.promtool import promtool
from tests.components.watched import FRAUD, STACK

ARGS = scraping_args(FRAUD, STACK.cluster)
PLAIN = scraping_args(FRAUD, STACK.cluster, operator=False)


def test_a_pod_monitor_where_the_operator_is(registered, golden):
    golden("scraping-operator", registered(lambda: Scraping("fraud", ARGS)))


def test_a_file_for_prometheus_where_it_is_not(registered, golden):
    golden("scraping-plain", registered(lambda: Scraping("fraud", PLAIN)))


@pytest.mark.parametrize(
    ("address", "scraped"),
    [
        ("10.244.0.7", "10.244.0.7:8002"),
        ("10.244.0.7:8080", "10.244.0.7:8002"),
        ("[fd00::7]:8080", "[fd00::7]:8002"),
    ],
)
def test_the_port_of_metrics_is_scraped_whichever_one_is_declared(registered, address, scraped):
    port: Any = 8002.0  # as the component host gives it
    made = registered(lambda: Scraping("fraud", {**ARGS, "port": port}))
    (endpoint,) = made["fraud-pods"]["inputs"]["spec"]["podMetricsEndpoints"]
    _, rewrite = endpoint["relabelings"]
    replaced = re.sub(
        f"^(?:{rewrite['regex']})$", rewrite["replacement"].replace("$1", r"\1"), address
    )
    assert replaced == scraped


def test_all_wrong_arguments_are_named(registered):
    with pytest.raises(InputPropertiesError) as caught:
        registered(lambda: Scraping("fraud", {**ARGS, "port": 0, "path": "metrics"}))
    assert caught.value.errors is not None
    assert [error["property_path"] for error in caught.value.errors] == ["port", "path"]


@pytest.mark.embedded
def test_prometheus_takes_the_file(registered, tmp_path):
    made = registered(lambda: Scraping("fraud", PLAIN))
    data = made["fraud-scrape-config"]["inputs"]["data"]
    for file, text in data.items():
        (tmp_path / file).write_text(text)
    main = {"scrape_config_files": list(data)}
    (tmp_path / "prometheus.json").write_text(json.dumps(main))
    promtool("check", "config", "prometheus.json", folder=tmp_path)
