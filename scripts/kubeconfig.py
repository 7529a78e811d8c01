"""`modelramp kubeconfig`: the context of the kubeconfig that a stack on EKS names."""

from __future__ import annotations

import subprocess
from typing import Annotated

import typer

from local.home import Home
from models.errors import ConfigError, Problem, ToolError
from models.stack import load_stack
from rollout.stack_file import stack_path

TIMEOUT_SECONDS = 60


def kubeconfig(
    stack: Annotated[str, typer.Option(help="The stack: stacks/Pulumi.<stack>.yaml.")],
) -> None:
    """Make the kubeconfig's context of a stack on EKS, by the AWS CLI and its credentials.

    The stack says cluster, region and the name of the context. CI runs this before Pulumi.

    Exit code 0, 1 if the stack names no EKS cluster, or there is no `aws`, or it fails.
    """
    file = stack_path(Home.find().root, stack)
    declared = load_stack(file)
    aws, context = declared.aws, declared.cluster.context
    if aws is None or aws.eks is None or context is None:
        what = "needs modelramp:aws with eks.cluster, and modelramp:cluster with context"
        raise ConfigError([Problem(str(file), what, "modelramp:aws")])
    which = ("--name", aws.eks.cluster, "--region", aws.region, "--alias", context)
    try:
        done = subprocess.run(
            ("aws", "eks", "update-kubeconfig", *which),
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    except FileNotFoundError:
        raise ToolError("no aws on PATH: the AWS CLI makes the kubeconfig of EKS") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"aws did not end in {TIMEOUT_SECONDS} s") from None
    if done.returncode:
        raise ToolError(f"aws eks update-kubeconfig failed with exit code {done.returncode}")
