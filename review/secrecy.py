"""Texts of programs, as they may be shown: without secrets and terminal codes.

The Pulumi CLI blinds what it knows to be a secret. What is left is what programs and servers say.
"""

from __future__ import annotations

import re
from typing import Final

MASKED: Final = "[secret]"
"""What the Pulumi CLI writes in place of a secret."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WORDS = (
    r"pass(?:word|wd|phrase)?|secret|token|api[-_]?key|access[-_]?key|credential|private[-_]?key"
)
_ASSIGNED = re.compile(
    rf"(?i)([\w-]*(?:{_WORDS})[\w-]*[\"']?\s*[:=]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s\"',;]+)"
)
_SHAPES = re.compile(
    r"(?<=://)[^/\s@]+:[^/\s@]+(?=@)"  # user:password of a URL
    r"|\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|pul-[0-9a-f]{40})\b"
    r"|(?<=hooks\.slack\.com/services/)\S+"
    r"|(?i:(?<=bearer ))[\w.~+/-]{8,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


def without_codes(text: str) -> str:
    """Returns a text without terminal codes and other control characters but line ends."""
    return _CONTROL.sub("", _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def without_secrets(text: str) -> str:
    """Returns a text without codes, and with what looks like a secret masked."""
    shaped = _SHAPES.sub(MASKED, without_codes(text))
    return _ASSIGNED.sub(rf"\1{MASKED}", shaped)


def names_a_secret(path: str) -> bool:
    """Whether the value of a property is better not shown, by the property's path."""
    return bool(re.search(rf"(?i){_WORDS}", path))
