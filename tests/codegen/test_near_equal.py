"""Cutting a length into parts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from convjit.codegen.tile import near_equal


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 300))
def test_parts(total: int, most: int) -> None:
    parts = near_equal(total, most)
    sizes = [size for size, _ in parts]
    assert sum(size * count for size, count in parts) == total
    assert all(count > 0 for _, count in parts)
    assert sum(count for _, count in parts) == -(-total // most)
    assert min(sizes) >= 1 and max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True) and len(sizes) <= 2
