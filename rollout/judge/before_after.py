"""At 100% no stable is beside the candidate: only the SLO is left, and what stable did before."""

from __future__ import annotations

import math

import numpy as np

from rollout.judge import sentences
from rollout.judge.bounds import rate_bounds
from rollout.judge.compare import alpha_of_each
from rollout.judge.e_process import ceiling_evidence, peak
from rollout.judge.needed import still_needed
from rollout.judge.series import Counts, Observations, usable
from rollout.judge.terms import Terms
from rollout.judge.verdict import Kind, MetricVerdict, Shown, Verdict

_STRAY = 0.01
"""Share of requests that may still be at stable: pinned ones, smoke tests."""

MARK = "before and after, without the alpha guarantee"


def alone(terms: Terms, seen: Observations) -> Verdict:
    """Decides at 100%: a breach of the SLO reverts, worse than stable was holds.

    Args:
        terms: what the rollout is held to.
        seen: counts of both versions from the first move to now.
    """
    counts = seen.candidate.volume
    step = seen.present_step() & counts.known
    requests = int(counts.total[step].sum())
    seconds = float(seen.interval_seconds * step.sum())
    metrics = tuple(_compared(terms, seen, name) for name in _rates(terms, seen))
    needed = still_needed(terms, (), requests, seconds)

    def verdict(kind: Kind, reason: str, *alerts: str) -> Verdict:
        return Verdict(
            kind,
            reason,
            metrics,
            needed=needed,
            alerts=alerts,
            step_requests=requests,
            step_seconds=seconds,
        )

    for metric in metrics:
        breach = _breach(terms, seen, metric)
        if breach:
            return verdict(*breach, breach[1])
    worse = next((it for it in metrics if it.lower is not None and it.lower > it.margin), None)
    if worse:
        was = sentences.percentage(worse.stable.rate)
        reason = (
            f"at 100% the candidate {sentences.bad_answers(worse.name, worse.candidate)}, stable "
            f"had {was} before: more than the margin of {sentences.points(worse.margin)} ({MARK})"
        )
        return verdict("hold", reason, reason)
    shared = _still_at_stable(seen)
    if shared > _STRAY:
        reason = f"at 100% stable still gets {shared:.1%} of requests: the split is not as declared"
        return verdict("hold", reason, reason)
    counted = {metric.name for metric in metrics if metric.step_total}
    missing = [name for name in terms.promised if name not in counted]
    reasons = (
        *(f"counts of {name} at this step" for name in missing),
        *needed.reasons,
    )
    if not metrics:
        return verdict("hold", "no metric of the candidate was measured")
    if reasons:
        return verdict(
            "hold", f"within the SLO at 100%{sentences.STILL_NEEDED}{', '.join(reasons)}"
        )
    return verdict("promote", f"{requests:,} requests at 100%, within the SLO; it becomes stable")


def _still_at_stable(seen: Observations) -> float:
    """Returns the share of requests that stable was sent at the present step."""
    step = seen.present_step() & np.isfinite(seen.stable.routed + seen.candidate.routed)
    stable, candidate = seen.stable.routed[step].sum(), seen.candidate.routed[step].sum()
    return float(stable / max(stable + candidate, 1))


def _rates(terms: Terms, seen: Observations) -> list[str]:
    return [name for name in terms.rates if name in seen.candidate.metrics]


def _after(seen: Observations, name: str) -> Counts:
    candidate = seen.candidate.metrics[name]
    return candidate.within(usable([candidate], seen.present_step()))


def _before(seen: Observations, name: str) -> Counts | None:
    """Returns what stable did while it was served, None if that is not known."""
    stable = seen.stable.metrics.get(name)
    return stable and stable.within(usable([stable], seen.weights < 100))


def _compared(terms: Terms, seen: Observations, name: str) -> MetricVerdict:
    """Compares the candidate now with stable before; the bounds are the sums of both their own."""
    alpha = alpha_of_each(terms, seen)
    after = _after(seen, name)
    before = _before(seen, name) or Counts.of([0.0], [0.0])
    was, now = Shown.of(before), Shown.of(after)
    low, high = zip(*(rate_bounds(arm, alpha / 2) for arm in (before, after)), strict=True)
    return MetricVerdict(
        name=name,
        stable=was,
        candidate=now,
        difference=now.minus(was),
        lower=float(low[1] - high[0]),
        upper=float(high[1] - low[0]),
        e_value=None,
        margin=terms.rates[name].margin,
        margin_e_value=None,
        alpha=alpha,
        dispersion=1.0,
        harmful=False,
        ruled_out=False,
        step_total=now.total,
    )


def _breach(terms: Terms, seen: Observations, metric: MetricVerdict) -> tuple[Kind, str] | None:
    """Returns what to do about a breach of the SLO at 100%, or None where there is none.

    Where stable was over it too, while it was served, the cause is shared: hold, unless the
    candidate is worse by more than the margin even so.
    """
    ceiling = terms.rates[metric.name].ceiling
    if ceiling is None:
        return None
    if peak(ceiling_evidence(_after(seen, metric.name), ceiling)) < -math.log(metric.alpha):
        return None
    reason = (
        f"alone at 100% the candidate {sentences.bad_answers(metric.name, metric.candidate)} "
        f"({metric.candidate.total:,}), over the SLO of {ceiling:.2%} ({MARK})"
    )
    was = metric.stable.rate
    much_worse = metric.lower is not None and metric.lower > metric.margin
    if was is not None and was > ceiling and not much_worse:
        return "hold", f"{reason}; stable was over it too: {was:.2%}"
    return "revert", reason
