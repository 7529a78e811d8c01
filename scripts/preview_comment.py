"""`modelramp preview-comment`: what a preview means, as one comment on the pull request."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from local.home import Home
from models.errors import ConfigError, Problem
from models.prices import load_prices
from models.stack import load_stack
from review.capacity import Capacity, capacity_of
from review.comment import SUMMARY_LIMIT_BYTES, Subject, render
from review.gate import findings
from review.policy_page import remedies
from review.posting import post
from review.preview import Preview, read_preview
from review.pull_request import pull_request_of
from rollout.forge import ForbiddenError, Forge, forge_of
from rollout.git import Repository
from rollout.stack_file import stack_path
from scripts.previewed import LABEL, AllowOption, LabelOption, PreviewFile, allowances
from scripts.screen import CONSOLE

POLICIES_PAGE = Path("docs", "policies.md")


def preview_comment(
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
    preview: PreviewFile,
    events: Annotated[
        Path | None,
        typer.Option(help="What `pulumi preview --event-log` wrote: the results of policies."),
    ] = None,
    pull_request: Annotated[
        int | None, typer.Option(min=1, help="Its number; CI's own if not given.")
    ] = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the comment; post nothing.")
    ] = False,
    allow: AllowOption = None,
    allow_label: LabelOption = LABEL,
    dollar: Annotated[
        float | None,
        typer.Option(min=0.0001, help="What one costs, where the stack's currency is another."),
    ] = None,
) -> None:
    """Comment on a pull request what a preview means: one comment a stack, changed in place.

    It says how many resources change, what is deleted or replaced, what happens to each rollout,
    to GPUs and to cost, which policies are violated and what to do about it; docs/reviews.md shows
    one. The CLI's JSON leaves policies out, so they are read from its event log:

    export PULUMI_DEBUG_COMMANDS=true; pulumi preview --stack prod --policy-pack policies
    --json --show-sames --event-log events.jsonl > preview.json

    The forge is found as by `drift-check --pull-request`: GITHUB_TOKEN or GITLAB_TOKEN, and the
    address of `origin` or what CI sets. What a comment has no room for goes to the summary of the
    run (GITHUB_STEP_SUMMARY). A token that may not comment, as on a pull request from a fork, is
    no error: all of it goes there.

    Exit code 0, also of a preview that failed; 1 if something is missing or the forge refuses.
    """
    home = Home.find()
    read, request = read_preview(preview, events), pull_request_of(os.environ)
    capacity, why_not = _capacity(stack_path(home.root, stack), read, dollar)
    subject = Subject(
        stack=stack,
        preview=read,
        findings=findings(read, allowances(allow, allow_label, request), datetime.now(UTC)),
        capacity=capacity,
        why_not=why_not,
        remedies=remedies(home.root / POLICIES_PAGE),
        policies_url="/".join((request.files_url, *POLICIES_PAGE.parts)).lstrip("/"),
        commit=request.commit,
        run_url=request.run_url,
    )
    body, is_whole = render(subject)
    if print_only:
        typer.echo(body, nl=False)
        return
    number = pull_request or request.number
    if number is None:
        what = "is needed: CI does not say which pull request it runs for; or --print"
        raise ConfigError([Problem("--pull-request", what)])
    try:
        done = post(_forge(home), number, stack, body)
    except ForbiddenError as error:
        first = str(error).splitlines()[0]
        CONSOLE.print(f"no comment, only the summary: {escape(first)}", highlight=False)
        _summarize(subject)
        return
    if not is_whole:
        _summarize(subject)
    CONSOLE.print(f"comment on {number}: {done}")


def _capacity(file: Path, read: Preview, dollar: float | None) -> tuple[Capacity | None, str]:
    """Returns what changes of GPUs and cost, or why nobody can say."""
    if not file.is_file():
        return None, f"there is no stack file {file.name}"
    try:
        return capacity_of(read.steps, load_stack(file), load_prices(), dollar), ""
    except ConfigError as error:
        first, *more = str(error).splitlines()
        return None, f"{first}{f', and {len(more)} more' if more else ''}"


def _forge(home: Home) -> Forge:
    return forge_of(os.environ, Repository(home.root).run("remote", "get-url", "origin"))


def _summarize(subject: Subject) -> None:
    """Adds all of it to the summary of the run; prints it where there is none."""
    text, _ = render(subject, SUMMARY_LIMIT_BYTES)
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path is None:
        typer.echo(text, nl=False)
        return
    with Path(path).open("a", encoding="utf-8") as summary:
        summary.write(text)
