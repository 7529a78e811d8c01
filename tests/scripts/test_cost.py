# pyright: basic
"""`modelramp cost`, `prices` and `break-even` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.errors import ConfigError
from scripts import cost, prices
from scripts.main import _app as app

STACK = """\
config:
  modelramp:cluster:
    {target: eks, namespace: m, gateway: g/m, prometheus: "http://p:9090"}
  modelramp:aws: {region: us-east-1, eks: {cluster: c, subnetIds: [subnet-0a1b]}}
  modelramp:gpuPools: {p: {provider: eks, instanceTypes: [%s], min: 1, max: 2}}
  modelramp:cost: {monthlyBudget: %d}
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "Pulumi.some.yaml"
    monkeypatch.setattr(cost, "stack_path", lambda root, stack: path)
    monkeypatch.setattr(prices, "stack_path", lambda root, stack: path)
    path.write_text(STACK % ("g5.xlarge", 1000))
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_table_with_its_budget_and_the_dates_of_prices(stack: Path):
    done = run("cost", "--stack", "some")
    assert done.exit_code == 0
    # One node for 730 hours at 1.006 dollars, at most two.
    assert "pool p (eks)  1 / 1 / 2    734       734  1,469" in done.stdout
    assert "Within the budget." in done.stdout
    assert "the caps allow 1,469" in done.stdout
    assert "onDemand of 2025-11-30" in done.stdout


@pytest.mark.parametrize(
    ("instance_type", "budget", "code"),
    [("g5.xlarge", 735, 0), ("g5.xlarge", 734, 14), ("p5e.48xlarge", 1000, 15)],
)
def test_the_exit_code_tells_whether_the_budget_holds(
    stack: Path, instance_type: str, budget: int, code: int
):
    text = STACK % (instance_type, budget)
    stack.write_text(text.replace("min: 1", "gpusPerNode: 8, min: 1") if code == 15 else text)
    assert run("cost", "--stack", "some").exit_code == 0
    done = run("cost", "--stack", "some", "--detailed-exitcode", "--json")
    assert done.exit_code == code
    told = json.loads(done.stdout)
    assert told["isOverBudget"] is {0: False, 14: True, 15: None}[code]
    assert told["pools"][0]["cost"]["expected"] == (None if code == 15 else pytest.approx(734.38))


def test_what_is_unknown_is_said_and_is_no_zero(stack: Path):
    stack.write_text(STACK % ("p9.xlarge", 10))
    done = run("cost", "--stack", "some")
    assert "pool p (eks)   1 / 1 / 2  unknown   unknown  unknown" in done.stdout
    assert "Unknown: p9.xlarge has no known price on demand in us-east-1." in done.stdout
    assert "nobody can say" in done.stdout


def test_the_card_for_3000_dollars():
    done = run("break-even", "--purchase", "3000", "--against", "3.06", "--json")
    told = json.loads(done.stdout)
    assert told["hours"] == pytest.approx(980.39, abs=0.01)
    assert (told["ownHour"], told["cloudHour"]) == (0, 3.06)
    assert told["paidBack"][3] == {"utilisation": 0.1, "months": pytest.approx(13.43, abs=0.01)}
    assert told["utilisation"] == pytest.approx(0.0373, abs=0.0001)
    assert (
        "980 hours of work, 41 days"
        in run("break-even", "--purchase", "3000", "--against", "3.06").stdout
    )


def test_a_card_and_an_instance_by_name():
    done = run("break-even", "--card", "RTX 4090", "--against", "g5.xlarge", "--json")
    assert json.loads(done.stdout)["hours"] == pytest.approx(1599 / 1.006)
    dear = run("break-even", "--purchase", "90000", "--against", "0.5")
    assert "the cloud is cheaper even so" in " ".join(dear.stdout.split())
    never = ("break-even", "--purchase", "1", "--watts", "2000", "--electricity", "0.5")
    assert run(*never, "--against", "0.9").stdout.startswith("Never: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--card", "RTX 9", "--against", "1"), "no card 'RTX 9'; there are: RTX 4090"),
        (("--against", "1"), "--purchase: is needed, or a --card"),
        (("--purchase", "1", "--against", "p9.xlarge"), "no known price on demand in us-east-1"),
        (("--purchase", "1", "--against", "g7.2xlarge", "--spot"), "no known price as spot"),
    ],
)
def test_what_is_missing_is_said(arguments: tuple[str, ...], said: str):
    with pytest.raises(ConfigError, match=said):
        run("break-even", *arguments)


def test_prices_tell_their_sources(stack: Path):
    done = run("prices")
    assert "2026-07-20" in done.stdout
    assert "53 instance types in 30 regions, 3 cards" in done.stdout
    assert json.loads(run("prices", "--json").stdout)["cards"]["RTX 5090"]["watts"] == 575
    assert prices._regions() == ["us-east-1"]
