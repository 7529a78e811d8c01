"""What a verdict stands on, in words: for tables and reports."""

from __future__ import annotations

from rollout.drift_check import Outcome


def evidence(outcome: Outcome) -> list[dict[str, str]]:
    """Returns what a verdict stands on, a row per metric, in words."""
    verdict = outcome.verdict
    if verdict is None:
        return []
    move = f"{outcome.candidate}: {outcome.from_percent}% to {outcome.to_percent}%"
    return [
        {
            "move": f"{move}, {verdict.kind}",
            "name": metric.name,
            "stable": _ratio(metric.stable),
            "candidate": _ratio(metric.candidate),
            "difference": f"{100 * metric.difference:+.2f}",
            "bounds": f"{100 * metric.lower:+.1f} to {100 * metric.upper:+.1f}",
            "harm": f"{metric.harm_e_value:.3g} ({1 / metric.alpha_share:.0f})",
            "margin": f"{100 * metric.margin:g}",
            "against": f"{metric.margin_e_value:.3g}",
            "says": "harm" if metric.harmful else "ruled out" if metric.ruled_out else "open",
        }
        for metric in verdict.metrics
    ]


def _ratio(pair: tuple[int, int]) -> str:
    bad, whole = pair
    return f"{bad:,} of {whole:,} ({bad / whole:.2%})" if whole else "none"
