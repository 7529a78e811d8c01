"""kubectl as the local cluster's administrator."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from local.commands import run
from models.errors import ToolError

APPLY_TIMEOUT_SECONDS = 180
WAIT_TIMEOUT_SECONDS = 180
POLL_SECONDS = 0.5
_FIELD_MANAGER = "modelramp-local"
_STARTING = (
    "failed calling webhook",
    "connection refused",
    "no matches for kind",
    "ensure CRDs are installed first",
)


class Kubectl:
    """Runs kubectl.

    Args:
        program: kubectl.
        kubeconfig: of the cluster.
    """

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self._command = (str(program), f"--kubeconfig={kubeconfig}")

    def run(self, *arguments: str, timeout_seconds: float = 30, given: str = "") -> str:
        """Runs one command and returns its output; `given` is its standard input.

        Raises:
            ToolError: it failed or took too long; with what it said.
        """
        command = (*self._command, *arguments)
        return run(command, folder=Path.cwd(), timeout_seconds=timeout_seconds, given=given)

    def get(self, *arguments: str) -> Any:
        """Returns what `kubectl get` finds, as an object."""
        return json.loads(self.run("get", *arguments, "--output=json"))

    def apply(self, objects: Sequence[dict[str, Any]]) -> None:
        """Applies objects; refusals that pass, such as of a webhook that starts, are outwaited.

        Raises:
            ToolError: the API server goes on refusing one.
        """
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        arguments = ("apply", "--server-side", "--force-conflicts", "--filename=-")
        attempts = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_delay(APPLY_TIMEOUT_SECONDS),
            wait=wait_fixed(POLL_SECONDS),
            reraise=True,
        )
        attempts(
            self.run,
            *arguments,
            f"--field-manager={_FIELD_MANAGER}",
            timeout_seconds=APPLY_TIMEOUT_SECONDS,
            given=given,
        )

    def wait(self, condition: str, resource: str, namespace: str) -> None:
        """Waits until an object has a condition.

        Raises:
            ToolError: it did not get there in time.
        """
        give_up_at = time.monotonic() + WAIT_TIMEOUT_SECONDS
        while True:
            left = give_up_at - time.monotonic()
            try:
                self.run(
                    *("wait", f"--for=condition={condition}", resource, f"--namespace={namespace}"),
                    f"--timeout={max(1, int(left))}s",
                    timeout_seconds=left + 10,
                )
            except ToolError as error:
                # An object that is not there yet is an error at once.
                if "NotFound" not in str(error) or left <= 0:
                    raise
                time.sleep(POLL_SECONDS)
            else:
                return


def _may_pass(error: BaseException) -> bool:
    """Whether what is missing may just be starting."""
    return any(words in str(error) for words in _STARTING)
