"""Packed answers."""

from __future__ import annotations

import gzip
import os

import pytest

from vidhub.api.compression import MOST_STORED, Gzip


@pytest.mark.parametrize("size", [0, 1, 200, MOST_STORED, MOST_STORED + 1, 100_000])
def test_what_is_packed_is_read_by_any_gzip(size: int) -> None:
    data = os.urandom(size)
    assert gzip.decompress(Gzip().compress(data)) == data
    assert Gzip().decompress(Gzip().compress(data), 200_000) == data


def test_only_what_is_large_is_made_smaller() -> None:
    small, large = b"a" * MOST_STORED, b"a" * (MOST_STORED + 1)
    assert small in Gzip().compress(small)
    assert len(Gzip().compress(large)) < 100
