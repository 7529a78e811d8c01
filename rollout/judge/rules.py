"""The rules and their order, from what was seen to a verdict.

Not ready, no data, waiting at 0%, alone at 100%, extreme harm, the split, harm, the SLO,
distributions, then what an advance still needs and the deadline. What is missing or strange holds;
it never moves traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from rollout.judge import sentences
from rollout.judge.before_after import alone
from rollout.judge.compare import (
    EXTREME_PART,
    PREDICTIONS,
    Rates,
    extreme_harm,
    metrics,
    over_ceiling,
    quantiles,
    ratio_at_least,
)
from rollout.judge.distributions import distributions
from rollout.judge.e_process import EXTREME
from rollout.judge.extra_tests import ExtraVerdict, run
from rollout.judge.needed import still_needed
from rollout.judge.series import Arm, Compared, Mask, Observations, same_percent, usable
from rollout.judge.split import split
from rollout.judge.terms import ERRORS, Terms
from rollout.judge.verdict import DriftVerdict, Kind, MetricVerdict, Needed, SplitVerdict, Verdict

STALE_INTERVALS = 3
"""The newest known interval may be this old before the data count as stale."""


def judge(terms: Terms, seen: Observations, now: datetime) -> Verdict:
    """Decides on a rollout.

    Args:
        terms: what it is held to.
        seen: counts of both versions from the first move to now.
        now: time of the decision.
    """
    terms = terms.spending(seen.budget_share)
    unready = _never_ready(terms, seen, now)
    if unready:
        return Verdict("revert", unready, never_served=not np.nansum(seen.candidate.routed) > 0)
    blind = _why_blind(terms, seen, now)
    if blind:
        return Verdict("no-data", blind)
    if terms.sent_percent == 0:
        return _waiting(terms, seen, now)
    if terms.percent == 100:
        step = seen.present_step()
        strange = _strange([seen.candidate], step)
        return Verdict("hold", strange, alerts=(strange,)) if strange else alone(terms, seen)
    which = Compared.of(seen)
    if not np.any(_counted(seen, which.settled)):
        return Verdict("no-data", "no settled interval in which both versions were counted")
    step = _counted(seen, which.step)
    rates = Rates.of(terms, seen, which)
    found = _Found(
        rates=rates,
        metrics=metrics(terms, seen, which, rates),
        split=split(seen, which),
        drift=distributions(terms, seen, which),
        extra=_extra(terms, seen),
        requests=int(seen.candidate.volume.total[step].sum()),
        seconds=float(seen.interval_seconds * step.sum()),
    )
    return replace(
        _decide(terms, seen, which, found, now),
        metrics=found.metrics,
        split=found.split,
        drift=found.drift,
        extra=found.extra,
        quantiles=quantiles(terms, seen, which),
        step_requests=found.requests,
        step_seconds=found.seconds,
    )


@dataclass(frozen=True)
class _Found:
    """What the tests say, before the rules."""

    rates: Rates
    metrics: tuple[MetricVerdict, ...]
    split: SplitVerdict | None
    drift: tuple[DriftVerdict, ...]
    extra: tuple[ExtraVerdict, ...]
    requests: int
    seconds: float


def _decide(
    terms: Terms, seen: Observations, which: Compared, found: _Found, now: datetime
) -> Verdict:
    """Applies the rules in their order; the first that speaks decides."""
    alerts = _alerts(terms, found)
    if extreme_harm(terms, seen, which) >= 0:
        return Verdict("revert", _extreme_sentence(terms, seen, which, found), alerts=alerts)
    routed = found.split
    if routed and routed.wrong:
        looks = f" (it looks like {routed.looks})" if routed.looks else ""
        return Verdict(
            "hold",
            f"the split is not as declared{looks}: {routed.observed:.1%} of {routed.requests:,} "
            f"requests reached the candidate, {routed.declared:.1%} should have; no metric can be "
            "trusted",
            alerts=("the split is not as declared", *alerts),
        )
    strange = _strange([seen.stable, seen.candidate], which.step)
    if strange:
        return Verdict("hold", strange, alerts=(strange, *alerts))
    harmful = [metric for metric in found.metrics if metric.harmful]
    if harmful:
        said = (
            sentences.harm(metric, ratio_at_least(terms, seen, found.rates, metric.name))
            for metric in harmful
        )
        return Verdict("revert", "; ".join(said), alerts=alerts)
    breach = _breach(terms, seen, found.rates)
    if breach:
        return replace(breach, alerts=(*breach.alerts, *alerts))
    drifted = _drifted(found)
    if drifted:
        return replace(drifted, alerts=alerts)
    if not found.metrics:
        return Verdict("hold", "no metric of both versions was measured", alerts=alerts)
    needed = still_needed(
        terms,
        found.metrics,
        found.requests,
        found.seconds,
        split_known=found.split is not None,
    )
    if not needed.reasons:
        reason = sentences.advance(found.metrics, found.requests, terms.judge.beta)
        return Verdict("advance", reason, needed=needed, alerts=alerts)
    return _wait(terms, needed, alerts, now)


def _wait(terms: Terms, needed: Needed, alerts: tuple[str, ...], now: datetime) -> Verdict:
    """Holds for what is still needed, or does what the deadline says: policy, not evidence."""
    reason = f"no harm found{sentences.STILL_NEEDED}{', '.join(needed.reasons)}"
    deadline = terms.judge.deadline
    allowed = deadline.after_seconds
    if terms.copies_percent:  # a shadow is to run for as long as it says
        allowed = max(allowed, terms.bake_seconds)
    if not terms.moved_at or (now - terms.moved_at).total_seconds() < allowed:
        return Verdict("hold", reason, needed=needed, alerts=alerts)
    past = (
        f"undecided for {sentences.span(allowed)} at {terms.percent}%: the deadline "
        f"says {deadline.then} (policy, not evidence)"
    )
    kind: Kind = "revert" if deadline.then == "revert" else "hold"
    return Verdict(kind, f"{past}; {reason}", needed=needed, alerts=(past, *alerts))


def _never_ready(terms: Terms, seen: Observations, now: datetime) -> str | None:
    """Returns why the candidate will not be Ready any more, or None.

    Where stable is not Ready either the cause is shared, and what is old says nothing of now.
    """
    last = round(terms.judge.ready_deadline_seconds / seen.interval_seconds)
    ready, other = seen.candidate.ready, seen.stable.ready
    if ready is None or not 0 < last <= len(ready) or not np.all(ready[-last:] == 0):
        return None
    if other is not None and np.any(other[-last:] == 0):
        return None
    if _age_seconds(seen, len(ready), now) > STALE_INTERVALS * seen.interval_seconds:
        return None
    return (
        f"the candidate has not been Ready for {sentences.span(terms.judge.ready_deadline_seconds)}"
    )


def _waiting(terms: Terms, seen: Observations, now: datetime) -> Verdict:
    """Decides on a candidate that nothing is sent to: it has to be Ready, for the bake time."""
    ready = seen.candidate.ready
    known = [] if ready is None else np.flatnonzero(np.isfinite(ready))
    if ready is None or not len(known):
        return Verdict("no-data", "it is not known whether the candidate is Ready")
    age = _age_seconds(seen, int(known[-1]) + 1, now)
    if age > STALE_INTERVALS * seen.interval_seconds:
        return Verdict("no-data", f"whether the candidate is Ready was last known {age:.0f} s ago")
    # At 0 from the last interval in which it was not, or something was sent.
    with np.errstate(invalid="ignore"):
        broken = np.flatnonzero((ready[: known[-1] + 1] != 1) | (seen.weights[: known[-1] + 1] > 0))
    seconds = seen.interval_seconds * (int(known[-1]) - (int(broken[-1]) if len(broken) else -1))
    if not seconds:
        return Verdict("hold", "the candidate is not Ready yet")
    reason = f"the candidate has been Ready for {sentences.span(seconds)}"
    if seconds < terms.bake_seconds:
        left = terms.bake_seconds - seconds
        needed = Needed(None, left, (f"{left:.0f} s of bake time",))
        return Verdict(
            "hold", f"{reason}{sentences.STILL_NEEDED}{needed.reasons[0]}", needed=needed
        )
    return Verdict("advance", f"{reason}, nothing was sent to it yet", step_seconds=seconds)


def _age_seconds(seen: Observations, intervals: int, now: datetime) -> float:
    """Returns how long ago some first intervals ended."""
    return (now - seen.time_of(intervals)).total_seconds()


def _why_blind(terms: Terms, seen: Observations, now: datetime) -> str | None:
    """Returns why the data can't carry a verdict, or None."""
    if seen.declared_now is None:
        return "the declared weight is not recorded: is Prometheus up, and the stack applied?"
    if not same_percent(seen.declared_now, terms.sent_percent):
        return (
            f"the move to {terms.percent}% is not in effect: "
            f"{seen.declared_now:g}% is; run `pulumi up`"
        )
    if terms.sent_percent == 0:
        return None  # nothing is sent to the candidate, so nothing has to be counted
    everywhere = np.ones(len(seen.weights), dtype=bool)
    known = np.flatnonzero(_counted(seen, everywhere, alone=terms.percent == 100))
    if not len(known):
        asked = "the candidate" if terms.percent == 100 else "both versions"
        return f"no requests were counted for {asked}"
    age = _age_seconds(seen, int(known[-1]) + 1, now)
    if age > STALE_INTERVALS * seen.interval_seconds:
        return f"the newest counts are {age:.0f} s old"
    return None


