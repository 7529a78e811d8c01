"""Which stacks a change of the repository touches: previews and `up` run for these alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

PROGRAM = ("components", "models", "stacks", "Pulumi.yaml", "requirements.lock")
"""What `pulumi up` runs, for every stack; of `stacks` what is not of one stack."""


def changed_stacks(paths: Iterable[str], stacks: Sequence[str]) -> list[str]:
    """Returns the stacks that changed files matter to, in the order of `stacks`.

    Args:
        paths: changed files, relative to the repository's root.
        stacks: names of all stacks of interest.
    """
    own: set[str] = set()
    for path in map(PurePosixPath, paths):
        if path.parts[0] == "policies":
            # A pack gates what is applied: rules all stacks, its configuration one.
            own |= {path.stem} if path.parent.name == "config" else set(stacks)
        elif path.match("stacks/Pulumi.*.yaml"):
            own.add(path.name.removeprefix("Pulumi.").removesuffix(".yaml"))
        elif path.parts[0] in PROGRAM and not path.match("*.md") and not _is_log(path):
            return list(stacks)
    return [name for name in stacks if name in own]


def _is_log(path: PurePosixPath) -> bool:
    return path.parts[:2] in {("stacks", "history"), ("stacks", "schema.json")}
