"""The rules, their order, and what is missing or strange, through `judge` itself."""

# pyright: basic
from __future__ import annotations

import copy
import dataclasses
import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.judging import Drift, ExtraTest
from rollout.history import as_json
from rollout.judge import Arm, Categories, Counts, Observations, judge
from rollout.judge.compare import PREDICTIONS
from rollout.judge.series import Buckets
from rollout.judge.terms import ACCURACY, ERRORS, LATENCY, RateTerms, Terms, ValueTerms
from rollout.simulate import Scenario
from tests.rollout.judge.arms import (
    ALPHA,
    START,
    allowed,
    decide,
    drawn,
    is_finite,
    pick,
    seen,
    terms,
    values_of,
    with_arm,
    with_metric,
)

NAN = np.full(20, np.nan)


def labelled(observed: Observations, stable: list[float], candidate: list[float], name=PREDICTIONS):
    """Gives both arms the same distribution in every interval."""
    intervals = len(observed.weights)
    for arm, counts in (("stable", stable), ("candidate", candidate)):
        one = Categories(("no", "yes"), np.tile(np.array(counts, dtype=float), (intervals, 1)))
        categories = {**getattr(observed, arm).categories, name: one}
        observed = with_arm(observed, arm, categories=categories)
    return observed


def drift(**tolerances) -> Drift:
    return Drift.model_validate(tolerances)


# The order: all that can be wrong at once; each rule mended shows the next one.

LAYERS = {
    "ready": ("revert", "has not been Ready"),
    "declared": ("no-data", "is not in effect"),
    "extreme": ("revert", "extreme harm"),
    "split": ("hold", "the split is not as declared"),
    "strange": ("hold", "more bad answers than answers"),
    "harm": ("revert", "is worse by"),
    "breach": ("hold", "over the SLO"),
    "drift": ("hold", "predictions of 1.5.0 differ from stable"),
    "late": ("hold", "policy, not evidence"),
    "short": ("hold", "still needed"),
}


def layered(mended: set[str]) -> tuple[Observations, Terms]:
    there = LAYERS.keys() - mended
    # Both over the SLO of 1%, latency: the candidate by itself is not worse.
    slow = (190.0, 10.0) if "breach" in there else (10.0, 1.0)
    errors = (10.0, 90.0) if "extreme" in there else (10.0, 6.0 if "harm" in there else 0.0)
    observed = seen(errors=errors, slow=slow, wrong=(50, 3), intervals=20)
    if "strange" in there:
        labels = observed.candidate.metrics[ACCURACY]
        once = Counts(np.where(np.arange(20) == 12, 200.0, labels.bad), labels.total)
        observed = with_metric(observed, "candidate", ACCURACY, once)
    if "split" in there:
        observed = with_arm(observed, "stable", routed=np.full(20, 100.0))
    if "ready" in there:
        observed = with_arm(observed, "candidate", ready=np.zeros(20))
    if "declared" in there:
        observed = replace(observed, declared_now=1.0)
    if "drift" in there:
        observed = labelled(observed, [950, 950], [90, 10])
    bake = 3600.0 if "short" in there else 600.0
    after = "5m" if "late" in there else "24h"
    held = terms(bake=bake, judge_terms={"deadline": {"after": after, "then": "hold"}})
    return observed, held


def test_rules_apply_in_their_order():
    mended: set[str] = set()
    for layer, (kind, words) in LAYERS.items():
        verdict = decide(*layered(mended))
        assert (layer, verdict.kind) == (layer, kind)
        assert words in verdict.reason
        mended.add(layer)
    assert decide(*layered(mended)).kind == "advance"


@pytest.mark.parametrize("layer", LAYERS)
def test_each_rule_speaks_also_by_itself(layer):
    # A deadline is asked only where something is still needed.
    alone = {layer, "short"} if layer == "late" else {layer}
    verdict = decide(*layered(LAYERS.keys() - alone))
    kind, words = LAYERS[layer]
    assert verdict.kind == kind
    assert words in verdict.reason


# No data.


