"""Bounds of the JSON reader that lie on a single character."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bertguard.errors import UnreadableError
from bertguard.wire.json_text import MAX_NUMBER_DIGITS, parse_json


@given(before=st.integers(0, 3 * MAX_NUMBER_DIGITS), after=st.integers(0, 2))
@example(before=0, after=0)
def test_a_number_of_one_digit_too_many_is_found_wherever_it_stands(
    before: int, after: int
) -> None:
    """The longest number passes and one digit more does not, at every offset."""
    padding, rest = "x" * before, "y" * after
    longest = "7" * MAX_NUMBER_DIGITS
    assert parse_json(f'["{padding}", {longest}, "{rest}"]') == [padding, int(longest), rest]
    with pytest.raises(UnreadableError) as refused:
        parse_json(f'["{padding}", {longest}7, "{rest}"]')
    assert refused.value.reason == "number_digits"
