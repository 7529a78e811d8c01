"""Prices of GPU instances as AWS's own APIs tell them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from models.errors import ConfigError, Problem
from models.gpu_instances import GPUS
from models.prices import Prices

PRICE_LIST_REGION: Final = "us-east-1"
"""One of the few that serve the price list, which is of all regions."""

_NETWORK = Config(
    connect_timeout=10, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"}
)
_LINUX = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "locationType": "AWS Region",
}


def refresh(path: Path, spot_regions: Iterable[str]) -> None:
    """Writes a file of prices anew, whole or not at all; its cards and comments stay.

    Prices on demand are those of all regions. Spot prices are means over the zones of these
    regions; elsewhere spot becomes unknown, as it would be older than the file says.

    Args:
        path: of the file.
        spot_regions: where to ask for spot prices.

    Raises:
        ConfigError: AWS refuses, or answers with what cannot be read.
    """
    now = datetime.now(UTC)
    try:
        instances, published = _on_demand()
        spot = {it: _spot(it, [*instances], now) for it in sorted(set(spot_regions))}
    except (BotoCoreError, ClientError) as error:
        raise ConfigError([Problem("AWS", f"gave no prices: {error}")]) from error
    except (KeyError, ValueError) as error:
        what = f"gave prices that cannot be read: {error!r}"
        raise ConfigError([Problem("AWS", what)]) from error
    for region, found in spot.items():
        for instance_type, price in found.items():
            if region in instances[instance_type]["regions"]:
                instances[instance_type]["regions"][region]["spot"] = price
    text = _written(path.read_text(encoding="utf-8"), instances, _sources(published, spot, now))
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _on_demand() -> tuple[dict[str, dict[str, Any]], date]:
    """Returns the instances that have a price, and the day of the oldest list."""
    client: Any = boto3.client("pricing", region_name=PRICE_LIST_REGION, config=_NETWORK)
    instances: dict[str, dict[str, Any]] = {}
    published: list[str] = []
    for family, sizes in GPUS.items():
        for size, gpus in sizes.items():
            regions: dict[str, dict[str, float]] = {}
            for product in _products(client, f"{family}.{size}"):
                about, price = product["product"]["attributes"], _hourly(product["terms"])
                if price is None:
                    continue
                regions[about["regionCode"]] = {"onDemand": price}
                published.append(product["publicationDate"])
                memory = float(about["memory"].removesuffix(" GiB").replace(",", ""))
                instances[f"{family}.{size}"] = {
                    "gpus": gpus,
                    "vcpus": int(about["vcpu"]),
                    "memoryGib": int(memory) if memory.is_integer() else memory,
                    "regions": regions,
                }
    if not instances:
        raise ValueError("no instance type has a price")
    return instances, date.fromisoformat(min(published)[:10])


def _products(client: Any, instance_type: str) -> Iterable[dict[str, Any]]:
    wanted = {"instanceType": instance_type, **_LINUX}
    filters = [{"Type": "TERM_MATCH", "Field": key, "Value": it} for key, it in wanted.items()]
    pages = client.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=filters)
    return (json.loads(it) for page in pages for it in page["PriceList"])


def _hourly(terms: Mapping[str, Any]) -> float | None:
    """Returns dollars an hour on demand; None where a product has no such price."""
    for term in terms.get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if dimension["unit"] == "Hrs" and price > 0:
                return price
    return None


def _spot(region: str, types: Sequence[str], now: datetime) -> dict[str, float]:
    """Returns the spot prices of a region now, means over its zones."""
    client: Any = boto3.client("ec2", region_name=region, config=_NETWORK)
    pages = client.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=[*types], ProductDescriptions=["Linux/UNIX"], StartTime=now
    )
    newest: dict[str, dict[str, tuple[datetime, float]]] = defaultdict(dict)
    for it in (it for page in pages for it in page["SpotPriceHistory"]):
        found = it["Timestamp"], float(it["SpotPrice"])
        zones = newest[it["InstanceType"]]
        zones[it["AvailabilityZone"]] = max(found, zones.get(it["AvailabilityZone"], found))
    return {
        instance_type: round(fmean(price for _, price in zones.values()), 4)
        for instance_type, zones in newest.items()
    }


def _sources(published: date, spot: Mapping[str, object], now: datetime) -> list[dict[str, Any]]:
    on_demand = {"at": published, "of": "onDemand", "what": "AWS's price list, by GetProducts"}
    if not spot:
        return [on_demand]
    what = f"DescribeSpotPriceHistory, means over the zones of {', '.join(spot)}"
    return [on_demand, {"at": now.date(), "of": "spot", "what": what}]


def _written(
    text: str, instances: Mapping[str, dict[str, Any]], sources: list[dict[str, Any]]
) -> str:
    """Returns the text of a file with other instances and sources; names of GPUs stay too."""
    yaml = YAML(typ="rt")
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    named = {it: found["gpu"] for it, found in document["instances"].items() if "gpu" in found}
    document["sources"] = [*sources, *(it for it in document["sources"] if it["of"] == "cards")]
    document["instances"] = {
        instance_type: {
            **({"gpu": named[instance_type]} if instance_type in named else {}),
            **found,
            "regions": {it: _in_a_line(found["regions"][it]) for it in sorted(found["regions"])},
        }
        for instance_type, found in instances.items()
    }
    written = StringIO()
    yaml.dump(document, written)
    loaded = YAML(typ="safe").load(written.getvalue())
    try:
        Prices.model_validate(loaded, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ConfigError([Problem("AWS", f"gave prices that are none: {error}")]) from None
    return written.getvalue()


def _in_a_line(prices: Mapping[str, float]) -> CommentedMap:
    found = CommentedMap(prices)
    found.fa.set_flow_style()
    return found
