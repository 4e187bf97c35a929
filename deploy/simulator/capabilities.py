"""Capabilities of a simulated model: its entry in OpenRouter's list, and OpenRouter's errors for other requests.

| request | response |
|---|---|
| images, audio or video for a model without them | 404 `No endpoints found that support image input` |
| tools, or a forced `tool_choice` | 404 `No endpoints found that support tool use. …` |
| `response_format` | 404 `No endpoints found that can handle the requested parameters. …` |
| image or audio output | 404 `No endpoints found that support the requested output modalities: …` |
| prompt and `max_tokens` beyond the context | 400 `This endpoint's maximum context length is …` |
| `max_tokens` beyond the longest answer | 400 `max_tokens is too large: …` |

As with OpenRouter, every model takes files, and a model without reasoning or logprobs ignores parameters for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ALWAYS = ("max_tokens", "seed", "stop", "temperature", "top_p")
TOOLS = ("tools", "tool_choice")
JSON = ("response_format", "structured_outputs")
REASONING = ("reasoning", "include_reasoning")
LOGPROBS = ("logprobs", "top_logprobs")
_MORE = " To learn more about provider routing, visit: https://openrouter.ai/docs/provider-routing"
_PARTS = {"image_url": "image", "input_audio": "audio", "video_url": "video"}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of one model; the default has all but image and audio output."""

    context: int = 131_072
    max_output: int | None = None
    inputs: tuple[str, ...] = ("text", "image", "audio", "file", "video")
    outputs: tuple[str, ...] = ("text",)
    parameters: tuple[str, ...] = (*ALWAYS, *TOOLS, *JSON, *REASONING, *LOGPROBS)

    def listed(self) -> dict[str, Any]:
        """Return the fields of an entry of `GET /models`."""
        return {
            "context_length": self.context,
            "architecture": {
                "modality": f"{'+'.join(self.inputs)}->{'+'.join(self.outputs)}",
                "input_modalities": list(self.inputs),
                "output_modalities": list(self.outputs),
            },
            "top_provider": {
                "context_length": self.context,
                "max_completion_tokens": self.max_output,
                "is_moderated": False,
            },
            "supported_parameters": sorted(self.parameters),
        }

    def error_for(self, body: Mapping[str, Any], prompt_tokens: int) -> tuple[int, str] | None:
        """Return status and message of the error for a request; None when the model can serve it."""
        missing = self._missing(body)
        return (404, missing) if missing is not None else self._too_long(body, prompt_tokens)

    def _missing(self, body: Mapping[str, Any]) -> str | None:
        for modality in _modalities(body):
            if modality not in self.inputs:
                return f"No endpoints found that support {modality} input"
        if body.get("tools") and "tools" not in self.parameters:
            return f"No endpoints found that support tool use.{_MORE}"
        if body.get("tool_choice") not in (None, "auto", "none") and "tool_choice" not in self.parameters:
            return f"No endpoints found that support the provided 'tool_choice' value.{_MORE}"
        wanted = body.get("response_format")
        needed = {"json_object": "response_format", "json_schema": "structured_outputs"}
        parameter = needed.get(str(wanted.get("type"))) if isinstance(wanted, dict) else None
        if parameter is not None and parameter not in self.parameters:
            return f"No endpoints found that can handle the requested parameters.{_MORE}"
        modalities = body.get("modalities")
        if isinstance(modalities, list) and not set(modalities) <= set(self.outputs):
            return f"No endpoints found that support the requested output modalities: {', '.join(modalities)}"
        return None

    def _too_long(self, body: Mapping[str, Any], prompt_tokens: int) -> tuple[int, str] | None:
        wanted = body.get("max_completion_tokens") or body.get("max_tokens")
        output = wanted if isinstance(wanted, int) and wanted > 0 else 0
        if self.max_output is not None and output > self.max_output:
            return 400, (
                f"max_tokens is too large: {output}. This model supports at most {self.max_output} completion tokens, "
                f"whereas you provided {output}."
            )
        if prompt_tokens + output > self.context:
            return 400, (
                f"This endpoint's maximum context length is {self.context} tokens. However, you requested about "
                f"{prompt_tokens + output} tokens ({prompt_tokens} of text input, {output} in the output). Please "
                'reduce the length of either one, or use the "middle-out" transform to compress your prompt '
                "automatically."
            )
        return None


def _modalities(body: Mapping[str, Any]) -> Iterator[str]:
    for message in body["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            modality = _PARTS.get(str(part.get("type"))) if isinstance(part, dict) else None
            if modality is not None:
                yield modality