def test_what_can_not_be_known_is_no_data_and_moves_nothing():
    good = seen()
    nothing = Counts(NAN, NAN)
    for blind, words in (
        (replace(good, declared_now=None), "not recorded"),
        (replace(good, declared_now=25.0), "25% is"),
        (with_metric(good, "candidate", ERRORS, nothing), "no requests were counted"),
        (with_metric(good, "stable", ERRORS, nothing), "no requests were counted"),
        (replace(good, weights=NAN), "no settled interval"),
        (seen(intervals=0), "no requests were counted"),
    ):
        verdict = decide(blind, terms())
        assert verdict.kind == "no-data"
        assert words in verdict.reason
    assert decide(good, late=180).kind == "advance"
    assert "181 s old" in decide(good, late=181).reason


def test_data_that_stopped_are_old_and_data_of_one_arm_alone_do_not_help():
    good = seen(intervals=30)
    stops = np.arange(30) < 26
    counts = good.stable.metrics[ERRORS]
    stopped = Counts(np.where(stops, counts.bad, np.nan), np.where(stops, counts.total, np.nan))
    verdict = decide(with_metric(good, "stable", ERRORS, stopped))
    assert verdict.kind == "no-data"
    assert "240 s old" in verdict.reason


def test_an_empty_arm_holds():
    good = seen()
    for arm in ("stable", "candidate"):
        assert decide(with_arm(good, arm, metrics={})).kind == "hold"
    zero = seen(requests=(0, 0), errors=(0, 0), slow=(0, 0), wrong=(0, 0))
    assert decide(zero).kind == "hold"


@pytest.mark.parametrize("arms", [("stable", "candidate"), ("candidate",)])
def test_a_split_that_was_not_measured_does_not_advance(arms):
    blind = seen()
    for arm in arms:
        blind = with_arm(blind, arm, routed=NAN)
    assert decide(blind).kind in ("hold", "no-data")


# Extreme harm, hanging requests.


def hanging(sent: float, intervals: int, *, stable_hangs: bool = False) -> Observations:
    """The candidate is sent requests and answers none of them."""
    asked = seen(
        errors=(0, 0), slow=(0, 0), wrong=(0, 0), requests=(19 * sent, 0), intervals=intervals
    )
    asked = with_arm(asked, "candidate", routed=np.full(intervals, sent))
    if stable_hangs:
        none = {name: Counts(it.bad, it.total * 0) for name, it in asked.stable.metrics.items()}
        asked = with_arm(asked, "stable", metrics=none)
    return asked


@pytest.mark.parametrize("sent", [7, 20, 1000])
def test_a_candidate_that_hangs_is_taken_back_an_interval_after_a_handful(sent):
    assert decide(hanging(sent, 1)).kind == "hold"  # they may still be answered
    verdict = decide(hanging(sent, 2))
    assert verdict.kind == "revert"
    assert "extreme harm" in verdict.reason


def test_too_few_that_hang_prove_nothing_and_both_that_hang_have_a_shared_cause():
    assert decide(hanging(1, 2)).kind == "hold"
    assert decide(hanging(100, 5, stable_hangs=True)).kind == "hold"


def test_requests_that_are_answered_an_interval_later_do_not_hang():
    """What is sent in one interval is answered in the next; the last ones are still out."""
    observed = seen()
    later = {
        name: Counts(np.r_[0.0, it.bad[:-1]], np.r_[0.0, it.total[:-1]])
        for name, it in observed.candidate.metrics.items()
    }
    assert decide(with_arm(observed, "candidate", metrics=later)).kind == "advance"


def test_a_handful_of_failures_reverts_at_once():
    broken = seen(errors=(0, 7), slow=(0, 0), wrong=(0, 0), requests=(133, 7), intervals=1)
    assert decide(broken).kind == "revert"
    assert decide(seen(errors=(133, 7), requests=(133, 7), intervals=1)).kind == "hold"


# Counts that can't be.


def test_more_bad_answers_than_answers_hold_at_this_step_and_are_forgotten_at_the_next():
    good = seen(intervals=40)
    counts = good.candidate.metrics[LATENCY]
    once = Counts(np.where(np.arange(40) == 5, 500.0, counts.bad), counts.total)
    strange = with_metric(good, "candidate", LATENCY, once)
    assert decide(strange).kind == "hold"
    assert decide(strange).alerts
    weights = np.where(np.arange(40) < 10, 1.0, 5.0)
    assert decide(replace(strange, weights=weights)).kind == "advance"


