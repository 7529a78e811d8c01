"""`modelramp break-even`: hardware of one's own against the cloud."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import Annotated

import typer
from pydantic.alias_generators import to_camel
from rich.table import Table

from models.cost import OwnHardware
from models.errors import ConfigError, Problem
from models.prices import load_prices
from review.break_even import BreakEven, compare, months_to_pay_back
from review.pool_cost import HOURS_PER_MONTH
from scripts.screen import CONSOLE

UTILISATIONS = (1.0, 0.5, 0.25, 0.1, 0.05)


def break_even(
    against: Annotated[
        str,
        typer.Option(help="The cloud: an instance type, or dollars an hour.", metavar="TYPE|PRICE"),
    ],
    card: Annotated[
        str | None, typer.Option(help="A card of models/prices/gpu.yaml: purchase and watts.")
    ] = None,
    purchase: Annotated[
        float | None, typer.Option(min=0, help="Dollars: the card, or the node with all cards.")
    ] = None,
    watts: Annotated[float | None, typer.Option(min=0, help="Drawn under load.")] = None,
    electricity: Annotated[float, typer.Option(min=0, help="Dollars a kilowatt-hour.")] = 0.0,
    operations: Annotated[
        float, typer.Option(min=0, help="Dollars a month: people, space, network.")
    ] = 0.0,
    lifetime_months: Annotated[
        int, typer.Option(min=1, help="After which it is worth nothing.")
    ] = 36,
    region: Annotated[str, typer.Option(help="Of the instance type.")] = "us-east-1",
    spot: Annotated[bool, typer.Option("--spot", help="Against the spot price.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say when hardware of your own is cheaper than the cloud: after how many hours of work.

    An hour of the cloud is paid only when it is used; your own is paid at once. So what decides is
    utilisation: the share of all hours in which the hardware works. Compare like with like: a node
    with eight cards against an instance with eight.

    Example: modelramp break-even --purchase 3000 --against 3.06
    Example: modelramp break-even --card "RTX 4090" --electricity 0.30 --operations 50
    --against g5.xlarge --region eu-central-1
    """
    hardware = _hardware(card, purchase, watts, electricity, operations, lifetime_months)
    price = _price(against, region, spot=spot)
    found = compare(hardware, price)
    months = {it: months_to_pay_back(hardware, price, it) for it in UTILISATIONS}
    if as_json:
        paid_back = [{"utilisation": it, "months": after} for it, after in months.items()]
        told = {to_camel(name): it for name, it in asdict(found).items()}
        typer.echo(json.dumps({**told, "paidBack": paid_back}, indent=2))
        return
    CONSOLE.print(_sentence(found, lifetime_months), highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("works of all hours", "own, a month", "cloud, a month", "paid back after"):
        table.add_column(heading, justify="right")
    for share, after in months.items():
        hours = share * HOURS_PER_MONTH
        table.add_row(
            f"{share:.0%}",
            f"{found.own_fixed + hours * found.own_hour:,.0f}",
            f"{hours * found.cloud_hour:,.0f}",
            _after(after, lifetime_months),
        )
    CONSOLE.print(table)


def _hardware(
    card: str | None,
    purchase: float | None,
    watts: float | None,
    electricity: float,
    operations: float,
    lifetime_months: int,
) -> OwnHardware:
    cards = load_prices().cards
    if card is not None and card not in cards:
        what = f"no card {card!r}; there are: {', '.join(cards)}"
        raise ConfigError([Problem("--card", what)])
    if card is not None:
        purchase = cards[card].purchase if purchase is None else purchase
        watts = cards[card].watts if watts is None else watts
    if purchase is None:
        raise ConfigError([Problem("--purchase", "is needed, or a --card")])
    return OwnHardware(
        nodes=1,
        purchase=purchase,
        lifetime_months=lifetime_months,
        power_watts=watts or 0.0,
        electricity_per_kwh=electricity,
        operations_per_month=operations,
    )


def _price(against: str, region: str, *, spot: bool) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", against):
        return float(against)
    hourly = load_prices().hourly(against, region)
    price = hourly.spot if spot else hourly.on_demand
    if price is None:
        kind = "as spot" if spot else "on demand"
        what = f"{against} has no known price {kind} in {region}; give dollars an hour instead"
        raise ConfigError([Problem("--against", what)])
    return price


def _sentence(found: BreakEven, lifetime_months: int) -> str:
    if found.hours is None:
        return (
            f"Never: an hour of your own costs {found.own_hour:.2f} of power alone, one of the "
            f"cloud {found.cloud_hour:.2f}."
        )
    paid = f"The purchase is paid back after {found.hours:,.0f} hours of work"
    days = f"{found.hours / 24:,.0f} days without a pause"
    share = found.utilisation or 0.0
    if found.is_never:
        return (
            f"{paid}, {days}; but over {lifetime_months} months, with operations, the cloud is "
            "cheaper even so."
        )
    return (
        f"{paid}, {days}. Over {lifetime_months} months, with operations, your own is cheaper if "
        f"it works more than {share:.1%} of all hours."
    )


def _after(months: float | None, lifetime_months: int) -> str:
    if months is None:
        return "never"
    late = ": after its lifetime" if months > lifetime_months else ""
    return f"{months:.1f} months{late}"
