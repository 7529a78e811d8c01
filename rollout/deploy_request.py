"""A deployment as a pull request: who reviews it sees lineage and gates, and merges the edit."""

from __future__ import annotations

from datetime import datetime

from rollout import history
from rollout.deploy import Deployment, start
from rollout.markdown import code, plain
from rollout.requests import Checkout, Put, Requests, Text


def request_deployment(
    deployment: Deployment, checkout: Checkout, requests: Requests, now: datetime
) -> Put:
    """Writes a deployment into a checkout, and opens or renews the request for it.

    Args:
        deployment: prepared on the stack file of the checkout, and allowed.
        checkout: of the base branch.
        requests: where it is opened.
        now: time of the decision.

    Raises:
        StackFileError: a gate failed.
        GitError: git or the server refused.
    """
    start(deployment, now)
    text = text_of(deployment)
    log = history.history_path(deployment.file, deployment.stack, deployment.service)
    commit = checkout.commit([deployment.file, log], text.message)
    # Not the branch of drift-check, which closes what it did not decide itself.
    branch = f"modelramp-deploy/{deployment.stack}/{deployment.service}"
    return requests.put(branch, commit, checkout.start, text)


def text_of(deployment: Deployment) -> Text:
    """Returns what the request of a deployment says."""
    it, registered = deployment, deployment.registered
    headline = f"{it.service}: candidate {it.version} begins at {it.to_percent}%"
    known = {
        "registry": registered.registry_uri,
        "digest": registered.digest,
        "run": registered.run_id,
        "git commit": registered.git_commit,
        "training data": registered.data_hash,
    }
    body = [
        f"**{plain(headline)}**",
        plain(it.why),
        "\n".join(f"- {name}: {code(value)}" for name, value in known.items()),
        "\n".join(
            [
                "| gate | state | why |",
                "|---|---|---|",
                *(f"| {plain(g.name)} | {g.state} | {plain(g.says)} |" for g in it.gates),
            ]
        ),
        f"Once merged, `pulumi up --stack {it.stack}` makes it so; then `drift-check` takes it on.",
    ]
    return Text(f"{headline}\n\n{it.why}", f"{it.stack}: {headline}", "\n\n".join(body))
