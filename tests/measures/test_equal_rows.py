"""Which rows are equal, by their first bytes and, where these tie, by all of them."""

import numpy as np
import pytest

from retrieval.measures.arrays import groups


@pytest.mark.parametrize("columns", [1, 2, 3, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_equal_rows_have_equal_numbers_whatever_the_sign_of_zero(columns: int, dtype: type) -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 3, (300, columns)).astype(dtype)
    rows[200:] = rows[:100]
    if dtype is np.float32:
        rows[rows == 0] *= generator.choice([-1, 1], (rows == 0).sum()).astype(np.float32)
        assert np.signbit(rows[rows == 0]).any()
    equal = (rows[:, None] == rows).all(axis=-1)
    found = groups(rows)
    np.testing.assert_array_equal(found[:, None] == found, equal)
    order = generator.permutation(300)
    np.testing.assert_array_equal(groups(rows[order]), found[order])  # by the rows alone
