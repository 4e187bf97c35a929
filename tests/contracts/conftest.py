"""Each contract runs twice: on the fake and on the real thing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contracts.redis_rig import Rig, fake_rig, redis_rig


@pytest.fixture(params=["fake", "redis"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """The ports that live in Redis."""
    if request.param == "fake":
        yield fake_rig()
        return
    async with redis_rig(request.getfixturevalue("redis_server")) as real:
        yield real
