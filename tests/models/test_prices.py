# pyright: basic
from datetime import date
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.gpu_instances import gpus_of
from models.prices import PRICES_FILE, load_prices


def test_the_file_that_ships_is_dated_and_agrees_with_the_table_of_gpus():
    prices = load_prices()
    assert prices.at("onDemand") == date(2025, 11, 30)
    assert {it.of for it in prices.sources} == {"onDemand", "spot", "cards"}
    assert prices.instances
    for name, found in prices.instances.items():
        assert found.gpus == gpus_of(name), name
        for region, hourly in found.regions.items():
            assert hourly.on_demand, (name, region)
            assert hourly.spot is None or hourly.spot < hourly.on_demand, (name, region)


def test_what_is_known_is_what_aws_asks_for():
    # aws.amazon.com/ec2/pricing/on-demand: what everybody knows by heart.
    assert load_prices().hourly("g5.xlarge", "us-east-1").on_demand == 1.006
    assert load_prices().hourly("g4dn.xlarge", "us-east-1").on_demand == 0.526


def test_what_no_source_tells_is_unknown():
    for instance_type, region in (("p5e.48xlarge", "us-east-1"), ("g5.xlarge", "mars-1")):
        hourly = load_prices().hourly(instance_type, region)
        assert (hourly.on_demand, hourly.spot) == (None, None)


def test_wrong_prices_are_said_all_at_once(tmp_path: Path):
    path = tmp_path / "gpu.yaml"
    text = PRICES_FILE.read_text().replace("onDemand: 0.526, ", "onDemand: 0, euros: 1, ", 1)
    path.write_text(text.replace("of: cards", "of: gossip"))
    with pytest.raises(ConfigError) as error:
        load_prices(path)
    assert len(error.value.problems) == 3
    assert "instances.g4dn.xlarge.regions.us-east-1.onDemand: Input should" in str(error.value)
    with pytest.raises(ConfigError, match="is no file of prices"):
        load_prices(tmp_path / "none.yaml")
