"""The rules and their order: no data, extreme harm, the split, harm, advance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from models.service import Service
from rollout.judge.e_process import (
    ceiling_evidence,
    difference_bounds,
    harm_evidence,
    margin_evidence,
    split_evidence,
)
from rollout.judge.series import Counts, Mask, Observations, usable

Kind = Literal["advance", "hold", "revert", "promote", "no-data"]
METRICS = ("errorRate", "latency", "accuracy")
ERRORS = "errorRate"
SPLIT_ALPHA = 0.001
EXTREME = 0.25
"""Proved to fail this share more of its requests than stable: reverted whatever the split was."""

STALE_INTERVALS = 3
"""The newest known interval may be this old before the data count as stale."""

_SAYS = {
    "errorRate": "fails {:.2%} of requests",
    "latency": "is slow on {:.2%} of requests",
    "accuracy": "is wrong on {:.2%} of labelled requests",
}


@dataclass(frozen=True)
class MetricVerdict:
    """What one metric says.

    Attributes:
        name: errorRate, latency or accuracy.
        stable: (bad, total) of stable over the rollout.
        candidate: (bad, total) of the candidate over the rollout.
        step_total: the fewer of both versions' totals at the present step.
        difference: candidate's share of bad minus stable's, over the rollout.
        lower, upper: anytime-valid bounds of the difference, each at level alpha_share.
        harm_e_value: against "worse by at most the margin", over the rollout.
        margin_e_value: against "worse by at least the margin", over the present step.
        margin: as declared.
        alpha_share: this metric's part of alpha.
        harmful: worse by more than the margin is proved.
        ruled_out: worse by the margin or more is ruled out at level beta.
    """

    name: str
    stable: tuple[int, int]
    candidate: tuple[int, int]
    step_total: int
    difference: float
    lower: float
    upper: float
    harm_e_value: float
    margin_e_value: float
    margin: float
    alpha_share: float
    harmful: bool
    ruled_out: bool


@dataclass(frozen=True)
class SplitVerdict:
    """Whether requests were split as declared.

    Attributes:
        declared: the share that should have reached the candidate, at the present step.
        observed: the share that did.
        requests: how many requests that is.
        e_value: against "split as declared".
        wrong: the split is refuted at level `SPLIT_ALPHA`.
    """

    declared: float
    observed: float
    requests: int
    e_value: float
    wrong: bool


@dataclass(frozen=True)
class Verdict:
    """What to do, why, and from which numbers.

    Attributes:
        kind: advance, hold, revert, promote or no-data.
        reason: one sentence a person understands.
        metrics: per metric; empty where there are no data.
        split: None where only one version gets traffic.
        step_requests: the candidate's requests at the present step.
        step_seconds: how long the present step has held, settled.
        needed: what is still missing for an advance; empty if nothing.
    """

    kind: Kind
    reason: str
    metrics: tuple[MetricVerdict, ...] = ()
    split: SplitVerdict | None = None
    step_requests: int = 0
    step_seconds: float = 0.0
    needed: tuple[str, ...] = ()


def judge(service: Service, seen: Observations, now: datetime) -> Verdict:
    """Decides on a service in a rollout.

    Args:
        service: as declared, with a candidate.
        seen: counts of both arms from the first move to now.
        now: time of the decision.
    """
    rollout = service.rollout
    if rollout is None or rollout.candidate is None:
        raise ValueError("judge needs a service in a rollout")
    blind = _why_blind(service, seen, now)
    if blind:
        return Verdict("no-data", blind)
    if rollout.percent == 100:
        return _alone(service, seen)
    compared = ~np.isnan(seen.weights) & (seen.weights > 0) & (seen.weights < 100)
    if not np.any(usable(_both(seen, ERRORS), compared)):
        return Verdict("no-data", "no settled interval in which both versions were counted")
    metrics = tuple(_metric(service, seen, name, compared) for name in _active(service))
    split = _split(seen, compared)
    step = usable(_both(seen, ERRORS), seen.present_step())
    requests = int(seen.candidate.metrics[ERRORS].total[step].sum())
    seconds = float(seen.interval_seconds * step.sum())

    def verdict(kind: Kind, reason: str, needed: tuple[str, ...] = ()) -> Verdict:
        return Verdict(kind, reason, metrics, split, requests, seconds, needed)

    errors = metrics[0]
    if errors.harmful and errors.lower >= EXTREME:
        return verdict("revert", _harm_sentence(errors))
    if split and split.wrong:
        return verdict(
            "hold",
            f"the split is not as declared: {split.observed:.1%} of {split.requests:,} requests "
            f"reached the candidate, {split.declared:.1%} should have; no metric can be trusted",
        )
    harmful = [metric for metric in metrics if metric.harmful]
    if harmful:
        return verdict("revert", "; ".join(_harm_sentence(metric) for metric in harmful))
    needed = _needed(service, metrics, requests, seconds)
    if needed:
        return verdict("hold", f"no harm found; still needed: {', '.join(needed)}", needed)
    return verdict("advance", _advance_sentence(service, metrics, requests))


def _why_blind(service: Service, seen: Observations, now: datetime) -> str | None:
    """Returns why the data can't carry a verdict, or None."""
    assert service.rollout is not None  # noqa: S101  judge has checked it
    if seen.declared_now is None:
        return "the declared weight is not recorded: is Prometheus up, and the stack applied?"
    if seen.declared_now != service.rollout.percent:
        return (
            f"the move to {service.rollout.percent}% is not in effect: "
            f"{seen.declared_now:g}% is; run `pulumi up`"
        )
    arms = _both(seen, ERRORS)
    relevant = arms if service.rollout.percent < 100 else arms[1:]
    known = np.flatnonzero(usable(relevant, np.ones(len(seen.weights), dtype=bool)))
    if not len(known):
        return "no requests were counted for both versions"
    age = (now - seen.time_of(int(known[-1]) + 1)).total_seconds()
    if age > STALE_INTERVALS * seen.interval_seconds:
        return f"the newest counts are {age:.0f} s old"
    return None