def _counted(seen: Observations, mask: Mask, *, alone: bool = False) -> Mask:
    """Marks where anything was counted of both versions, or of the candidate alone."""
    arms = [seen.candidate] if alone else [seen.stable, seen.candidate]
    return usable([arm.volume for arm in arms], mask)


def _strange(arms: Sequence[Arm], step: Mask) -> str | None:
    """Returns what can't be true of the counts at the present step, or None."""
    for arm in arms:
        for name, counts in (*arm.metrics.items(), *arm.values.items()):
            wrong = int((counts.impossible & step).sum())
            if wrong:
                return (
                    f"{arm.version} shows more bad answers than answers, or what "
                    f"else can't be ({name}, {wrong} intervals)"
                )
    return None


def _extra(terms: Terms, seen: Observations) -> tuple[ExtraVerdict, ...]:
    tests = [run(test, seen, len(terms.extra_tests)) for test in terms.extra_tests]
    return tuple(test for test in tests if test)


def _alerts(terms: Terms, found: _Found) -> tuple[str, ...]:
    measured = {metric.name for metric in found.metrics}
    blind = [
        f"{name} is promised but not measured" for name in terms.promised if name not in measured
    ]
    if len(found.extra) < len(terms.extra_tests):
        blind.append("an extra test found nothing to look at")
    drift = [_drift_sentence(it) for it in found.drift if it.drifted]
    return (*blind, *drift, *(it.reason for it in found.extra if it.found))


