"""The local cluster from outside: bring it up, delete it, ask it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local.cluster import addons, machine
from local.cluster.container_runtime import Images
from local.cluster.images import BuiltImage, build_images
from local.cluster.kubectl import Kubectl
from local.cluster.layout import ENDPOINTS, NODE_ADDRESS, STORE_PORT, Layout, address
from local.cluster.node import Request
from local.cluster.programs import IMAGE_TOOLS, NODE_TOOLS, ensure_programs
from local.cluster.python_root import check_system
from local.stores import client_environment
from local.tools import Progress, shown
from models.errors import RuntimeTargetError, ToolError

_KEY_LABEL = "modelramp.dev/key"


def fetch(progress: Progress) -> tuple[Mapping[str, Path], list[BuiltImage]]:
    """Finds, downloads or builds all programs and images; returns where they are.

    Raises:
        ToolError: a program or image could not be had.
        RuntimeTargetError: the machine cannot have a cluster, so nothing was built for it.
    """
    if problems := machine.missing_of_the_machine():
        raise RuntimeTargetError("\n".join(problems))
    check_system()
    programs = ensure_programs((*NODE_TOOLS, *IMAGE_TOOLS), progress)
    return programs, build_images(programs, progress)


def up(progress: Progress) -> dict[str, str]:
    """Makes the cluster, or what is missing of it; whatever is there already is left alone.

    Returns:
        the endpoints, URLs by name.

    Raises:
        ToolError: a program or image could not be had, or a part was refused.
        RuntimeTargetError: the machine lacks something, or a part did not come up.
    """
    layout = Layout.default()
    programs, images = fetch(progress)
    pause = next(image.reference for image in images if "/pause:" in image.reference)
    with machine.locked():
        with shown(progress, "Starting Kubernetes", None, ""):
            machine.start_node(layout, Request(programs, pause))
        _take_images(Images(layout, programs["ctr"]), images, progress)
        kubectl = Kubectl(programs["kubectl"], layout.kubeconfig)
        addons.apply(layout, kubectl, addons.addons(layout, programs), progress)
    return ENDPOINTS


def down() -> int:
    """Deletes the cluster; returns how many processes of it there were.

    Images, the artifact store and the model registry stay.

    Raises:
        RuntimeTargetError: it is just being started, or the caller is not root.
    """
    with machine.locked():
        return machine.stop_node(Layout.default())


def status() -> dict[str, Any] | None:
    """Returns what runs, or None when there is no cluster.

    With the node's processes and endpoints come all pods: their phase, and whether they are ready.
    """
    layout = Layout.default()
    now = machine.status(layout)
    if now is None:
        return None
    request = Request.read(layout.request_file)
    kubectl = Kubectl(request.programs["kubectl"], layout.kubeconfig)
    try:
        pods = {
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": _is_ready(pod)
            for pod in kubectl.get("pods", "--all-namespaces")["items"]
        }
    except ToolError as error:
        return {**now, "endpoints": ENDPOINTS, "pods": {}, "error": str(error)}
    return {**now, "endpoints": ENDPOINTS, "pods": pods}


def environment() -> dict[str, str]:
    """Returns what clients of the cluster, its registry and its store need in their environment.

    Raises:
        RuntimeTargetError: there is no cluster.
    """
    layout = Layout.default()
    if machine.status(layout) is None:
        raise RuntimeTargetError("no local cluster runs: `modelramp local up --cluster` makes one")
    # It is on this machine, where no proxy can reach it.
    exempt = [name for name in (os.environ.get("NO_PROXY"), NODE_ADDRESS) if name]
    return {
        "NO_PROXY": ",".join(exempt),
        **client_environment(layout.data, address(STORE_PORT)),
        "MLFLOW_TRACKING_URI": ENDPOINTS["mlflow"],
    }


def _take_images(images: Images, built: Sequence[BuiltImage], progress: Progress) -> None:
    """Imports the images that containerd has not got, or only in another build."""
    had = images.labels()
    missing = [image for image in built if image.key not in had.get(image.reference, "")]
    if not missing:
        return
    with shown(progress, "Importing images", len(missing), "images"):
        for image in missing:
            images.take(image.archive)
            images.label(image.reference, _KEY_LABEL, image.key)
            progress.advance(1)


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    finished = pod["status"].get("phase") == "Succeeded"
    return finished or any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)
