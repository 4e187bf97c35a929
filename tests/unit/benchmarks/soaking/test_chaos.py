"""The cells that `make chaos ONLY=...` names."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.chaos import _cells
from benchmarks.soaking.broken_world import PARTS
from benchmarks.soaking.faults import FAULTS


def test_cells_are_named_by_part_by_fault_or_by_both() -> None:
    """A row without a fault comes first, for comparison."""
    assert _cells("redis/kill") == [("(none)", ""), ("redis", "kill")]
    assert _cells("/clock") == [("(none)", ""), *((part, "clock") for part in PARTS)]
    assert _cells("qdrant,redis/stop")[1:] == [("redis", "stop"), *(("qdrant", fault) for fault in FAULTS)]
    assert len(_cells("")) == 2 + len(PARTS) * len(FAULTS)


@pytest.mark.parametrize("text", ["redis/kil", "rediss", "redis/evaluations"])
def test_a_cell_that_does_not_exist_is_refused(text: str) -> None:
    """Otherwise a typing mistake would pass as a run without a difference."""
    with pytest.raises(argparse.ArgumentTypeError, match="no such cell"):
        _cells(text)
