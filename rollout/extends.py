"""Whether a rollout goes on from another: what is applied must not be older than what is merged."""

from __future__ import annotations

from models.rollout import Rollout


def extends(before: Rollout, after: Rollout) -> str | None:
    """Returns why a rollout does not go on from an earlier one, or None where it does.

    Args:
        before: as it is merged.
        after: as it is about to be applied: the same, with more moves, or begun anew.
    """
    past = [(move.percent, move.at) for move in before.moves]
    moves = [(move.percent, move.at) for move in after.moves]
    stamps = [at for _, at in past] + [it.at for it in before.rejected]
    anew = bool(moves) and (not stamps or moves[0][1] >= max(stamps))
    taken_back = before.percent == 0 and any(it.at >= past[-1][1] for it in before.rejected if past)
    if after.stable != before.stable:
        promoted = after.stable == before.candidate and not taken_back
        # What takes a promotion back begins at 0; an older file would have traffic there.
        restored = after.candidate == before.stable and {it for it, _ in moves} == {0}
        return None if promoted or restored else f"stable is {before.stable}, not {after.stable}"
    if after.candidate == before.candidate:
        if moves[: len(past)] == past or (before.percent == 0 and anew):
            return None
        return f"moves of {before.candidate} are missing or other ones"
    if after.candidate is None:
        rejected = len(after.rejected) > len(before.rejected)
        return None if before.percent == 0 or rejected else f"{before.candidate} is missing"
    return None if anew else f"{after.candidate} began before what is merged"
