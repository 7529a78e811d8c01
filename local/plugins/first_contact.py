"""Finds out whether a cluster can be reached, when the first object needs it.

The engine does not say whether it only previews when it calls Check and Diff, and a preview shall
not hang for a minute where there is no cluster. So these, and what is only previewed, wait for
moments and then show what is declared; what reads, makes, changes and deletes waits for as long as
an API server may be away.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

from local.plugins.cluster_api import ClusterApi
from local.plugins.cluster_mode import ClusterMode, Options, UnreachableMode
from local.plugins.kubeconfig import KubeconfigError
from local.plugins.mode import Call, Mode
from local.plugins.properties import Properties
from local.plugins.refusals import ApiError, CancelledError

SECONDS_FOR_PREVIEWS = 5.0


class FirstContact:
    """Writes to a cluster once it has answered.

    Args:
        api: the cluster.
        options: the provider's.
    """

    def __init__(self, api: ClusterApi, options: Options) -> None:
        self._api = api
        self._reached = ClusterMode(api, options)
        self._unreachable = UnreachableMode(
            f"no answer from the Kubernetes API server at {api.server} in "
            f"{SECONDS_FOR_PREVIEWS:g} s",
            options,
        )
        self._lock = threading.Lock()
        self._answer: Future[Mode] | None = None
        self._deadline = 0.0  # for previews

    def problem(self, marked: Properties) -> str | None:
        """Needs no cluster."""
        return self._reached.problem(marked)

    def namespace(
        self, manifest: Properties, declared: str | None, old: Properties | None = None
    ) -> str | None:
        """Asks the cluster if it is there; else it is guessed."""
        return self._for_preview().namespace(manifest, declared, old)

    def fixed(self, live: Properties, new: Properties, field_manager: str) -> list[str]:
        """Asks the cluster if it is there.

        Without, an update of a fixed field is refused later, rather than the object replaced.
        """
        return self._for_preview().fixed(live, new, field_manager)

    def create(self, manifest: Properties, call: Call) -> Properties | None:
        """Makes the object; a preview waits for moments only."""
        return self._for(call).create(manifest, call)

    def read(self, identity: Properties) -> Properties | None:
        """Reads the object, with full patience."""
        return self._for_good().read(identity)

    def check(self, live: Properties) -> None:
        """Looks whether what was read is ready."""
        self._for_good().check(live)

    def update(self, old: Properties, manifest: Properties, call: Call) -> Properties | None:
        """Changes the object; a preview waits for moments only."""
        return self._for(call).update(old, manifest, call)

    def delete(self, live: Properties, inputs: Properties, call: Call) -> None:
        """Deletes the object, with full patience."""
        self._for_good().delete(live, inputs, call)

    def _for(self, call: Call) -> Mode:
        return self._for_preview() if call.preview else self._for_good()

    def _for_preview(self) -> Mode:
        answer = self._asked()
        try:
            return answer.result(max(self._deadline - time.monotonic(), 0))
        except TimeoutError:
            return self._unreachable

    def _for_good(self) -> Mode:
        return self._asked().result()

    def _asked(self) -> Future[Mode]:
        """Returns the answer to come; one question serves all, and goes on behind previews."""
        with self._lock:
            if self._answer is None:
                self._answer = Future()
                self._deadline = time.monotonic() + SECONDS_FOR_PREVIEWS
                threading.Thread(target=self._ask, args=(self._answer,), daemon=True).start()
            return self._answer

    def _ask(self, answer: Future[Mode]) -> None:
        try:
            self._api.version()
            answer.set_result(self._reached)
        except CancelledError as error:
            answer.set_exception(error)
        except (ApiError, KubeconfigError) as error:
            server = self._api.server
            self._unreachable.explain(str(error) if server in str(error) else f"{server}: {error}")
            answer.set_result(self._unreachable)
        except BaseException as error:  # noqa: BLE001 (raised where the answer is waited for)
            answer.set_exception(error)
