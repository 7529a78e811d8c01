"""What GPUs cost, as data: dated and sourced; what no source tells is absent, and so unknown."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from models.base import Declared
from models.errors import ConfigError, Problem

PRICES_FILE: Final = Path(__file__).with_name("gpu.yaml")
"""The file that ships; `modelramp cost --refresh` writes it."""

Dollars = Annotated[float, Field(gt=0)]
"""US dollars; nothing is free."""


class Source(Declared):
    """Where prices are from.

    Attributes:
        at: when they were so.
        of: which prices.
        what: who says so.
    """

    at: date
    of: Literal["onDemand", "spot", "cards"]
    what: str = Field(min_length=1)


class HourlyPrices(Declared):
    """What an instance costs in one region; None is unknown.

    Attributes:
        on_demand: dollars an hour, Linux, shared tenancy.
        spot: dollars an hour; it varies, and AWS never asks for more than on demand.
    """

    on_demand: Dollars | None = None
    spot: Dollars | None = None


class InstancePrices(Declared):
    """One instance type of EC2.

    Attributes:
        gpu: what its GPUs are called; AWS's price list does not tell.
        gpus: whole ones of a node.
        vcpus: of a node; None is unknown.
        memory_gib: of a node; None is unknown.
        regions: prices by region.
    """

    gpu: str | None = None
    gpus: int = Field(ge=1)
    vcpus: int | None = Field(None, ge=1)
    memory_gib: float | None = Field(None, gt=0)
    regions: dict[str, HourlyPrices]


class Card(Declared):
    """A card that one may buy.

    Attributes:
        purchase: dollars, the recommended price.
        watts: drawn under load.
    """

    purchase: Dollars
    watts: float = Field(gt=0)


class Prices(Declared):
    """All prices.

    Attributes:
        sources: of the numbers.
        instances: prices by instance type.
        cards: prices by name.
    """

    sources: tuple[Source, ...] = Field(min_length=1)
    instances: dict[str, InstancePrices]
    cards: dict[str, Card]

    def hourly(self, instance_type: str, region: str) -> HourlyPrices:
        """Returns what an instance costs in a region; what is not known is None."""
        found = self.instances.get(instance_type)
        return (found and found.regions.get(region)) or HourlyPrices.model_validate({})

    def at(self, of: Literal["onDemand", "spot", "cards"]) -> date | None:
        """Returns the date of the oldest source of some prices; None if there is none."""
        return min((it.at for it in self.sources if it.of == of), default=None)


@cache
def load_prices(path: Path = PRICES_FILE) -> Prices:
    """Reads a file of prices.

    Raises:
        ConfigError: it is missing, is no YAML, or declares something wrong.
    """
    try:
        return Prices.model_validate(YAML(typ="safe").load(path), by_alias=True, by_name=False)
    except (OSError, YAMLError) as error:
        raise ConfigError([Problem(str(path), f"is no file of prices: {error}")]) from None
    except ValidationError as error:
        problems = [
            Problem(str(path), it["msg"], ".".join(map(str, it["loc"]))) for it in error.errors()
        ]
        raise ConfigError(problems) from None
