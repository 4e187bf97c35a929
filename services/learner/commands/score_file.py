"""Files of scores and of prompts: JSON lines, each with a prompt, and in the first with a model and its score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from shared.bandit.arms import ArmId, is_arm_name
from shared.errors import RouterError
from shared.schemas.imports import MAX_COST_USD, MAX_LATENCY_S, ImportedAnswer, Tokens

T = TypeVar("T")

CLOCK_SKEW_S = 86_400.0


class BadScoreFile(RouterError):
    """A file of scores cannot be read; the message names the line."""


class ScoredAnswer(Struct, frozen=True):
    """One line: the prompt, the model and the score of its answer; `scored_at` is Unix seconds, None if not known."""

    prompt: str
    system: str
    arm: ArmId
    answer: ImportedAnswer
    scored_at: float | None = None


class _Line(Struct):
    prompt: Annotated[str, Meta(min_length=1)]
    model: str
    score: Annotated[float, Meta(ge=0, le=1)]
    system: str = ""
    latency_s: Annotated[float, Meta(ge=0, le=MAX_LATENCY_S)] | None = None
    cost_usd: Annotated[float, Meta(ge=0, le=MAX_COST_USD)] | None = None
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    time: float | str | None = None


class Prompt(Struct, frozen=True):
    """One line of a file of prompts: the user's message, with a system prompt or without."""

    prompt: Annotated[str, Meta(min_length=1)]
    system: str = ""

    def messages(self) -> list[dict[str, str]]:
        """Return the messages of a chat request."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]


_LINE = msgspec.json.Decoder(_Line)
_PROMPT = msgspec.json.Decoder(Prompt)


def read_scores(path: Path, *, now: float) -> list[ScoredAnswer]:
    """Return the lines of a file; empty ones are skipped. Raises BadScoreFile."""
    return _read(path, lambda line: _score(line, now))


def read_prompts(path: Path) -> list[Prompt]:
    """Return the prompts of a file; empty lines are skipped. Raises BadScoreFile."""
    return _read(path, _PROMPT.decode)


def _read(path: Path, parse: Callable[[bytes], T]) -> list[T]:
    try:
        with path.open("rb") as file:
            return list(_parsed(path.name, file, parse))
    except OSError as error:
        raise BadScoreFile(f"{path}: {error.strerror}") from error


def _parsed(name: str, lines: Iterable[bytes], parse: Callable[[bytes], T]) -> Iterator[T]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield parse(line)
            except (msgspec.MsgspecError, ValueError, OverflowError) as error:
                raise BadScoreFile(f"{name}, line {number}: {error}") from error


def _score(raw: bytes, now: float) -> ScoredAnswer:
    line = _LINE.decode(raw)
    if not is_arm_name(line.model):
        raise ValueError("`model` must be a name of 1 to 256 visible ASCII characters, such as openai/gpt-4o-mini")
    answer = ImportedAnswer(line.score, line.latency_s, line.cost_usd, line.prompt_tokens, line.completion_tokens)
    return ScoredAnswer(line.prompt, line.system, line.model, answer, _moment(line.time, now))


def _moment(time: float | str | None, now: float) -> float | None:
    if isinstance(time, str):
        try:
            moment = datetime.fromisoformat(time)
        except ValueError:
            raise ValueError("`time` must be Unix seconds or a time such as 2026-11-23T08:00+01:00") from None
        time = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if time is not None and not 0 <= time <= now + CLOCK_SKEW_S:
        raise ValueError("`time` is before 1970 or in the future; a number counts in seconds")
    return time
