import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learner.row_set import RowSet


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 15))))
def test_holds_what_was_added_and_not_discarded(calls):
    rows, expected = RowSet(16), set()
    for add, row in calls:
        rows.add(row) if add else rows.discard(row)
        expected.add(row) if add else expected.discard(row)
        assert len(rows) == len(expected)
        assert sorted(rows.rows.tolist()) == sorted(expected)
        assert [row in rows for row in range(16)] == [row in expected for row in range(16)]


def test_draws_members_only_and_all_of_them():
    rows = RowSet(100)
    for row in range(0, 100, 7):
        rows.add(row)
    rows.discard(49)
    drawn = rows.draw(np.random.default_rng(0), 1000)
    assert set(drawn.tolist()) == set(range(0, 100, 7)) - {49}