def reset(observed: Observations, name: str, arm: str = "candidate") -> Observations:
    """A counter that fell and was subtracted all the same."""
    counts = getattr(observed, arm).metrics[name]
    at = np.arange(len(counts.bad)) == 7
    fell = Counts(np.where(at, -40.0, counts.bad), np.where(at, -900.0, counts.total))
    return with_metric(observed, arm, name, fell)


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        ("stable", ERRORS),
        ("stable", LATENCY),
        ("candidate", LATENCY),
        ("candidate", ACCURACY),
        # Not taken for requests that hang, either.
        ("candidate", ERRORS),
    ],
)
def test_a_counter_that_was_reset_is_dropped(arm, name):
    verdict = decide(reset(seen(intervals=40), name, arm))
    assert verdict.kind == "advance"
    found = next(it for it in verdict.metrics if it.name == name)
    assert getattr(found, arm).total == 39 * (1900 if arm == "stable" else 100)


@pytest.mark.parametrize("where", ["metric", "routed"])
def test_infinite_counts_are_not_known(where):
    endless = np.where(np.arange(20) == 3, np.inf, 100.0)
    if where == "routed":
        observed = with_arm(seen(), "candidate", routed=endless)
    else:
        observed = with_metric(seen(), "candidate", LATENCY, Counts(np.zeros(20), endless))
    assert decide(observed).kind in ("advance", "hold", "no-data")


# The SLO.


def test_both_over_the_slo_hold_with_an_alert_and_the_candidate_alone_is_taken_back():
    both = decide(seen(errors=(100, 5)))
    assert both.kind == "hold"
    assert both.alerts
    # A margin of 5 points leaves the SLO alone to speak.
    rates = {ERRORS: RateTerms(0.05, 0.01), LATENCY: RateTerms(0.01, 0.01)}
    alone = decide(seen(errors=(4, 4), accuracy=False), terms(rates=rates))
    assert alone.kind == "revert"
    assert "over the SLO in errorRate" in alone.reason
    within = decide(seen(errors=(4, 1), accuracy=False), terms(rates=rates))
    assert within.kind == "advance"


def alone_at_100(stable_bad: float, candidate_bad: float, *, before: float = 25.0):
    """Eight intervals at a step before, then twelve without any request to stable."""
    weights = np.r_[np.full(8, before), np.full(12, 100.0)]
    observed = replace(seen(errors=(stable_bad, candidate_bad), percent=100), weights=weights)
    served = weights < 100
    stable = {name: it.within(served) for name, it in observed.stable.metrics.items()}
    observed = with_arm(observed, "stable", metrics=stable, routed=np.where(served, 1900.0, 0.0))
    return decide(observed, terms(percent=100))


def test_alone_at_100_percent_the_slo_decides():
    assert alone_at_100(9, 50).kind == "revert"
    assert alone_at_100(9, 0).kind == "promote"
    assert alone_at_100(900, 50).kind == "hold"


def test_alone_at_100_percent_a_stable_just_over_the_slo_shields_no_broken_candidate():
    assert alone_at_100(21, 50).kind == "revert"


@pytest.mark.parametrize("before", [50.0, 90.0, 99.0])
def test_a_step_near_100_percent_is_not_taken_for_100_percent(before):
    assert alone_at_100(9, 0, before=before).kind == "promote"
    observed = seen(percent=before, requests=(100 - before, before), errors=(0, 0), slow=(0, 0))
    assert decide(observed, terms(percent=100)).kind == "no-data"


@pytest.mark.parametrize(("before", "now"), [(1, 2), (1, 5), (50, 54), (90, 95), (95, 99)])
def test_evidence_for_an_advance_is_that_of_the_present_step_alone(before, now):
    weights = np.r_[np.full(15, float(before)), np.full(5, float(now))]
    quiet: dict = dict.fromkeys(("errors", "slow", "wrong"), (0, 0))
    observed = seen(percent=now, requests=(1000 - 10 * now, 10 * now), **quiet)
    observed = replace(observed, weights=weights)
    # Routed as declared at each step.
    mine = np.where(weights == now, 10.0 * now, 10.0 * before)
    observed = with_arm(observed, "candidate", routed=mine)
    observed = with_arm(observed, "stable", routed=1000.0 - mine)
    verdict = decide(observed, terms(percent=now))
    assert verdict.kind == "hold"
    assert verdict.step_seconds == 300
    declared = decide(replace(observed, declared_now=float(before)), terms(percent=now))
    assert declared.kind == "no-data"


