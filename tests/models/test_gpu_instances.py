# pyright: basic
from __future__ import annotations

import gzip
import json
from pathlib import Path

import moto.ec2
import pytest

from models.gpu_instances import GPUS, gpus_of, has_no_gpus


def recorded() -> dict[str, int]:
    """Whole NVIDIA GPUs by x86 instance type, as moto recorded them of EC2."""
    file = Path(moto.ec2.__file__).parent / "resources/instance_types.json.gz"
    types = json.loads(gzip.decompress(file.read_bytes()))
    return {
        name: sum(gpu["Count"] for gpu in it["GpuInfo"]["Gpus"])
        if "x86_64" in it["ProcessorInfo"]["SupportedArchitectures"]
        else 0
        for name, it in types.items()
        if any(gpu.get("Manufacturer") == "NVIDIA" for gpu in it.get("GpuInfo", {}).get("Gpus", []))
    }


def test_the_table_is_what_ec2_says():
    found = recorded()
    assert {name: gpus_of(name) for name in found} == found
    assert {f"{family}.{size}" for family, sizes in GPUS.items() for size in sizes} <= set(found)


@pytest.mark.parametrize("name", ["g9.xlarge", "g5.96xlarge", "m5.large"])
def test_what_the_table_does_not_know_is_not_checked(name):
    assert gpus_of(name) is None


def test_families_without_whole_gpus():
    assert [name for name in GPUS if has_no_gpus(name)] == ["g5g", "g6f", "gr6f"]
