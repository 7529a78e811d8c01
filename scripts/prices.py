"""`modelramp prices`: where the prices of GPUs are from, and newer ones."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from local.home import Home
from models.errors import ConfigError
from models.prices import PRICES_FILE, load_prices
from models.stack import load_stack
from rollout.stack_file import stack_path
from scripts.screen import CONSOLE, working


def prices(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Fetch them from AWS, and write the file.")
    ] = False,
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="Where to fetch spot prices, once or more; where the stacks are, if not given."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where the prices of GPUs are from, and of which day; fetch newer ones with --refresh.

    They are in models/prices/gpu.yaml, which git keeps: commit what --refresh wrote. It asks AWS's
    price list for prices on demand, of all regions, and EC2 for the spot prices of today, and
    needs credentials that may do pricing:GetProducts and ec2:DescribeSpotPriceHistory. Spot prices
    of regions that were not asked for become unknown. Prices of cards are edited by hand.

    Example: modelramp prices --refresh --region eu-central-1
    """
    if refresh:
        # Its client takes long to import.
        from review.price_refresh import refresh as fetch  # noqa: PLC0415

        with working("Asking AWS for prices"):
            fetch(PRICES_FILE, region or _regions())
        load_prices.cache_clear()
    found = load_prices()
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json", by_alias=True), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("prices", "of", "source"):
        table.add_column(heading, overflow="fold")
    for it in found.sources:
        table.add_row(it.of, str(it.at), escape(it.what))
    CONSOLE.print(table)
    regions = {name for it in found.instances.values() for name in it.regions}
    kinds = f"{len(found.instances)} instance types in {len(regions)} regions"
    CONSOLE.print(f"{kinds}, {len(found.cards)} cards: {PRICES_FILE}", highlight=False)


def _regions() -> list[str]:
    """Returns the regions of all stacks that can be read."""
    found: set[str] = set()
    for file in stack_path(Home.find().root, "any").parent.glob("Pulumi.*.yaml"):
        try:
            aws = load_stack(file).aws
        except ConfigError:
            continue  # modelramp validate tells
        if aws:
            found.add(aws.region)
    return sorted(found)
