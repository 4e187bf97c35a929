"""Errors of the upstream: whether they pass, and whether they may be billed."""

from __future__ import annotations

import pytest

from shared.errors import UpstreamError


@pytest.mark.parametrize("status", [None, 200, 408, 409, 425, 429, 500, 503, 529])
def test_a_fault_that_passes_is_worth_a_second_try_of_the_same_model(status: int | None) -> None:
    """Time-outs, conflicts, limits, faults of the server and broken connections pass; a relayed refusal does not."""
    assert UpstreamError("a fault", status=status).passing
    assert not UpstreamError("a refusal", status=status, relay=b"{}").passing


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422])
def test_a_refusal_does_not_pass(status: int) -> None:
    """The same model would say the same again."""
    assert not UpstreamError("a refusal", status=status).passing
