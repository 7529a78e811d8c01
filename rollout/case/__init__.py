"""A rollout in one JSON file: for `modelramp judge`, `modelramp backtest` and tests."""

from rollout.case.format import Case, schema
from rollout.case.judged import observations_of, terms_of
from rollout.case.read import load_case

__all__ = ["Case", "load_case", "observations_of", "schema", "terms_of"]
