from __future__ import annotations

import numpy as np
import pytest

from examples.biopsy.train import (
    Candidate,
    candidates,
    data_hash,
    exported_in_centimetres,
    split_data,
)

SERVED = split_data()


def fitted(version: str) -> Candidate:
    candidate = next(item for item in candidates(SERVED) if item.version == version)
    candidate.model.fit(candidate.split.train_rows, candidate.split.train_labels)
    return candidate


def offline_accuracy(candidate: Candidate) -> float:
    return candidate.model.score(candidate.split.holdout_rows, candidate.split.holdout_labels)


def test_the_split_is_the_same_every_time_and_shares_no_row() -> None:
    again = split_data()
    assert data_hash(again.train_rows, again.train_labels) == data_hash(
        SERVED.train_rows, SERVED.train_labels
    )
    assert not set(SERVED.train_rows.index) & set(SERVED.holdout_rows.index)
    assert SERVED.train_rows.shape[1] == 10


def test_version_1_is_fair_and_version_2_better() -> None:
    assert 0.88 <= offline_accuracy(fitted("1.0.0")) <= 0.92
    assert 0.96 <= offline_accuracy(fitted("2.0.0")) <= 0.99


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_version_3_looks_good_offline_and_is_broken_on_what_is_served() -> None:
    candidate = fitted("3.0.0")
    assert offline_accuracy(candidate) >= 0.96
    rows, labels = SERVED.holdout_rows, SERVED.holdout_labels
    refused = np.isnan(candidate.model[:-1].transform(rows)).any(axis=1)
    assert 0.03 <= refused.mean() <= 0.15
    assert candidate.model.score(rows[~refused], labels[~refused]) < 0.75
    with pytest.raises(ValueError, match="NaN"):
        candidate.model.predict(rows[refused].iloc[:1])


def test_the_wrong_export_changes_lengths_and_areas_only() -> None:
    factors = (exported_in_centimetres(SERVED).train_rows / SERVED.train_rows).mean()
    changed = {name: round(factor, 4) for name, factor in factors.items() if factor != 1}
    assert changed == {"worst radius": 2.54, "worst perimeter": 2.54, "worst area": 6.4516}
