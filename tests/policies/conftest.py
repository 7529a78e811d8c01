"""These tests run in the policies' own environment (`make check` does both)."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("pulumi_policy") else ["*"]
