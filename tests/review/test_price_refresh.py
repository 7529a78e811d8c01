# pyright: basic
"""Prices from servers that speak the JSON and XML of AWS's APIs."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest

from models.errors import ConfigError
from models.prices import PRICES_FILE, load_prices
from review.price_refresh import refresh


def product(instance_type: str, region: str, dollars: str, vcpu: str = "4") -> str:
    """An item of GetProducts; each is a string of JSON."""
    dimension = {
        "unit": "Hrs",
        "description": f"${dollars} per On Demand Linux {instance_type} Instance Hour",
        "pricePerUnit": {"USD": dollars},
    }
    return json.dumps(
        {
            "product": {
                "productFamily": "Compute Instance",
                "attributes": {
                    "instanceType": instance_type,
                    "regionCode": region,
                    "vcpu": vcpu,
                    "memory": "16 GiB",
                    "gpu": "1",
                },
                "sku": "ABC",
            },
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": {"ABC.JRTC": {"priceDimensions": {"ABC.JRTC.6YS6": dimension}}},
                "Reserved": {"ABC.38NP": {"priceDimensions": {}}},
            },
            "version": "20261120",
            "publicationDate": "2026-11-20T10:00:00Z",
        }
    )


def spot_item(instance_type: str, zone: str, price: str, at: str) -> str:
    return (
        f"<item><instanceType>{instance_type}</instanceType><productDescription>Linux/UNIX"
        f"</productDescription><spotPrice>{price}</spotPrice><timestamp>{at}</timestamp>"
        f"<availabilityZone>{zone}</availabilityZone></item>"
    )


class Aws:
    """Answers GetProducts, one product a page, and DescribeSpotPriceHistory."""

    def __init__(self) -> None:
        self.products: dict[str, list[str]] = {
            "g5.xlarge": [
                product("g5.xlarge", "us-east-1", "1.0060000000"),
                # Local products of the region without a price of their own.
                product("g5.xlarge", "us-east-1", "0.0000000000"),
                product("g5.xlarge", "eu-central-1", "1.2580000000"),
            ]
        }
        self.spot: list[str] = [
            spot_item("g5.xlarge", "eu-central-1a", "0.400000", "2026-11-28T10:00:00.000Z"),
            spot_item("g5.xlarge", "eu-central-1a", "0.900000", "2026-11-28T09:00:00.000Z"),
            spot_item("g5.xlarge", "eu-central-1b", "0.500000", "2026-11-28T08:00:00.000Z"),
        ]
        self.asked: list[Any] = []
        self.failures = 0
        aws = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["content-length"])).decode()
                if aws.failures:
                    aws.failures -= 1
                    self.send_response(503)
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                if "X-Amz-Target" in self.headers:
                    body, kind = aws.get_products(json.loads(text)), "application/x-amz-json-1.1"
                else:
                    body, kind = aws.spot_history(parse_qs(text)), "text/xml"
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def get_products(self, asked: dict[str, Any]) -> str:
        self.asked.append(asked)
        filters = {it["Field"]: it["Value"] for it in asked["Filters"]}
        found = self.products.get(filters["instanceType"], [])
        start = int(asked.get("NextToken", "0"))
        answer = {"FormatVersion": "aws_v1", "PriceList": found[start : start + 1]}
        if start + 1 < len(found):
            answer["NextToken"] = str(start + 1)
        return json.dumps(answer)

    def spot_history(self, asked: dict[str, list[str]]) -> str:
        self.asked.append(asked)
        return (
            '<DescribeSpotPriceHistoryResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
            f"<spotPriceHistorySet>{''.join(self.spot)}</spotPriceHistorySet>"
            "</DescribeSpotPriceHistoryResponse>"
        )


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Generator[Aws]:
    made = Aws()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps credentials
    threading.Thread(target=made.http.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "gpu.yaml"
    made.write_text(PRICES_FILE.read_text())
    return made


def test_the_file_has_what_aws_asks_for_now(aws: Aws, path: Path):
    refresh(path, ["eu-central-1"])
    prices = load_prices(path)
    # Another file than the one that ships.
    assert [*prices.instances] == ["g5.xlarge"]
    known = prices.instances["g5.xlarge"]
    assert (known.gpu, known.gpus, known.vcpus, known.memory_gib) == ("A10G", 1, 4, 16)
    here = prices.hourly("g5.xlarge", "eu-central-1")
    # The newest of each zone, then their mean.
    assert (here.on_demand, here.spot) == (1.258, 0.45)
    there = prices.hourly("g5.xlarge", "us-east-1")
    assert (there.on_demand, there.spot) == (1.006, None)
    assert prices.at("onDemand") == date(2026, 11, 20)
    assert prices.at("spot") == datetime.now(UTC).date()
    assert prices.at("cards") == load_prices().at("cards")
    assert prices.cards == load_prices().cards
    text = path.read_text()
    assert text.startswith(PRICES_FILE.read_text().partition("\n")[0])
    assert "      eu-central-1: {onDemand: 1.258, spot: 0.45}\n" in text
    assert {it["Field"]: it["Value"] for it in aws.asked[0]["Filters"]}["tenancy"] == "Shared"
    assert aws.asked[-1]["ProductDescription.1"] == ["Linux/UNIX"]


def test_what_is_refreshed_again_stays_as_it_is(aws: Aws, path: Path):
    refresh(path, ["eu-central-1"])
    once = path.read_text()
    refresh(path, ["eu-central-1"])
    assert path.read_text() == once


def test_without_a_region_there_is_no_spot_price(aws: Aws, path: Path):
    refresh(path, [])
    assert load_prices(path).at("spot") is None
    assert load_prices(path).hourly("g5.xlarge", "eu-central-1").spot is None


def test_a_read_is_tried_again(aws: Aws, path: Path):
    aws.failures = 2
    refresh(path, [])
    assert load_prices(path).hourly("g5.xlarge", "us-east-1").on_demand == 1.006


@pytest.mark.parametrize("item", ["{}", "no json", product("g5.xlarge", "x", "dear")])
def test_what_cannot_be_read_leaves_the_file_as_it_was(aws: Aws, path: Path, item: str):
    aws.products["g5.xlarge"] = [item]
    with pytest.raises(ConfigError, match="AWS: gave prices that cannot be read"):
        refresh(path, [])
    assert path.read_text() == PRICES_FILE.read_text()


def test_nothing_at_all_is_no_answer(aws: Aws, path: Path):
    aws.products.clear()
    with pytest.raises(ConfigError, match="no instance type has a price"):
        refresh(path, [])


def test_no_credentials_are_said(aws: Aws, path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(path.parent))
    with pytest.raises(ConfigError, match="AWS: gave no prices: Unable to locate credentials"):
        refresh(path, [])