# Distributions.


def test_predictions_that_differ_hold_and_alert_and_revert_only_if_declared():
    observed = labelled(seen(), [950, 950], [90, 10])
    verdict = decide(observed)
    assert verdict.kind == "hold"
    assert any("predictions of 1.5.0" in it for it in verdict.alerts)
    for then, kind in (("alert", "advance"), ("revert", "revert"), ("hold", "hold")):
        declared = drift(predictions={"tolerance": 0.1, "then": then})
        verdict = decide(observed, terms(drift=declared))
        assert verdict.kind == kind
        assert verdict.alerts
    wide = drift(predictions={"tolerance": 0.45})
    assert decide(observed, terms(drift=wide)).kind == "advance"
    assert decide(observed, terms(tolerances={PREDICTIONS: 0.45})).kind == "advance"


@pytest.mark.parametrize("then", ["hold", "revert"])
def test_alpha_is_shared_by_all_that_may_revert_and_adds_up(then):
    """A tenth for extreme harm, a tenth for the SLO; what only holds has a budget of its own."""
    observed, held = everything()
    verdict = decide(observed, replace(held, drift=drift(predictions={"then": then})))
    shares = [it.alpha for it in verdict.metrics]
    assert len(shares) == 4
    predictions = next(it for it in verdict.drift if it.against == "stable" and it.then == then)
    if then == "revert":
        shares.append(predictions.alpha)
    assert sum(shares) == pytest.approx(0.8 * ALPHA)
    holding = [it.alpha for it in verdict.drift if it.then != "revert"]
    assert sum(holding) <= ALPHA + 1e-12


def test_features_that_differ_between_the_versions_hold():
    verdict = decide(labelled(seen(), [950, 950], [90, 10], name="age"))
    assert verdict.kind == "hold"
    assert "asked different things" in verdict.reason


def test_drift_from_the_training_data_only_alerts_whoever_it_is():
    same = labelled(seen(), [950, 950], [50, 50])
    for arm in ("stable", "candidate"):
        trained = with_arm(same, arm, reference={PREDICTIONS: np.array([0.9, 0.1])})
        verdict = decide(trained)
        assert verdict.kind == "advance"
        assert any("differ from its training data by 40.0%" in it for it in verdict.alerts)


def test_a_class_that_one_version_never_predicted_counts_nothing_there():
    observed = seen()
    for arm, names, counts in (
        ("stable", ("a", "b", "c"), [1000.0, 800.0, 100.0]),
        ("candidate", ("b", "a"), [45.0, 55.0]),
    ):
        one = Categories(names, np.tile(counts, (20, 1)))
        observed = with_arm(observed, arm, categories={PREDICTIONS: one})
    verdict = decide(observed)
    assert verdict.kind == "advance"
    assert verdict.drift[0].distance == pytest.approx(0.0526, abs=0.001)


# Tests by name.


@pytest.mark.parametrize("kind", ["ks", "chi-squared", "mann-whitney", "psi", "sustained"])
@pytest.mark.parametrize("then", ["hold", "alert"])
def test_tests_by_name_hold_or_alert_and_never_revert(kind, then):
    observed = labelled(seen(errors=(10, 1)), [950, 950], [100, 0])
    of = ERRORS if kind == "sustained" else PREDICTIONS
    limit = 0.005 if kind == "sustained" else 0.05
    asked = ExtraTest.model_validate(
        {"test": kind, "of": of, "limit": limit, "for": "5m", "then": then}
    )
    lenient = drift(predictions={"tolerance": 0.99})
    verdict = decide(observed, terms(extra_tests=(asked,), drift=lenient))
    assert verdict.kind == ("hold" if then == "hold" else "advance")
    assert len(verdict.alerts) == 1
    assert verdict.extra[0].found