def _active(service: Service) -> tuple[str, ...]:
    return tuple(name for name in METRICS if name != "accuracy" or service.slo.accuracy)


def _alpha_share(service: Service) -> float:
    """Returns each metric's part of alpha."""
    return service.judge.alpha / len(_active(service))


def _both(seen: Observations, name: str) -> tuple[Counts, Counts]:
    return seen.stable.metrics[name], seen.candidate.metrics[name]


def _margin(service: Service, name: str) -> float:
    margin = service.margin
    by_name = {"errorRate": margin.error_rate, "latency": margin.latency}
    return by_name.get(name, margin.accuracy)


def _allowed(service: Service, name: str) -> float:
    """Returns the rate of bad answers that the SLO allows."""
    slo = service.slo
    by_name = {"errorRate": slo.error_rate, "latency": 1 - slo.latency.share}
    return by_name.get(name, 1 - (slo.accuracy or 0))


def _guess(service: Service, name: str) -> float:
    """Returns stable's expected rate before it is seen: what the SLO allows."""
    return max(_allowed(service, name), 1e-4)


def _metric(service: Service, seen: Observations, name: str, compared: Mask) -> MetricVerdict:
    arms = _both(seen, name)
    mask = usable(arms, compared)
    stable, candidate = (arm.where(mask) for arm in arms)
    step = usable(arms, seen.present_step())
    margin, guess = _margin(service, name), _guess(service, name)
    alpha = _alpha_share(service)
    harm = _peak(harm_evidence(stable, candidate, margin, guess))
    ruled_out = _peak(margin_evidence(arms[0].where(step), arms[1].where(step), margin, guess))
    lower, upper = difference_bounds(stable, candidate, guess, alpha)
    return MetricVerdict(
        name=name,
        stable=_sum(stable),
        candidate=_sum(candidate),
        step_total=min(int(arm.total[step].sum()) for arm in arms),
        difference=_rate(candidate) - _rate(stable),
        lower=lower,
        upper=upper,
        harm_e_value=_e_value(harm),
        margin_e_value=_e_value(ruled_out),
        margin=margin,
        alpha_share=alpha,
        harmful=harm >= -math.log(alpha),
        ruled_out=ruled_out >= -math.log(service.judge.beta),
    )


def _split(seen: Observations, compared: Mask) -> SplitVerdict | None:
    """Tests the present step alone: a wrong split that was mended is forgiven."""
    stable, candidate = seen.stable.routed, seen.candidate.routed
    mask = compared & seen.present_step() & ~np.isnan(stable + candidate)
    percents, mine = seen.weights[mask], candidate[mask]
    total = mine + stable[mask]
    if total.sum() == 0:
        return None
    evidence = _peak(split_evidence(mine, total, percents))
    return SplitVerdict(
        declared=float((total * percents).sum() / total.sum() / 100),
        observed=float(mine.sum() / total.sum()),
        requests=int(total.sum()),
        e_value=_e_value(evidence),
        wrong=evidence >= -math.log(SPLIT_ALPHA),
    )


