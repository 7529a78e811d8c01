# pyright: basic
"""The real promtool, fetched or built as all tools are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from local.tools import ensure


def promtool(*arguments: str, folder: Path) -> None:
    """Runs promtool; fails with all that it says."""
    command = [str(ensure("promtool")), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check_expressions(expressions: list[str], folder: Path) -> None:
    """Has Prometheus's own parser read them."""
    rules = [{"record": f"checked:{at}", "expr": it} for at, it in enumerate(expressions)]
    check_rules({"groups": [{"name": "checked", "rules": rules}]}, folder)


def check_rules(rules: dict[str, Any], folder: Path) -> None:
    """Has Prometheus read rules; two of the same series or labels are an error too."""
    (folder / "rules.json").write_text(json.dumps(rules))
    promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.json", folder=folder)
