"""Limits of models in a list of models: read where the type is right, unknown otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from shared.bandit.arms import Arm, Price
from shared.clients.model_list import arm_of

OPENROUTER = {
    "id": "v/sees",
    "created": 1_790_000_000,
    "pricing": {"prompt": "0.000001", "completion": "0.000002", "image": "0", "request": "0.005"},
    "context_length": 131072,
    "architecture": {
        "modality": "text->text",
        "input_modalities": ["text", "Image"],
        "output_modalities": ["text"],
        "tokenizer": "Other",
    },
    "top_provider": {"context_length": 65536, "max_completion_tokens": 8192, "is_moderated": False},
    "supported_parameters": ["max_tokens", "tools", "tool_choice"],
    "benchmarks": {
        "artificial_analysis": {"intelligence_index": 68.75, "coding_index": 12.0, "agentic_index": None},
        "design_arena": [{"elo": 1312}],
    },
}


def test_openrouters_limits_are_read() -> None:
    """Context is the larger of the two: another provider may take what the first one does not."""
    assert arm_of(OPENROUTER) == Arm(
        "v/sees",
        Price(1e-6, 2e-6, request_usd=0.005),
        created=1_790_000_000,
        context_tokens=131072,
        max_output_tokens=8192,
        input_modalities=frozenset({"text", "image"}),
        output_modalities=frozenset({"text"}),
        parameters=frozenset({"max_tokens", "tools", "tool_choice"}),
        benchmark=0.6875,
    )


@pytest.mark.parametrize("entry", [None, "v/a", 3, [], {}, {"id": None}, {"id": "a\nb"}, {"id": ""}, {"id": "x" * 257}])
def test_an_entry_without_a_usable_name_is_skipped(entry: Any) -> None:
    """A name ends up in headers, keys and metrics."""
    assert arm_of(entry) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"context_length": "131072", "top_provider": {"context_length": None, "max_completion_tokens": -1}},
        {"context_length": True, "top_provider": {"context_length": 0, "max_completion_tokens": 0.5}},
        {"context_length": 10**12, "top_provider": "none"},
        {"context_length": float("nan"), "top_provider": {"context_length": float("inf")}},
        {"architecture": "text", "supported_parameters": "tools"},
        {"architecture": {"modality": "text", "input_modalities": "image", "output_modalities": None}},
        {"architecture": {"modality": 3, "input_modalities": [], "output_modalities": [3, None]}},
        {"architecture": {"modality": "->"}, "supported_parameters": []},
        {"architecture": None, "supported_parameters": {"tools": True}, "pricing": None},
        {"benchmarks": {"artificial_analysis": {"intelligence_index": None, "coding_index": 50.0}}},
        {"benchmarks": {"artificial_analysis": {"intelligence_index": 101}}},
        {"benchmarks": {"artificial_analysis": [71.2]}},
        {"benchmarks": "71.2"},
    ],
)
def test_a_wrong_type_is_unknown_and_costs_itself(fields: dict[str, Any]) -> None:
    """Nothing of such a field is believed; the name beside it is."""
    assert arm_of({"id": "v/a", **fields}) == Arm("v/a")


def test_one_wrong_field_costs_no_other() -> None:
    """A list with a slip in it keeps what is right."""
    arm = arm_of({**OPENROUTER, "context_length": "long", "supported_parameters": ["tools", 3, None]})
    assert arm is not None
    assert (arm.context_tokens, arm.parameters) == (65536, frozenset({"tools"}))
    assert arm.input_modalities == frozenset({"text", "image"})


def test_the_older_modality_is_read_where_the_lists_are_missing() -> None:
    """`text+image->text` was all that OpenRouter said once, and some servers copy it."""
    arm = arm_of({"id": "v/a", "architecture": {"modality": "text+image->text+audio"}})
    assert arm is not None
    assert arm.input_modalities == frozenset({"text", "image"})
    assert arm.output_modalities == frozenset({"text", "audio"})


@pytest.mark.parametrize("name", ["context_length", "context_window", "max_model_len", "max_context_length"])
def test_other_servers_names_of_the_context_are_read(name: str) -> None:
    """OpenRouter, Groq, vLLM and Mistral each call it something else; a whole float is a whole number."""
    assert arm_of({"id": "v/a", name: 4096.0}) == Arm("v/a", context_tokens=4096)
