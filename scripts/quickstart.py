"""`modelramp quickstart`: the main job on this machine, from one command."""

from __future__ import annotations

from typing import Annotated

import typer
from filelock import FileLock, Timeout

from local.home import Home
from models.errors import RuntimeTargetError
from scripts.local import OnCluster
from scripts.screen import working
from scripts.signals import terminable
from scripts.targets import target_of


def quickstart(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running at the end.")
    ] = False,
    on_cluster: OnCluster = False,
) -> None:
    """Roll a real model out on this machine: version 2 is good, version 3 is broken.

    Trains three versions on real measurements, serves them behind Envoy under live traffic, and
    lets drift-check walk version 2 from 5% to 100% and take version 3 back; each move is an edit
    of stacks/Pulumi.local.yaml and a real `pulumi up`. Needs no cluster, no cloud account, no root.
    With --cluster the same happens on a real Kubernetes, by stacks/Pulumi.cluster.yaml. Ends every
    process of the local stack when it is done; a cluster that ran before stays.
    """
    from scripts.story import Story, tell  # noqa: PLC0415  plots and MLflow: seconds to import

    home = Home.find()
    target = target_of(home, on_cluster=on_cluster)
    home.path.mkdir(exist_ok=True)
    lock = FileLock(home.path / "quickstart.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RuntimeTargetError(f"another quickstart is running in {home.root}") from None
    with lock, terminable():
        keep = keep or (on_cluster and target.status() is not None)
        try:
            target.end_left_behind()
            tell(target, Story())
        finally:
            if not keep:
                with working("Ending all processes"):
                    target.down()
