"""Streamed answer: events are passed on as they come, and the record is stored before `[DONE]` is sent.

No truncated answer looks complete: a cut upstream ends in an error event and no `[DONE]`. A client that disconnects
leaves the `async with`, which closes the upstream call and records what was spent so far.

Until the first event comes, the client sees signs of life, so that no proxy between gives up:

| since the upstream accepted the request | the client gets | another arm may be called |
|---|---|---|
| comments, and no event within `EARLY_S` of the first | headers, then comments | yes, and a comment names it |
| no event for `KEEP_ALIVE_S` | headers, and a comment after each `KEEP_ALIVE_S` of silence | no |
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from services.gateway.chat.fallback import UpstreamCaller
from services.gateway.chat.journal import Ending, Journal
from services.gateway.chat.plan import ChatPlan
from services.gateway.chat.recording import ChatRecorder, Served, effective
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision
from shared.errors import ClientError, UpstreamError
from shared.ports import ChatModel, Clock
from shared.schemas.problem import error_reply, problem
from shared.schemas.records import Status
from shared.schemas.upstream import KEEP_ALIVE, AnswerStream, Heard, Sink

KEEP_ALIVE_S = 10.0
EARLY_S = 1.0
COMMENT_GAP_S = 0.25
"""Before the first event, comments of the upstream are passed on at most this often."""

Begin = Callable[["OpenStream"], Awaitable[Sink]]
"""Sends the headers of the answer; called once."""

Send = Callable[[ArmId], Awaitable[AnswerStream]]
Call = Callable[[ChatPlan, Journal, Send], Awaitable[AnswerStream]]

T = TypeVar("T")


class OpenStream:
    """A streamed answer: `arm` gives it, `decision` is how it came to that. Pour it out once."""

    def __init__(
        self,
        plan: ChatPlan,
        journal: Journal,
        *,
        caller: UpstreamCaller,
        recorder: ChatRecorder,
        clock: Clock,
        begin: Begin,
    ) -> None:
        self.arm: ArmId = plan.order[0]
        self.journal = journal
        self.served: Served | None = None
        self._plan = plan
        self._caller = caller
        self._recorder = recorder
        self._now = clock.monotonic
        self._begin = begin
        self._begun_by: ArmId | None = None
        self._sink: Sink | None = None
        self._shown_at = math.inf
        self._answer: AnswerStream  # since `listen`
        self._failure: ClientError | UpstreamError | None = None

    @property
    def overhead_s(self) -> float:
        """Our own time before the first upstream call."""
        return self.journal.overhead_s

    @property
    def decision(self) -> Decision:
        """The decision as it turned out."""
        return effective(self._plan.decision, self.arm)

    @property
    def begun(self) -> bool:
        """Whether the client has got its headers."""
        return self._sink is not None

    async def listen(self, arm: ArmId, answer: AnswerStream) -> None:
        """Wait for the first event of an answer that `arm` has accepted. Raises UpstreamError."""
        now = self._now
        self.arm, self._answer = arm, answer
        final_at = now() + KEEP_ALIVE_S
        due = self._shown_at + KEEP_ALIVE_S if self.begun else final_at
        commented = False
        try:
            while (heard := await answer.wait(due - now())) is not Heard.EVENT:
                if heard is Heard.COMMENT and self.begun:
                    if now() - self._shown_at >= COMMENT_GAP_S:
                        await self._show(answer.comment)
                elif heard is Heard.COMMENT and not commented:
                    commented = True
                    due = min(due, now() + EARLY_S)
                if now() >= due:
                    await self._show(KEEP_ALIVE)
                if self.begun:
                    due = self._shown_at + KEEP_ALIVE_S
        except UpstreamError as error:
            if self.begun and now() >= final_at:
                error.try_next = False
            raise

    async def meanwhile(self, opening: Awaitable[T]) -> T:
        """Return what `opening` returns; the client gets comments while another arm is called."""
        ticking = asyncio.create_task(self._tick(), name="keep-alive")
        try:
            return await opening
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)

    def fail(self, error: ClientError | UpstreamError) -> None:
        """End with an error event: no arm has answered, and it is too late for a status."""
        self._failure = error

    async def pour(self) -> bytes:
        """Put what the client gets; return the last of it: the end of the answer, or the error event."""
        if self._failure is not None:
            return _failed_event(self._failure)
        sink = self._sink
        if sink is None:
            sink = await self._begin(self)
        elif self.arm != self._begun_by:
            sink.put(f": model {self.arm}\n\n".encode())
        try:
            await self._answer.pour(sink, KEEP_ALIVE_S)
        except UpstreamError as error:
            self._caller.report_failure(self._plan, self.arm, error)
            await self._record(Status.TRUNCATED, error.label).stored
            return _error_event(error)
        await self._record(Status.ANSWERED).stored
        return self._answer.end

    def abandon(self) -> None:
        """Record what was spent so far, unless the end has been recorded: the client has disconnected."""
        if self.served is None and self._failure is None:
            self._record(Status.CANCELLED, "cancelled")

    async def _show(self, comment: bytes) -> None:
        """Let the client have a comment, after its headers."""
        if self._sink is None:
            self._begun_by = self.arm
            self._sink = await self._begin(self)
        self._sink.put(comment)
        await self._sink.flush()
        self._shown_at = self._now()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._shown_at + KEEP_ALIVE_S - self._now())
            await self._show(KEEP_ALIVE)

    def _record(self, status: Status, error: str | None = None) -> Served:
        answer = self._answer
        self.journal.arm = self.arm
        ending = Ending(
            status,
            error=error,
            usage=answer.usage,
            own_tokens=answer.events,
            calls=answer.calls,
            choices=answer.choices,
            unread=answer.unread,
        )
        self.served = self._recorder.record(self._plan, self.journal, ending)
        return self.served


@asynccontextmanager
async def open_stream(plan: ChatPlan, opened: OpenStream, models: ChatModel, call: Call) -> AsyncIterator[OpenStream]:
    """Open the first stream that gives a first event, through `call`, which records a request without an answer."""
    async with AsyncExitStack() as stack:

        async def send(arm: ArmId) -> AnswerStream:
            async with AsyncExitStack() as attempt:
                opening = attempt.enter_async_context(models.stream(plan.call(arm)))
                answer = await (opened.meanwhile(opening) if opened.begun else opening)
                await opened.listen(arm, answer)
                await stack.enter_async_context(attempt.pop_all())
            return answer

        try:
            await call(plan, opened.journal, send)
            opened.journal.first_token()
        except (ClientError, UpstreamError) as error:
            if not opened.begun:
                raise
            opened.fail(error)
        try:
            yield opened
        finally:
            opened.abandon()


def _error_event(error: UpstreamError) -> bytes:
    code = "upstream_timeout" if error.timed_out else "upstream_cut"
    said = f" The upstream said: {error.reason}" if error.reason else ""
    message = f"The model's answer broke off; what was sent is incomplete.{said}"
    body = problem(message, kind="upstream_error", code=code)
    return b"data: " + body + b"\n\n"


def _failed_event(error: ClientError | UpstreamError) -> bytes:
    """Return the body that would have been the answer, had there been no headers yet."""
    return b"data: " + error_reply(error).body.replace(b"\n", b" ") + b"\n\n"