# Deadline and readiness.


def test_an_undecided_step_does_at_its_deadline_what_is_declared():
    young = seen(intervals=5)
    for then in ("hold", "revert"):
        declared = {"deadline": {"after": "4m", "then": then}}
        verdict = decide(young, terms(judge_terms=declared))
        assert verdict.kind == then
        assert "policy, not evidence" in verdict.reason
        assert any("policy" in it for it in verdict.alerts)
        longer = {"deadline": {"after": "6m", "then": then}}
        assert "policy" not in decide(young, terms(judge_terms=longer)).reason
        # It is for the undecided: not where nothing is known, or nothing is missing.
        blind = replace(young, declared_now=None)
        assert decide(blind, terms(judge_terms=declared)).kind == "no-data"
        assert decide(seen(), terms(judge_terms=declared)).kind == "advance"


def test_a_candidate_that_is_never_ready_is_taken_back():
    good = seen(intervals=20)
    for ready, reverts in (
        (np.zeros(20), True),
        (np.r_[np.ones(10), np.zeros(10)], True),
        (np.r_[np.ones(11), np.zeros(9)], False),
        (np.r_[np.zeros(19), np.ones(1)], False),
        (np.r_[np.zeros(19), np.nan], False),
        (NAN, False),
    ):
        verdict = decide(with_arm(good, "candidate", ready=ready))
        assert (verdict.kind == "revert") == reverts
    never = with_arm(good, "candidate", ready=np.zeros(20))
    # Also without any other number; not where stable is not Ready either, or it was long ago.
    blind = with_arm(replace(never, declared_now=None), "candidate", metrics={})
    assert decide(blind, terms()).kind == "revert"
    assert decide(with_arm(never, "stable", ready=np.zeros(20))).kind != "revert"
    assert decide(never, late=3600).kind == "no-data"


# Properties.


def everything(intervals: int = 20, **counts) -> tuple[Observations, Terms]:
    """A healthy rollout in which all is measured that can be."""
    rng = np.random.default_rng(1)
    observed = seen(intervals=intervals, **counts)
    observed = labelled(labelled(observed, [950, 950], [50, 50]), [400, 1500], [20, 80], name="age")
    edges = (50.0, 250.0, np.inf)
    for arm, size in (("stable", 1900.0), ("candidate", 100.0)):
        rates = getattr(observed, arm).metrics[ERRORS]
        observed = with_arm(
            observed,
            arm,
            values={"basket": values_of(rng.normal(10, 3, (intervals, int(size))))},
            buckets=Buckets(edges, np.tile([0.5, 0.995, 1.0], (intervals, 1)) * size),
            pods={ERRORS: Counts(np.tile(rates.bad / 2, (2, 1)), np.tile(rates.total / 2, (2, 1)))},
            reference={PREDICTIONS: np.array([0.5, 0.5]), "age": np.array([0.2, 0.8])},
            ready=np.ones(intervals),
        )
    tests = (
        {"test": "ks", "of": "age", "limit": 0.01},
        {"test": "psi", "of": PREDICTIONS, "against": "reference", "limit": 0.2},
        {"test": "sustained", "of": ERRORS, "limit": 0.1, "for": "5m"},
    )
    held = terms(
        values={"basket": ValueTerms("decrease", 0.5)},
        extra_tests=tuple(ExtraTest.model_validate(it) for it in tests),
        latency_share=0.99,
    )
    return observed, held


PLACES = {
    "weights": lambda o: o.weights,
    **{
        f"{arm} {place}": (lambda o, arm=arm, get=get: get(getattr(o, arm)))
        for arm in ("stable", "candidate")
        for place, get in {
            "bad": lambda a: a.metrics[ERRORS].bad,
            "total": lambda a: a.metrics[ERRORS].total,
            "slow": lambda a: a.metrics[LATENCY].bad,
            "labels": lambda a: a.metrics[ACCURACY].total,
            "routed": lambda a: a.routed,
            "sum": lambda a: a.values["basket"].sum,
            "squares": lambda a: a.values["basket"].sum_squares,
            "count": lambda a: a.values["basket"].count,
            "predictions": lambda a: a.categories[PREDICTIONS].counts,
            "age": lambda a: a.categories["age"].counts,
            "buckets": lambda a: a.buckets.counts,
            "pod": lambda a: a.pods[ERRORS].bad,
            "pod's total": lambda a: a.pods[ERRORS].total,
            "reference": lambda a: a.reference["age"],
            "ready": lambda a: a.ready,
        }.items()
    },
}


