"""Whole NVIDIA GPUs of EC2's x86 instance types, to find a wrong count before it is paid for.

A type that is newer than this table is not checked. Families with fractions of GPUs (g6f, gr6f) or
another processor (g5g) have none that our nodes could use.
"""

from __future__ import annotations

from typing import Final

_G5: Final = {
    **dict.fromkeys(("xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"), 1),
    **dict.fromkeys(("12xlarge", "24xlarge"), 4),
    "48xlarge": 8,
}
_G7: Final = {
    **dict.fromkeys(("2xlarge", "4xlarge", "8xlarge"), 1),
    "12xlarge": 2,
    "24xlarge": 4,
    "48xlarge": 8,
}

GPUS: Final[dict[str, dict[str, int]]] = {
    "g4dn": {
        **dict.fromkeys(("xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"), 1),
        "12xlarge": 4,
        "metal": 8,
    },
    "g5": _G5,
    "g5g": {},
    "g6": _G5,
    "g6e": _G5,
    "g6f": {},
    "g7": _G7,
    "g7e": _G7,
    "gr6": dict.fromkeys(("4xlarge", "8xlarge"), 1),
    "gr6f": {},
    "p3dn": {"24xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
    "p6-b200": {"48xlarge": 8},
    "p6-b300": {"48xlarge": 8},
}
"""By family and size; from EC2's DescribeInstanceTypes."""


def gpus_of(instance_type: str) -> int | None:
    """Returns the GPUs of an instance type; None where the table does not know it."""
    family, _, size = instance_type.partition(".")
    sizes = GPUS.get(family)
    return None if sizes is None else sizes.get(size, None if sizes else 0)


def has_no_gpus(family: str) -> bool:
    """Whether no instance of a family has a GPU that our nodes could use."""
    return GPUS.get(family) == {}
