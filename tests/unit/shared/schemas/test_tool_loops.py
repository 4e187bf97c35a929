"""Keys of tool calls: the same for the answer that made a call and the request that brings its result."""

from __future__ import annotations

from typing import Any

import pytest

from shared.schemas.tool_loops import MAX_CALLS, awaited_keys, call_ids_of, call_keys


def calling(*ids: str) -> dict[str, Any]:
    calls = [{"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": "42"}


def talk(system: str = "Be brief.", user: Any = "What is the weather?") -> list[dict[str, Any]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def asks(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(messages)}


def test_a_result_finds_the_answer_that_made_its_call() -> None:
    """Whichever of several calls is the last one, and however long the conversation has become since."""
    stored = call_keys(asks(*talk()), ("call_a", "call_b"))
    assert awaited_keys(asks(*talk(), calling("call_a", "call_b"), result("call_a"), result("call_b")))[0] == stored[0]
    later = asks(*talk(), calling("x"), result("x"), calling("call_a"), result("call_a"))
    assert awaited_keys(later)[0] == stored[0]
    apart = asks(*talk(), calling("call_a"), result("call_a"), calling("call_b"), result("call_b"))
    assert set(awaited_keys(apart)) & set(stored)


@pytest.mark.parametrize(
    "messages",
    [
        talk(),
        [*talk(), calling("call_a"), result("call_a"), {"role": "user", "content": "Thanks"}],
        [*talk(), calling("call_a")],
        [],
    ],
)
def test_only_a_result_at_the_end_belongs_to_a_loop(messages: list[dict[str, Any]]) -> None:
    """A turn of the user begins a new decision."""
    assert awaited_keys(asks(*messages)) == ()


def test_ids_that_begin_anew_in_each_conversation_are_told_apart() -> None:
    """`call_0` of another conversation is another call: another first message, or another system prompt."""
    loop = (calling("call_0"), result("call_0"))
    mine, others = awaited_keys(asks(*talk(), *loop)), awaited_keys(asks(*talk(user="Hello"), *loop))
    assert not set(mine) & set(others)
    assert awaited_keys(asks(*talk("Be long."), *loop))[0] not in call_keys(asks(*talk()), ("call_0",))
    second = {"role": "developer", "content": "Be kind."}
    system, user = talk()
    assert awaited_keys(asks(system, second, user, *loop))[0] not in call_keys(asks(*talk()), ("call_0",))


def test_a_system_prompt_with_the_time_in_it_does_not_end_a_loop() -> None:
    """It is written anew for each request: the key without it is there for that."""
    stored = call_keys(asks(*talk("It is 10:00:01.")), ("call_a",))
    assert set(awaited_keys(asks(*talk("It is 10:00:02."), calling("call_a"), result("call_a")))) & set(stored)


def test_older_functions_count_by_their_name() -> None:
    """They have no ids."""
    called = {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}}
    assert call_ids_of([called]) == ("weather",)
    body = asks(*talk(), called, {"role": "function", "name": "weather", "content": "42"})
    assert awaited_keys(body)[0] == call_keys(asks(*talk()), ("weather",))[0]


def test_odd_shapes_and_long_texts_cost_nothing() -> None:
    """What cannot be read has no key; the keys of an answer are few and short."""
    assert call_ids_of([{"tool_calls": 3, "function_call": "x"}, {"tool_calls": [None, {"id": 3}, {"id": ""}]}]) == ()
    odd: dict[str, Any] = {"role": "tool", "tool_call_id": None, "content": [3]}
    assert awaited_keys(asks(odd)) == ()
    many = call_keys(asks(*talk(user=[{"type": "text", "text": "é\ud800" * 10**6}, 3])), [f"c{n}" for n in range(99)])
    assert len(many) == len(set(many)) == 2 * MAX_CALLS
    assert {len(key) for key in many} == {32}