@pytest.mark.parametrize("place", PLACES)
@settings(deadline=None, max_examples=6, derandomize=True)
@given(st.sets(st.integers(0, 199), min_size=1, max_size=60), st.booleans())
def test_a_missing_number_anywhere_neither_advances_nor_reverts(place, holes, young):
    """A healthy rollout that lacks an interval of its bake holds; one that lacks none advances."""
    observed, held = everything(9 if young else 40)
    observed = copy.deepcopy(observed)
    target = PLACES[place](observed)
    flat = target.reshape(-1)
    flat[[hole % flat.size for hole in holes]] = np.nan
    verdict = decide(observed, held)
    assert verdict.kind in (("hold", "no-data") if young else ("advance", "hold", "no-data"))
    json.dumps(as_json(verdict), allow_nan=False)


@pytest.mark.parametrize("place", PLACES)
def test_a_series_that_is_missing_altogether_never_reverts(place):
    observed, held = everything(40)
    observed = copy.deepcopy(observed)
    PLACES[place](observed)[...] = np.nan
    verdict = decide(observed, held)
    assert verdict.kind != "revert"
    if place.split(" ", 1)[-1] in ("weights", "bad", "total", "slow", "labels"):
        assert verdict.kind in ("hold", "no-data")


def cases() -> dict[str, tuple[Observations, Terms]]:
    full, held = everything()
    mixed = {f"without {layer}": layered({layer}) for layer in LAYERS}
    return mixed | {
        "everything": (full, held),
        "everything, margin": (full, replace(held, evidence="margin")),
        "all bad": everything(errors=(1900, 100), slow=(1900, 100), wrong=(1900, 100)),
        "harmful": everything(errors=(10, 20)),
        "nothing": (seen(requests=(0, 0), errors=(0, 0), slow=(0, 0), wrong=(0, 0)), held),
        "alone": (
            replace(full, weights=np.full(20, 100.0), declared_now=100),
            replace(held, percent=100),
        ),
        "one interval": everything(1),
        "no metric": (with_arm(full, "candidate", metrics={}, values={}), held),
        "a billion": everything(requests=(19e9, 1e9), errors=(19e9, 1e9)),
        "billions of errors": everything(requests=(19e9, 1e9), errors=(0, 1e9)),
    }


@pytest.mark.parametrize("case", cases())
def test_every_verdict_is_strict_json_and_its_numbers_are_finite(case):
    verdict = decide(*cases()[case])
    written = json.loads(json.dumps(as_json(verdict), allow_nan=False))
    assert written["verdict"] == verdict.kind
    assert is_finite(verdict)
    assert verdict.reason


@pytest.mark.parametrize("case", cases())
def test_the_same_input_gives_the_same_verdict_and_is_not_touched(case):
    observed, held = cases()[case]
    before = copy.deepcopy(observed)
    first = decide(observed, held)
    assert decide(observed, held) == first
    flat = zip(
        numbers(dataclasses.asdict(observed)), numbers(dataclasses.asdict(before)), strict=True
    )
    assert all(np.array_equal(now, then, equal_nan=True) for now, then in flat)


def numbers(value):
    """Yields every array of a nested structure."""
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, np.ndarray):
        yield value


@pytest.mark.parametrize("case", cases())
def test_the_order_of_metrics_and_series_does_not_matter(case):
    observed, held = cases()[case]

    def turned(arm: Arm) -> Arm:
        names = ("metrics", "values", "categories", "pods", "reference")
        return replace(
            arm, **{name: dict(reversed(list(getattr(arm, name).items()))) for name in names}
        )

    other = replace(observed, stable=turned(observed.stable), candidate=turned(observed.candidate))
    turned_terms = replace(held, rates=dict(reversed(list(held.rates.items()))))
    plain, back = decide(observed, held), decide(other, turned_terms)
    assert back.kind == plain.kind
    assert {it.name: it for it in back.metrics} == {it.name: it for it in plain.metrics}
    assert len(back.alerts) == len(plain.alerts)


