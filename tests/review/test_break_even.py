# pyright: basic
from __future__ import annotations

import pytest

from models.cost import OwnHardware
from review.break_even import compare, months_to_pay_back


def hardware(**changes: float) -> OwnHardware:
    card = {"nodes": 1, "purchase": 3000, "power_watts": 0, "electricity_per_kwh": 0}
    return OwnHardware.model_validate({**card, **changes}, by_name=True)


def test_a_card_for_3000_dollars_against_3_dollars_06_an_hour():
    # By hand: 3000 / 3.06 = 980.39 hours of work, which is 40.8 days without a pause. Over 36
    # months of 730 hours that is 980.39 / 26280 = 3.73% of all hours.
    found = compare(hardware(), 3.06)
    assert found.hours == pytest.approx(980.39, abs=0.01)
    assert found.hours
    assert found.hours / 24 == pytest.approx(40.85, abs=0.01)
    assert found.utilisation == pytest.approx(0.0373, abs=0.00005)
    assert months_to_pay_back(hardware(), 3.06, 1.0) == pytest.approx(1.343, abs=0.001)
    # At a tenth of all hours it takes ten times as long.
    assert months_to_pay_back(hardware(), 3.06, 0.1) == pytest.approx(13.43, abs=0.01)


def test_the_same_card_with_power_and_people():
    # By hand: 450 W at 0.30 a kWh is 0.135 an hour, so an hour saves 2.925 and 1025.64 hours pay
    # the card. A month costs 3000 / 36 + 50 = 133.33 although it stands still, which is
    # 133.33 / 2.925 = 45.58 hours of 730, 6.24%.
    own = hardware(power_watts=450, electricity_per_kwh=0.30, operations_per_month=50)
    found = compare(own, 3.06)
    assert found.own_hour == pytest.approx(0.135)
    assert found.own_fixed == pytest.approx(133.33, abs=0.01)
    assert found.hours == pytest.approx(1025.64, abs=0.01)
    assert found.utilisation == pytest.approx(0.0624, abs=0.00005)
    # At 20% it works 146 hours, saves 427.05 less 50, and is paid back in 7.96 months.
    assert months_to_pay_back(own, 3.06, 0.2) == pytest.approx(7.956, abs=0.001)


def test_at_that_utilisation_both_cost_the_same():
    own = hardware(power_watts=300, electricity_per_kwh=0.25, operations_per_month=80)
    found = compare(own, 0.8)
    assert found.utilisation
    hours = found.utilisation * 730
    assert found.own_fixed + hours * found.own_hour == pytest.approx(hours * found.cloud_hour)


def test_dear_hardware_against_a_cheap_cloud_is_never_paid_back():
    found = compare(hardware(purchase=30000), 0.5)
    assert found.utilisation == pytest.approx(30000 / 36 / 0.5 / 730)
    assert found.is_never
    power = hardware(power_watts=2000, electricity_per_kwh=0.5)
    assert compare(power, 0.9).utilisation is None
    assert compare(power, 0.9).is_never
    assert compare(power, 0.9).hours is None
    # Operations eat what little use saves.
    assert months_to_pay_back(hardware(operations_per_month=100), 3.06, 0.01) is None
