# pyright: basic
"""Runs the `run` steps of a workflow's job on this machine, as GitHub Actions would."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).parents[1] / ".github"
UNSET = ("vars.", "secrets.", "inputs.")
"""What is empty where nobody set it."""


def workflow(name: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(FOLDER / "workflows" / f"{name}.yml")


def value(expression: str, context: Mapping[str, str]) -> str:
    """Evaluates names, texts in quotes, and `||`; refuses what it does not know."""
    found = ""
    for part in map(str.strip, expression.split("||")):
        if part.startswith("'"):
            found = part.strip("'")
        elif part in context:
            found = context[part]
        elif part.startswith(UNSET):
            found = ""
        else:
            raise KeyError(part)
        if found:
            break
    return found


def filled(text: object, context: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda it: value(it[1], context), str(text))


class Job:
    """One job.

    Args:
        root: working tree that it runs in.
        environment: of the machine.
        name: workflow and job, `preview.stacks`.
        context: what expressions say, such as `github.token`.
    """

    def __init__(
        self, root: Path, environment: Mapping[str, str], name: str, context: Mapping[str, str]
    ) -> None:
        of, _, job = name.partition(".")
        self._job = workflow(of)["jobs"][job]
        self._root, self._environment = root, dict(environment)
        self._context = dict(context)
        self.printed = ""

    def run(self, expect: int = 0) -> dict[str, str]:
        """Runs all steps; returns the job's outputs."""
        failed = 0
        for step in self._job["steps"]:
            always = "!cancelled()" in str(step.get("if", ""))
            if "run" in step and (always or not failed):
                code = self._step(step)
                failed = failed or (0 if step.get("continue-on-error") else code)
            elif "uses" in step and "artifact" in step["uses"]:
                url = f"https://ci.example/{Path(step['with']['path']).name}"
                assert (self._root / step["with"]["path"]).is_file()
                self._context[f"steps.{step['id']}.outputs.artifact-url"] = url
        assert failed == expect, self.printed
        outputs = self._job.get("outputs", {})
        return {name: filled(it, self._context) for name, it in outputs.items()}

    def _step(self, step: Mapping[str, Any]) -> int:
        told = self._root / ".modelramp" / "github-output"
        told.unlink(missing_ok=True)
        own = {**self._job.get("env", {}), **step.get("env", {})}
        # Actions sets empty variables, too; who runs this by hand has them unset.
        given = {key: found for key, it in own.items() if (found := filled(it, self._context))}
        done = subprocess.run(
            ("bash", "-e", "-c", filled(step["run"], self._context)),
            cwd=self._root,
            env={**self._environment, **given, "GITHUB_OUTPUT": str(told)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        self.printed += f"$ {step['run']}\n{done.stdout}"
        for line in told.read_text().splitlines() if told.exists() else ():
            name, _, found = line.partition("=")
            self._context[f"steps.{step['id']}.outputs.{name}"] = found
        return done.returncode


def machine(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of a runner: its own, and none of a person's git."""
    return {
        **{key: it for key, it in os.environ.items() if not key.startswith(("GITHUB_", "CI_"))},
        **environment,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
    }