@pytest.mark.parametrize("case", ["everything", "harmful", "without late"])
def test_an_interval_without_requests_changes_no_verdict(case):
    observed, held = cases()[case]

    def longer(arm: Arm) -> Arm:
        nothing = Counts.of([0.0], [0.0])
        return replace(
            arm,
            metrics={
                name: Counts(np.r_[it.bad, nothing.bad], np.r_[it.total, nothing.total])
                for name, it in arm.metrics.items()
            },
            routed=np.r_[arm.routed, 0.0],
            values={},
            categories={},
            buckets=None,
            pods={},
            ready=None,
        )

    def shorter(arm: Arm) -> Arm:
        return replace(arm, values={}, categories={}, buckets=None, pods={}, ready=None)

    plain = replace(
        observed, stable=shorter(observed.stable), candidate=shorter(observed.candidate)
    )
    more = replace(
        observed,
        weights=np.r_[observed.weights, observed.weights[-1]],
        stable=longer(observed.stable),
        candidate=longer(observed.candidate),
    )
    was, now = decide(plain, held), decide(more, held)
    assert now.kind == was.kind
    for one, other in zip(now.metrics, was.metrics, strict=True):
        assert one.stable == other.stable
        # Only the prior of late starts is spread thinner, never by more than a factor of 1.2 here.
        assert one.e_value == pytest.approx(other.e_value, rel=0.2)
        assert one.margin_e_value == pytest.approx(other.margin_e_value, rel=1e-6)


def rollout_of(pairs: list[tuple[Counts, Counts]], percent: float) -> Observations:
    """Builds observations of single rollouts, one pair of counts a metric."""
    names = (ERRORS, LATENCY, ACCURACY)
    arms = [
        Arm(
            version,
            {n: pair[at] for n, pair in zip(names, pairs, strict=False)},
            pairs[0][at].total,
        )
        for at, version in enumerate(("1.4.0", "1.5.0"))
    ]
    weights = np.full(len(pairs[0][0].total), percent)
    return Observations(START, 60, weights, percent, arms[0], arms[1])


def test_healthy_rollouts_with_three_metrics_are_reverted_at_most_alpha_of_the_time():
    """All rules together; at 1%, 12 of 600 have a probability above 1%."""
    runs = 600
    laws = [Scenario(rate=rate, requests=1000, looks=40) for rate in (0.01, 0.01, 0.1)]
    drawn_all = [next(drawn(law, runs, seed)) for seed, law in enumerate(laws, 2)]
    zero = {
        name: RateTerms(0.0, ceiling)
        for name, ceiling in ((ERRORS, 0.01), (LATENCY, 0.01), (ACCURACY, 0.1))
    }
    held = terms(percent=10, rates=zero, bake=7200.0)
    kinds = [
        decide(
            rollout_of([(pick(s, row), pick(c, row)) for s, c in drawn_all], 10.0),
            held,
        ).kind
        for row in range(runs)
    ]
    assert kinds.count("revert") <= allowed(runs, ALPHA)
    assert kinds.count("advance") == 0


def test_a_harmful_rollout_is_reverted_by_whichever_metric_shows_it():
    runs = 6
    good = next(drawn(Scenario(rate=0.01, requests=5000, looks=40), runs, 5))
    bad = next(drawn(Scenario(rate=0.01, requests=5000, looks=40, harm=4.0), runs, 6, harmful=True))
    for at, name in enumerate((ERRORS, LATENCY, ACCURACY)):
        for row in range(runs):
            laws = [bad if metric == at else good for metric in range(3)]
            pairs = [(pick(stable, row), pick(candidate, row)) for stable, candidate in laws]
            verdict = decide(rollout_of(pairs, 10.0), terms(percent=10))
            assert verdict.kind == "revert"
            assert next(it for it in verdict.metrics if it.name == name).harmful


def test_now_is_all_that_tells_two_moments_apart():
    observed, held = everything()
    end = observed.time_of(20)
    assert judge(held, observed, end) == judge(held, observed, end + timedelta(seconds=60))
