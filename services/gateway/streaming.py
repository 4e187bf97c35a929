"""A streamed answer: frames go out as they come, and the record is stored before `[DONE]` leaves.

No truncated answer looks complete: a cut upstream ends in an error event and no `[DONE]`. A client that goes away
leaves the `async with`, which closes the upstream call and records what was spent so far.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from services.gateway.fallback import first_answer
from services.gateway.outcome import Journal, Served, effective, error_word
from services.gateway.plan import ChatPorts, Plan
from shared.bandit.arms import ArmId
from shared.errors import UpstreamError
from shared.ports import AnswerStream
from shared.schemas.problem import problem
from shared.schemas.records import Status
from shared.schemas.upstream import Sink

DONE = b"data: [DONE]\n\n"


class OpenStream:
    """An answer whose first event has arrived. `arm` gives it; pour it out once."""

    def __init__(self, plan: Plan, arm: ArmId, answer: AnswerStream, journal: Journal) -> None:
        self.arm = arm
        self.decision = effective(plan.decision, arm)
        self.journal = journal
        self._answer = answer

    async def pour(self, client: Sink) -> bytes:
        """Put what the client gets; return the last of it, `[DONE]` or the error event."""
        try:
            await self._answer.pour(client)
        except UpstreamError as error:
            self.journal.broke_off(error)
            await self._close(Status.TRUNCATED, error_word(error)).stored
            return _error_event(error)
        await self._close(Status.ANSWERED).stored
        return DONE

    def abandon(self) -> None:
        """The client is gone: write down what was spent so far, unless the end had been reached."""
        if self.journal.closed is None:
            self._close(Status.CANCELLED, "cancelled")

    def _close(self, status: Status, error: str | None = None) -> Served:
        self.journal.frames = self._answer.events
        return self.journal.close(status, self.arm, usage=self._answer.usage, error=error, calls=self._answer.calls)


@asynccontextmanager
async def open_stream(plan: Plan, ports: ChatPorts) -> AsyncIterator[OpenStream]:
    """Open the first stream that gives a first event. Raises as `route_chat.complete` does."""
    journal = Journal(plan, ports)
    async with AsyncExitStack() as stack:

        async def ask(arm: ArmId) -> AnswerStream:
            return await stack.enter_async_context(ports.upstream.stream(plan.call(arm)))

        answer, arm = await first_answer(plan, ports, journal, ask)
        journal.first_token()
        opened = OpenStream(plan, arm, answer, journal)
        try:
            yield opened
        finally:
            opened.abandon()


def _error_event(error: UpstreamError) -> bytes:
    code = "upstream_timeout" if error.timed_out else "upstream_cut"
    body = problem("The model's answer broke off; what was sent is incomplete.", kind="upstream_error", code=code)
    return b"data: " + body + b"\n\n"
