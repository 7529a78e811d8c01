"""The policy pack: advice everywhere, and mandatory where `config/<stack>.json` says so."""

from __future__ import annotations

from pulumi_policy import EnforcementLevel, PolicyPack
from rules.catalogue import POLICIES

PolicyPack(name="modelramp", enforcement_level=EnforcementLevel.ADVISORY, policies=POLICIES)
