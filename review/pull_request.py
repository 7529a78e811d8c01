"""What CI tells of the pull request that it runs for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ConfigError, Problem

_REF = re.compile(r"refs/pull/(\d+)/(?:merge|head)")


@dataclass(frozen=True)
class PullRequest:
    """A pull request of GitHub, or a merge request of GitLab.

    Attributes:
        number: None where CI runs for none.
        labels: that it had when the run began.
        commit: that is looked at, or "".
        run_url: of the run's log, or "".
        files_url: of the repository's files at that commit, or "".
    """

    number: int | None
    labels: tuple[str, ...] = ()
    commit: str = ""
    run_url: str = ""
    files_url: str = ""


def pull_request_of(environment: Mapping[str, str]) -> PullRequest:
    """Reads what GitHub Actions or GitLab CI set.

    Args:
        environment: GITHUB_EVENT_PATH, GITHUB_REF, GITHUB_SHA, GITHUB_SERVER_URL,
            GITHUB_REPOSITORY, GITHUB_RUN_ID; or CI_MERGE_REQUEST_IID, CI_MERGE_REQUEST_LABELS,
            CI_COMMIT_SHA, CI_JOB_URL, CI_PROJECT_URL.

    Raises:
        ConfigError: the event cannot be read.
    """
    said = environment.get
    if number := said("CI_MERGE_REQUEST_IID"):
        labels = [it for it in said("CI_MERGE_REQUEST_LABELS", "").split(",") if it]
        commit, project = said("CI_COMMIT_SHA", ""), said("CI_PROJECT_URL", "")
        files = f"{project}/-/blob/{commit}" if project and commit else ""
        return PullRequest(int(number), tuple(labels), commit, said("CI_JOB_URL", ""), files)
    event = _event(said("GITHUB_EVENT_PATH"))
    request: Mapping[str, Any] = event.get("pull_request") or {}
    of_ref = _REF.fullmatch(said("GITHUB_REF", ""))
    number = request.get("number") or (of_ref and of_ref[1])
    commit = (request.get("head") or {}).get("sha") or said("GITHUB_SHA", "")
    repository = said("GITHUB_REPOSITORY", "")
    url = f"{said('GITHUB_SERVER_URL', 'https://github.com')}/{repository}" if repository else ""
    run = said("GITHUB_RUN_ID", "")
    return PullRequest(
        int(number) if number else None,
        tuple(it["name"] for it in request.get("labels") or []),
        commit,
        f"{url}/actions/runs/{run}" if url and run else "",
        f"{url}/blob/{commit}" if url and commit else "",
    )


def _event(path: str | None) -> Mapping[str, Any]:
    if not path:
        return {}
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError([Problem("GITHUB_EVENT_PATH", f"cannot be read: {error}")]) from None