def _drifted(found: _Found) -> Verdict | None:
    reverting = [it for it in found.drift if it.drifted and it.then == "revert"]
    if reverting:
        return Verdict("revert", "; ".join(map(_drift_sentence, reverting)))
    holding = [_drift_sentence(it) for it in found.drift if it.drifted and it.then == "hold"]
    holding += [it.reason for it in found.extra if it.found and it.then == "hold"]
    return Verdict("hold", "; ".join(holding)) if holding else None


def _drift_sentence(drift: DriftVerdict) -> str:
    meaning = {
        ("stable", True): "it predicts differently",
        ("stable", False): "the versions are asked different things: a broken split, or skew",
        ("reference", True): "what is predicted has changed since training",
        ("reference", False): "what is asked has changed since training: train again",
    }[drift.against, drift.name == PREDICTIONS]
    other = "stable" if drift.against == "stable" else "its training data"
    return (
        f"{drift.name} of {drift.version} differ from {other} by {drift.distance:.1%} (at least "
        f"{max(drift.lower, drift.tolerance):.1%}; {drift.tolerance:.1%} is tolerated): {meaning}"
    )


def _breach(terms: Terms, seen: Observations, rates: Rates) -> Verdict | None:
    """Holds or reverts where the candidate is over the SLO; a shared breach has another cause."""
    over = over_ceiling(terms, seen, rates)
    if not over:
        return None
    names = ", ".join(name for name, _ in over)
    by_itself = [name for name, by_itself in over if by_itself]
    if by_itself:
        return Verdict(
            "revert",
            f"over the SLO in {', '.join(by_itself)}, which stable is shown to keep, and worse",
        )
    reason = (
        f"over the SLO in {names}, and it is not shown both that stable keeps it and that the "
        "candidate is worse: the cause may be shared"
    )
    return Verdict("hold", reason, alerts=(reason,))


def _extreme_sentence(terms: Terms, seen: Observations, which: Compared, found: _Found) -> str:
    errors = next(metric for metric in found.metrics if metric.name == ERRORS)
    sent = int(np.nansum(seen.candidate.routed[which.settled]))
    unanswered = max(sent - errors.candidate.total, 0)
    silent = f", {unanswered:,} of {sent:,} got no answer in time" if unanswered else ""
    said = (
        f"candidate {sentences.bad_answers(errors.name, errors.candidate)} "
        f"({errors.candidate.total:,}){silent}, stable {sentences.percentage(errors.stable.rate)} "
        f"({errors.stable.total:,})"
    )
    return (
        f"extreme harm: {said}; with error {terms.judge.alpha * EXTREME_PART:.2%} at most it is "
        f"worse by more than {sentences.points(EXTREME)}"
    )
