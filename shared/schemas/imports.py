"""Imported scores: own prompts, with scores that the answers of several models got outside of the router."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from shared.bandit.arms import ArmId
from shared.bandit.context import Vector
from shared.bandit.kinds import KindId
from shared.bandit.sources import Source
from shared.schemas.storage import Assignment

MAX_LATENCY_S = 86_400.0
MAX_COST_USD = 10_000.0
MAX_TOKENS = 1_000_000_000

Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]


class ImportedAnswer(Struct, frozen=True, omit_defaults=True):
    """Score of one model's answer, between 0 and 1; what else is known of the answer, None where it is not."""

    score: Annotated[float, Meta(ge=0, le=1)]
    latency_s: Annotated[float, Meta(ge=0, le=MAX_LATENCY_S)] | None = None
    cost_usd: Annotated[float, Meta(ge=0, le=MAX_COST_USD)] | None = None
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None


class Import(Struct, frozen=True):
    """A prompt with the scores of its answers by one source, as stored.

    Attributes:
        id: a UUID made of the content, so that the same prompt is not counted twice.
        created_at: time of the scores (Unix s), whose UTC day they are counted in.
        embedding_model: id of the model of the prompt's vector.
        weight: weight of each score in the number of scores.
        traits: of the prompt (`shared.schemas.traits`).
    """

    id: str
    source: Source
    created_at: float
    embedding_model: str
    weight: float
    answers: Mapping[ArmId, ImportedAnswer]
    traits: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Serialise."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(raw: bytes) -> Import:
        """Parse and validate. Raises ValueError."""
        try:
            return _IMPORT.decode(raw)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error


class StoredImport(Struct, frozen=True, eq=False):
    """An import, and what has been learned from it.

    Attributes:
        vector: of the prompt; only the history stores it.
        assigned: its kind of prompt; None until it is assigned.
        revision: of the contribution; 0 before the first one.
        sums: the contribution; None before the first one.
    """

    record: Import
    vector: Vector | None = None
    assigned: Assignment | None = None
    revision: int = 0
    sums: Mapping[str, int] | None = None

    @property
    def kind(self) -> KindId | None:
        """Its kind of prompt."""
        return None if self.assigned is None else self.assigned.kind


_IMPORT = msgspec.json.Decoder(Import)
