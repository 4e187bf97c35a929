"""A judge in memory: it reads the prompt that the product wrote, and scores answers by their texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.schemas.upstream import Answer, Call
from tests.support.fakes.chat_model import FakeChatModel, Reply

JUDGE = "judge/model"


class JudgingChatModel(FakeChatModel):
    """An upstream one of whose models judges by `scores`; `seen` holds the answers of each verdict, in their order.

    Replies that a test has queued for the judge come first.
    """

    def __init__(self, scores: Mapping[str, float], default: Reply | None = None) -> None:
        super().__init__(default=default)
        self.scores = scores
        self.seen: list[list[str]] = []

    async def complete(self, call: Call) -> Answer:
        if call.arm == JUDGE:
            answers = list(material(call)["answers"].values())
            self.seen.append(answers)
            if not self._next[JUDGE]:
                scores = {str(number): self.scores[answer] for number, answer in enumerate(answers, 1)}
                self.tell(JUDGE, Reply(json.dumps({"scores": scores})))
        return await super().complete(call)


def material(call: Call) -> Any:
    """Return the JSON that a judge was given."""
    messages: Any = call.body["messages"]
    content = messages[1]["content"]
    return json.loads(content if isinstance(content, str) else content[0]["text"])
