"""What an advance still takes: requests, and time at today's traffic."""

from __future__ import annotations

import math

from rollout.judge import sentences
from rollout.judge.terms import ACCURACY, Terms
from rollout.judge.verdict import MetricVerdict, Needed


def still_needed(
    terms: Terms,
    compared: tuple[MetricVerdict, ...],
    requests: int,
    seconds: float,
    *,
    split_known: bool = True,
) -> Needed:
    """Returns what an advance still takes.

    Args:
        terms: what the rollout is held to.
        compared: what each metric says.
        requests: the candidate's at the present step.
        seconds: how long the present step has held, settled.
        split_known: whether it was seen how many requests each version was sent.
    """
    reasons: list[str] = []
    pace = requests / seconds if seconds else 0.0
    more, wait, possible = 0, 0.0, split_known
    if not split_known:
        reasons.append("counts of the requests that each version was sent")
    if seconds < terms.bake_seconds:
        wait = terms.bake_seconds - seconds
        reasons.append(f"{wait:.0f} s of bake time")
    if requests < terms.judge.min_requests:
        more = terms.judge.min_requests - requests
        reasons.append(f"{more:,} requests")
    for metric in compared:
        if metric.step_total == 0:
            possible = False
            reasons.append(f"counts of {metric.name} for both versions at this step")
        elif terms.evidence == "margin" and not metric.ruled_out:
            margin = sentences.size(metric, metric.margin)
            what = f"to rule out that {metric.name} is worse by {margin}"
            still = _still(terms, metric, requests)
            if still is None:
                possible = False
                reasons.append(f"more requests {what}: not at the present rates")
                continue
            more = max(more, still)
            time = f" ({sentences.span(still / pace)})" if pace else ""
            reasons.append(f"about {still:,} requests {what}{time}")
    if not possible:
        return Needed(None, None, tuple(reasons))
    if more and not pace:
        return Needed(more, None, tuple(reasons))
    return Needed(more, max(wait, more / pace if pace else 0.0), tuple(reasons))


def _still(terms: Terms, metric: MetricVerdict, requests: int) -> int | None:
    """Returns how many requests ruling out a margin still takes, None where it can't be said."""
    stable, candidate = metric.stable, metric.candidate
    if stable.bad is None or stable.rate is None or candidate.rate is None or not requests:
        return None
    share = min(max(terms.sent_percent / 100, 0.001), 0.999)
    shown = math.log(max(metric.margin_e_value or 1.0, 1.0))
    answers = requests_to_rule_out(
        (stable.rate, candidate.rate), metric.margin, share, terms.judge.beta, shown
    )
    if answers is None:
        return None
    # Labels come for a part of the requests only.
    per_request = min(metric.step_total / requests, 1.0) if metric.name == ACCURACY else 1.0
    return max(math.ceil(answers * metric.dispersion / max(per_request, 1e-9)), 1)


def requests_to_rule_out(
    rates: tuple[float, float], margin: float, share: float, beta: float, shown: float = 0.0
) -> int | None:
    """Returns how many of the candidate's requests ruling out the margin takes, about.

    Evidence grows by gap^2 / (2 variance) per request where the gap is what the candidate stays
    below the margin and both arms' noise counts; without any bad answer, by the gap itself.

    Args:
        rates: stable's and the candidate's share of bad answers.
        margin: by how much the candidate may be worse.
        share: the candidate's share of requests, above 0 and below 1.
        beta: the level.
        shown: the log e-value so far.

    Returns:
        None where no number would do: the candidate is worse by the margin already.
    """
    gap = margin - (rates[1] - rates[0])
    if gap <= 0:
        return None
    odds = share / (1 - share)
    variance = rates[1] * (1 - rates[1]) + odds * rates[0] * (1 - rates[0])
    # A mixture over how good the candidate may be costs about one unit of evidence.
    missing = -math.log(beta) + (1 if shown <= 0 else 0) - shown
    return max(math.ceil(missing * 2 * max(variance, gap / 2) / gap**2), 0)