def _alone(service: Service, seen: Observations) -> Verdict:
    """Decides at 100%, where no stable is beside the candidate: only the SLO is left."""
    step = seen.present_step() & seen.candidate.metrics[ERRORS].known
    requests = int(seen.candidate.metrics[ERRORS].total[step].sum())
    seconds = float(seen.interval_seconds * step.sum())
    for name in _active(service):
        breach = _breach(service, seen, name)
        if breach:
            return Verdict(*breach, step_requests=requests, step_seconds=seconds)
    needed = _needed(service, (), requests, seconds)
    if needed:
        reason = f"within the SLO at 100%; still needed: {', '.join(needed)}"
        return Verdict("hold", reason, (), None, requests, seconds, needed)
    reason = f"{requests:,} requests at 100%, within the SLO; it becomes stable"
    return Verdict("promote", reason, step_requests=requests, step_seconds=seconds)


def _breach(service: Service, seen: Observations, name: str) -> tuple[Kind, str] | None:
    """Returns what to do about a breach of the SLO at 100%, or None where there is none.

    Where stable was over it too, while it was served, the cause is shared: hold.
    """
    stable, candidate = _both(seen, name)
    ceiling = _allowed(service, name)
    alone = candidate.where(usable([candidate], seen.present_step()))
    alpha = _alpha_share(service)
    if _peak(ceiling_evidence(alone, ceiling)) < -math.log(alpha):
        return None
    bad, total = _sum(alone)
    says = _SAYS[name].format(_share((bad, total)))
    reason = (
        f"alone at 100% the candidate {says} ({total:,}), over the SLO of {ceiling:.2%} "
        "(before and after, without the alpha guarantee)"
    )
    before = stable.where(usable([stable], seen.weights < 100))
    if _rate(before) > ceiling:
        return "hold", f"{reason}; stable was over it too: {_rate(before):.2%}"
    return "revert", reason


def _needed(
    service: Service, metrics: tuple[MetricVerdict, ...], requests: int, seconds: float
) -> tuple[str, ...]:
    """Returns what is still missing for an advance, each as a phrase."""
    assert service.rollout is not None  # noqa: S101  judge has checked it
    percent = service.rollout.percent
    bake = service.strategy.bake_at(percent)
    margin = service.strategy.evidence_at(percent) == "margin"
    needed: list[str] = []
    if seconds < bake:
        needed.append(f"{bake - seconds:.0f} s of bake time")
    if requests < service.judge.min_requests:
        needed.append(f"{service.judge.min_requests - requests:,} requests")
    for metric in metrics:
        if metric.step_total == 0:
            needed.append(f"counts of {metric.name} for both versions at this step")
        elif margin and not metric.ruled_out:
            needed.append(_still_for(service, metric, requests, seconds))
    return tuple(needed)


def _still_for(service: Service, metric: MetricVerdict, requests: int, seconds: float) -> str:
    """Says what ruling out the margin still takes, at the pace of the present step."""
    what = f"to rule out that {metric.name} is worse by {_points(metric.margin)}"
    have, want = math.log(max(metric.margin_e_value, 1e-300)), -math.log(service.judge.beta)
    if have <= 0 or not requests:
        return f"more requests {what}"
    missing = (want - have) / have
    return f"about {missing * requests:,.0f} requests ({missing * seconds:,.0f} s) {what}"


def _harm_sentence(metric: MetricVerdict) -> str:
    says = _SAYS[metric.name]
    return (
        f"candidate {says.format(_share(metric.candidate))} ({metric.candidate[1]:,}), "
        f"stable {_share(metric.stable):.2%} ({metric.stable[1]:,}); with error "
        f"{metric.alpha_share:.2%} at most it is worse by at least "
        f"{_points(max(metric.lower, metric.margin))}, the margin is {_points(metric.margin)}"
    )


def _advance_sentence(service: Service, metrics: tuple[MetricVerdict, ...], requests: int) -> str:
    ruled_out = [
        f"{metric.name} worse by {_points(metric.margin)}" for metric in metrics if metric.ruled_out
    ]
    shown = f"; ruled out at {service.judge.beta:.0%}: {', '.join(ruled_out)}" if ruled_out else ""
    return f"{requests:,} requests at this step and no harm found{shown}"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _peak(evidence: np.ndarray) -> float:
    """Returns the highest log e-value so far: by Ville's inequality, it may be stopped there."""
    return float(evidence.max()) if len(evidence) else 0.0


def _e_value(log_e: float) -> float:
    return math.exp(min(log_e, 690.0))


def _sum(counts: Counts) -> tuple[int, int]:
    return int(counts.bad.sum()), int(counts.total.sum())


def _share(pair: tuple[int, int]) -> float:
    return pair[0] / pair[1] if pair[1] else 0.0


def _rate(counts: Counts) -> float:
    return _share(_sum(counts))
