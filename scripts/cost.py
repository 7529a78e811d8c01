"""`modelramp cost`: what a stack costs a month."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from local.home import Home
from models.prices import Prices, load_prices
from models.stack import load_stack
from review.amounts import Range, counted, written
from review.cost import StackCost, stack_cost
from rollout.stack_file import stack_path
from scripts.screen import CONSOLE

OVER_BUDGET = 14
NOBODY_KNOWS = 15
OLD_AFTER_DAYS = 180


def cost(
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    dollar: Annotated[
        float | None,
        typer.Option(
            min=0.0001, help="What a dollar costs, where the stack's currency is another."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    detailed: Annotated[
        bool,
        typer.Option("--detailed-exitcode", help="Tell by the exit code whether the budget holds."),
    ] = False,
) -> None:
    """Show what a stack costs a month: least, expected and most, by GPU pool and by service.

    Expected is what the declared versions have now: candidate, shadow and previous count with the
    pods they have; docs/cost.md says how each number is derived. A price that is not known is shown
    as unknown, never as zero. Prices are those of models/prices/gpu.yaml; `modelramp prices` tells
    their dates and fetches newer ones.

    Exit code 0. With --detailed-exitcode: 0 within the budget or no budget is declared, 14 what is
    expected is more, 15 nobody can say, because a price is unknown.
    """
    declared, prices = load_stack(stack_path(Home.find().root, stack)), load_prices()
    found = stack_cost(declared, prices, dollar)
    if as_json:
        typer.echo(json.dumps(_as_json(stack, found, prices), indent=2))
    else:
        CONSOLE.print(_table(stack, found))
        for line in _notes(found, prices):
            CONSOLE.print(escape(line), highlight=False)
    if detailed:
        codes = {False: 0, True: OVER_BUDGET, None: NOBODY_KNOWS}
        raise typer.Exit(codes[found.is_over_budget])


def _as_json(stack: str, found: StackCost, prices: Prices) -> dict[str, Any]:
    parts = {"pools": found.pools, "services": found.services}
    return {
        "stack": stack,
        "currency": found.currency,
        **{name: [asdict(it) for it in them] for name, them in parts.items()},
        "total": asdict(found.total),
        "known": asdict(found.known),
        "monthlyBudget": found.budget,
        "isOverBudget": found.is_over_budget,
        "prices": [it.model_dump(mode="json", by_alias=True) for it in prices.sources],
    }


def _table(stack: str, found: StackCost) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.title = f"{escape(stack)}: {found.currency} a month"
    table.add_column("", overflow="fold")
    for heading in ("GPUs", "least", "expected", "most"):
        table.add_column(heading, justify="right")
    for pool in found.pools:
        table.add_row(f"pool {pool.name} ({pool.provider})", _gpus(pool.gpus), *_row(pool.cost))
    table.add_row("[bold]all pools[/bold]", "", *_row(found.total))
    if found.total != found.known:
        table.add_row("  of it known", "", *_row(found.known))
    if found.budget is not None:
        table.add_row("budget", "", "", _budget(found), "")
    table.add_section()
    for service in found.services:
        name = service.name + (f", in {service.pool}" if service.pool else "")
        table.add_row(name, _gpus(service.gpus) if service.pool else "-", *_row(service.cost))
        roles = ", ".join(f"{role} {counted(it)}" for role, it in service.roles.items())
        if len(service.roles) > 1:
            table.add_row(f"  {roles}")
    return table


def _row(cost: Range) -> tuple[str, ...]:
    return tuple(written(it) for it in cost.amounts)


def _gpus(found: Range) -> str:
    return " / ".join("?" if it is None else counted(it) for it in found.amounts)


def _budget(found: StackCost) -> str:
    colour = {False: "green", True: "red", None: "yellow"}[found.is_over_budget]
    return f"[{colour}]{written(found.budget)}[/{colour}]"


def _notes(found: StackCost, prices: Prices) -> Iterator[str]:
    whys = [why for it in (*found.pools, *found.services) for why in it.why]
    for why in dict.fromkeys(whys):
        named = ", ".join(it.name for it in found.services if why in it.why and not it.pool)
        yield f"Unknown: {named}: {why}." if named else f"Unknown: {why}."
    if found.budget is not None:
        yield {
            False: "Within the budget.",
            True: "What is expected is more than the budget.",
            None: "Whether the budget holds, nobody can say: a price is unknown.",
        }[found.is_over_budget]
        most = found.known.most or 0.0
        if found.is_over_budget is False and most > found.budget:
            yield f"But the caps allow {written(most)}, more than the budget."
    dates = {of: prices.at(of) for of in ("onDemand", "spot")}
    said = ", ".join(f"{of} of {it or 'unknown'}" for of, it in dates.items())
    oldest = min((it for it in dates.values() if it), default=None)
    old = oldest and (datetime.now(UTC).date() - oldest).days > OLD_AFTER_DAYS
    yield f"Prices: {said}{': old; modelramp prices --refresh fetches newer ones' if old else ''}."
