"""Upstreams in memory: every name is served by the same fake."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from shared.bandit.arms import Arm, ArmId
from shared.models_file import ModelsFile
from shared.ports import ChatModel
from shared.schemas.upstream import Answer, AnswerStream, Call


class FakeUpstreams:
    """`Upstreams` of one model client. `files`: those that it was configured with."""

    def __init__(self, model: ChatModel) -> None:
        self.model = model
        self.files: list[ModelsFile] = []

    async def complete(self, call: Call) -> Answer:
        return await self.model.complete(call)

    def stream(self, call: Call) -> AbstractAsyncContextManager[AnswerStream]:
        return self.model.stream(call)

    async def catalogue(self) -> tuple[Arm, ...]:
        return await self.model.catalogue()

    def named(self, upstream: str) -> ChatModel:  # noqa: ARG002 - one serves all
        return self.model

    def upstream_of(self, arm: ArmId) -> str:  # noqa: ARG002 - one serves all
        return "openrouter"

    def configure(self, file: ModelsFile) -> None:
        self.files.append(file)
