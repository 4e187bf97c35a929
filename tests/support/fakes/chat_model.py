"""An upstream in memory that answers, fails and breaks off as the test says."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

from shared.bandit.arms import Arm, ArmId
from shared.clients.answers import choices_of
from shared.clients.choices import Choices
from shared.errors import UpstreamError
from shared.schemas.answer_parts import AnswerChoice, answer_choices
from shared.schemas.upstream import DONE, KEEP_ALIVE, Answer, Call, Heard, Sink, Usage

COMMENT = b": FAKE PROCESSING\n\n"


@dataclass(frozen=True)
class Reply:
    """What an arm does next.

    Attributes:
        text: the answer.
        usage: what it says it used.
        error: raised instead of answering, or, with `break_after`, after that many streamed events.
        break_after: number of events before `error`; None: before any.
        delay_s: wait before the answer, or before a stream is accepted.
        silence_s: wait between a stream's acceptance and its first event, or its error where `break_after` is 0.
        comment_s: comments come this often meanwhile.
        calls: ids of the tool calls that it makes.
        gap_s: wait before each further event.
    """

    text: str = "Hello from the fake."
    usage: Usage | None = field(default_factory=lambda: Usage(12, 7, 0.000_21))
    error: UpstreamError | None = None
    break_after: int | None = None
    delay_s: float = 0.0
    gap_s: float = 0.0
    silence_s: float = 0.0
    comment_s: float = math.inf
    calls: tuple[str, ...] = ()

    @property
    def finish(self) -> str:
        """The reason for which the answer ends."""
        return "tool_calls" if self.calls else "stop"


class FakeChatModel:
    """`ChatModel`. `calls` holds what was asked; `cancelled` counts calls that the caller gave up."""

    def __init__(self, arms: tuple[Arm, ...] = (), default: Reply | None = None) -> None:
        self.arms = arms
        self.default = default or Reply()
        self.calls: list[Call] = []
        self.cancelled = 0
        self._next: Mapping[ArmId, deque[Reply]] = defaultdict(deque)

    def tell(self, arm: ArmId, *replies: Reply) -> None:
        """Queue what `arm` does in its next calls; after that, the default again."""
        self._next[arm].extend(replies)

    def forget(self) -> None:
        """Drop what was queued: all arms are well again."""
        for queue in self._next.values():
            queue.clear()

    async def complete(self, call: Call) -> Answer:
        reply = await self._begin(call)
        if reply.error is not None:
            raise reply.error
        choices: list[dict[str, object]] = [{"index": 0, "message": _message(reply), "finish_reason": reply.finish}]
        body = {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 1,
            "model": call.arm,
            "choices": choices,
            "usage": _usage_json(reply.usage),
        }
        return Answer(orjson.dumps(body), reply.usage, call.arm, len(reply.text), reply.calls, answer_choices(choices))

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[FakeStream]:
        reply = await self._begin(call)
        if reply.error is not None and reply.break_after is None:
            raise reply.error
        stream = FakeStream(call, reply)
        try:
            yield stream
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    async def catalogue(self) -> tuple[Arm, ...]:
        if self.default.error is not None:
            raise self.default.error
        return self.arms

    async def _begin(self, call: Call) -> Reply:
        self.calls.append(call)
        queue = self._next[call.arm]
        reply = queue.popleft() if queue else self.default
        try:
            await asyncio.sleep(reply.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return reply


class FakeStream:
    """`AnswerStream`: one event a word, then the end."""

    def __init__(self, call: Call, reply: Reply) -> None:
        self.usage: Usage | None = None
        self.calls: tuple[str, ...] = ()
        self.events = 0
        self.unread: Counter[str] = Counter()
        self.comment = KEEP_ALIVE
        self.end = DONE
        self._call = call
        self._reply = reply
        self._first_at = time.monotonic() + reply.silence_s
        self._comment_at = time.monotonic() + reply.comment_s
        self._tracked = Choices(1)

    @property
    def choices(self) -> tuple[AnswerChoice, ...]:
        return self._tracked.said.choices()

    async def wait(self, within_s: float) -> Heard:
        until = time.monotonic() + within_s
        await asyncio.sleep(min(until, self._first_at, self._comment_at) - time.monotonic())
        if self._first_at <= min(until, self._comment_at):
            if self._reply.break_after == 0 and self._reply.error is not None:
                raise self._reply.error
            return Heard.EVENT
        if self._comment_at <= until:
            self._comment_at += self._reply.comment_s
            self.comment = COMMENT
            return Heard.COMMENT
        return Heard.NOTHING

    async def pour(self, sink: Sink, keep_alive_s: float = math.inf) -> None:  # noqa: ARG002 - it is never silent
        reply = self._reply
        for number, frame in enumerate(self._frames()):
            if number == reply.break_after and reply.error is not None:
                raise reply.error
            await asyncio.sleep(reply.gap_s if number else 0)
            await self._put(sink, frame)
        self.usage, self.calls = reply.usage, reply.calls
        if reply.usage is not None and self._call.include_usage:
            await self._put(sink, self._chunk([], usage=_usage_json(reply.usage)))

    async def _put(self, sink: Sink, frame: dict[str, object]) -> None:
        self.events += 1
        for choice in choices_of(frame):
            self._tracked.note(choice)
        if not sink.put(b"data: " + orjson.dumps(frame) + b"\n\n"):
            await sink.flush()

    def _frames(self) -> list[dict[str, object]]:
        words = self._reply.text.split(" ")
        parts = [word if number == 0 else f" {word}" for number, word in enumerate(words)]
        deltas = [self._chunk([{"index": 0, "delta": {"content": part}, "finish_reason": None}]) for part in parts]
        last = {"tool_calls": _tool_calls(self._reply)} if self._reply.calls else {}
        return [*deltas, self._chunk([{"index": 0, "delta": last, "finish_reason": self._reply.finish}])]

    def _chunk(self, choices: list[dict[str, object]], **more: object) -> dict[str, object]:
        return {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": self._call.arm,
                "choices": choices, **more}  # fmt: skip


def _message(reply: Reply) -> dict[str, object]:
    return {"role": "assistant", "content": reply.text} | ({"tool_calls": _tool_calls(reply)} if reply.calls else {})


def _tool_calls(reply: Reply) -> list[dict[str, object]]:
    function = {"name": "look", "arguments": ""}
    return [{"index": at, "id": name, "type": "function", "function": function} for at, name in enumerate(reply.calls)]


def text_of(frames: list[bytes]) -> str:
    """Return the text that a client of these events sees; comments are not seen."""
    bodies = [orjson.loads(frame.removeprefix(b"data: ")) for frame in frames if not frame.startswith(b":")]
    deltas = [choice.get("delta") for body in bodies for choice in choices_of(body)]
    return "".join(delta.get("content") or "" for delta in deltas if isinstance(delta, dict))


def _usage_json(usage: Usage | None) -> dict[str, object] | None:
    if usage is None:
        return None
    total = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens,
            "total_tokens": total, "cost": usage.cost_usd}  # fmt: skip
