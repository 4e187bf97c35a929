"""What a chat request requires of a model: features, and room for its tokens.

A feature is a word: an input modality (`image`, `audio`, `file`, `video`), an output modality (`output:image`,
`output:audio`), or a request parameter in OpenRouter's names (`tools`, `tool_choice`, `response_format`,
`structured_outputs`, `logprobs`, `reasoning`). Two more are only learned from refusals: `context`, the prompt is too
long for the model, and `tool_history`, tool calls of another model (their ids, or reasoning signatures) are in it.
"""

from __future__ import annotations

from shared.values import dataclass


@dataclass(frozen=True, slots=True)
class Requirements:
    """Features that a request uses, and a cautious estimate of its tokens."""

    features: frozenset[str] = frozenset()
    prompt_tokens: int = 0
    output_tokens: int = 0


NO_REQUIREMENTS = Requirements()
