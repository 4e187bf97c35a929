"""Traits of a chat request: those found in its body, without the text of its system prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.bandit.shape import shape_of
from shared.schemas.chat import parse_chat
from shared.schemas.similarity_hash import BITS, similarity_hash
from shared.schemas.traits import script_of

QUESTION = {"role": "user", "content": "What is the capital of Peru?"}
PROMPT = (
    "You are the support agent of a bank. Answer questions about accounts, cards and transfers, politely and in at "
    "most five sentences. Never promise a refund. If the question is about a lost card, name the emergency number."
)


def traits(*messages: dict[str, Any], **fields: Any) -> tuple[str, ...]:
    """All but the shape of the question, which every request has."""
    found = parse_chat(json.dumps({"messages": [*messages, QUESTION], **fields}).encode()).traits
    assert f"shape:{shape_of(QUESTION['content'])}" in found
    return tuple(trait for trait in found if not trait.startswith("shape:"))


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": name * 3}}


def same_bits(one: str, other: str) -> int:
    """How many bits two hashes share."""
    return BITS - (int(similarity_hash(one), 16) ^ int(similarity_hash(other), 16)).bit_count()


def test_a_plain_question_has_no_traits() -> None:
    """Most recorded prompts are such."""
    assert traits() == ()
    assert traits({"role": "assistant", "content": PROMPT}, tools=[], response_format={"type": "text"}) == ()


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": PROMPT}],
        [{"role": "developer", "content": [{"type": "text", "text": PROMPT}]}],
        [{"role": "assistant", "content": "Hello!"}, {"role": "system", "content": [PROMPT, 7]}],
    ],
)
def test_the_system_prompt_is_a_hash(messages: list[dict[str, Any]]) -> None:
    """Of all system and developer messages, in any form; nothing can be read in it."""
    (found,) = traits(*messages)
    assert found == f"system:{similarity_hash(PROMPT)}"
    assert len(found) == len("system:") + 16


def test_a_prompt_that_names_date_and_user_keeps_most_of_its_hash() -> None:
    """Digits count nothing, a few words little; another prompt shares about half of the bits, as chance does."""
    first = f"{PROMPT} Today is 3 March 2026, 10:15. The user is Anna."
    assert similarity_hash(first) == similarity_hash(first.replace("10:15", "9:47").replace(" 3 ", " 14 "))
    assert same_bits(first, f"{PROMPT} Today is 4 July 2026, 9:01. The user is Dmitri.") > 50
    assert same_bits(first, "You write sonnets. Answer every request with fourteen lines, and nothing else.") < 44


@pytest.mark.parametrize("text", ["", "x", "\ud800", "你是一个翻译。", "a" * 3_000_000])
def test_any_text_has_a_hash(text: str) -> None:
    """Also one that is shorter than a window, longer than what is read, or no valid Unicode."""
    assert len(bytes.fromhex(similarity_hash(text))) == BITS // 8


def test_the_order_of_tools_does_not_matter() -> None:
    """Their names do, and those of the upstream's own tools count by type."""
    one, other, renamed = (traits(tools=[tool(name) for name in names]) for names in ("ab", "ba", "ac"))
    assert one == other != renamed
    assert one[0].startswith("tools:")
    assert len(one[0]) == len("tools:") + 8
    assert traits(functions=[{"name": "b"}, {"name": "a"}]) == one
    assert traits(tools=[{"type": "web_search"}]) != traits(tools=[{"type": "file_search"}])
    assert traits(tools=[7, {"function": 3}, {}]) == ()


def test_parts_and_the_form_of_the_answer_are_traits() -> None:
    """In one order, and never more than eight."""
    parts = [
        {"type": "image_url", "image_url": {"url": "data:"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "video_url", "video_url": {"url": "data:"}},
    ]
    messages = {"role": "system", "content": PROMPT}, {"role": "user", "content": parts}
    last = {"role": "user", "content": "Опиши это, пожалуйста"}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
    found = traits(*messages, last, tools=[tool("a")], response_format=schema)
    body = {"messages": [*messages, last], "tools": [tool("a")], "response_format": schema}
    every = parse_chat(json.dumps(body).encode()).traits
    assert [each.partition(":")[0] for each in every] == [
        "system", "tools", "image", "audio", "file", "video", "json", "shape", "script",
    ]  # fmt: skip
    assert found == every[:7], "the script is that of the last user message"
    assert traits(response_format={"type": "json_object"}) == ("json",)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", "Latn"),
        ("12 + 30 = ?", "Latn"),
        ("Où est la gare ?", "Latn"),
        ("Где находится вокзал?", "Cyrl"),
        ("translate to Russian, please: вокзал", "Latn"),
        ("车站在哪里", "Hani"),
        ("駅はどこですか", "Jpan"),
        ("역이 어디에 있나요", "Hang"),
        ("أين المحطة", "Arab"),
        ("איפה התחנה", "Hebr"),
        ("स्टेशन कहाँ है", "Deva"),
        ("สถานีอยู่ที่ไหน", "Thai"),
        ("Πού είναι μια τράπεζα", "Grek"),
        ("ᏙᎯᏧ ᎣᏏᏲ", "Zzzz"),
        ("\U00012000\U00012001", "Zzzz"),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, script: str) -> None:
    """In the names of ISO 15924; Zzzz stands for all that are rare."""
    assert script_of(text) == script
