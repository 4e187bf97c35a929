"""The figures of a usage are judged one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clients.upstream_json import MAX_COST_USD, MAX_TOKENS
from shared.clients.usage import usage_of
from shared.schemas.upstream import Usage

GOOD = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19, "cost": 0.25}
IMPOSSIBLE: list[Any] = [-1, 1e18, 10**18, 10**400, True, "many", float("nan"), float("inf"), [1]]


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        (GOOD, Usage(12, 7, 0.25)),
        ({"prompt_tokens": 12.0, "completion_tokens": "7", "cost": "0.25"}, Usage(12, 7, 0.25)),
        ({"prompt_tokens": 12, "total_tokens": 19, "cost": 0.25}, Usage(12, 7, 0.25)),
        ({"completion_tokens": 7, "total_tokens": 19}, Usage(12, 7, None)),
        ({"prompt_tokens": 12, "completion_tokens": None, "cost": 0.25}, Usage(12, None, 0.25)),
        ({"cost": 0.25}, Usage(None, None, 0.25)),
        ({"prompt_tokens": 12, "completion_tokens": 7}, Usage(12, 7, None)),
        ({"prompt_tokens": 12, "completion_tokens": 7, "cost": None}, Usage(12, 7, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "cost": 0}, Usage(0, 0, 0.0)),
        ({"input_tokens": 12, "output_tokens": 7, "cost": 0.25}, Usage(12, 7, 0.25)),
        ({"prompt_tokens": 12, "completion_tokens": 7, "cost": {"total_cost": 0.25}}, Usage(12, 7, 0.25)),
        ({"prompt_tokens": 12, "completion_tokens": 7, "cost": {"input": 1}}, Usage(12, 7, None)),
        (GOOD | {"prompt_tokens_details": {"cached_tokens": 8}}, Usage(12, 7, 0.25, 8)),
        (GOOD | {"input_tokens_details": {"cached_tokens": 8}}, Usage(12, 7, 0.25, 8)),
        (GOOD | {"prompt_tokens_details": {"cached_tokens": 80}}, Usage(12, 7, 0.25, 12)),
        (GOOD | {"prompt_tokens_details": {"cached_tokens": -1}}, Usage(12, 7, 0.25)),
        (GOOD | {"prompt_tokens_details": [8]}, Usage(12, 7, 0.25)),
    ],
)
def test_each_figure_is_read_by_itself(usage: dict[str, object], read: Usage) -> None:
    """Also as a float or a string; a missing count follows from the total; a cost of 0 is reported, not unknown."""
    assert usage_of({"usage": usage}) == read


@pytest.mark.parametrize("value", IMPOSSIBLE)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "cost"])
def test_an_impossible_figure_is_dropped_alone(name: str, value: Any) -> None:
    """The others stay."""
    usage = {figure: good for figure, good in GOOD.items() if figure != "total_tokens"}
    expected = Usage(
        *(None if figure == name else good for figure, good in usage.items()),  # type: ignore[arg-type]  # in order
    )
    assert usage_of({"usage": usage | {name: value}}) == expected


@pytest.mark.parametrize(
    ("cost", "own_key", "upstream", "expected"),
    [
        (0, True, 0.036, 0.036),  # the provider's bill alone
        (0.0018, True, 0.036, 0.0378),  # and OpenRouter's fee
        (0, True, 0, 0.0),
        (None, True, 0.036, 0.036),
        (0, True, None, None),  # what the provider charges is unknown
        (0.036, False, 0.036, 0.036),  # a part of the cost, not beside it
        (0.05, False, 0.036, 0.05),
        (0.05, False, None, 0.05),
        (0.05, None, None, 0.05),
        (0.05, None, 0.036, 0.05),
        (0.95, None, 19, 19.95),  # an older answer without the flag: a fee of 5 %
    ],
)
def test_byok_costs_what_the_provider_charges_too(
    cost: float | None, own_key: bool | None, upstream: float | None, expected: float | None
) -> None:
    """For a request with the account's own provider key `cost` leaves the provider's charge out; else it holds it."""
    usage = GOOD | {"cost": cost, "is_byok": own_key, "cost_details": {"upstream_inference_cost": upstream}}
    read = usage_of({"usage": usage})
    assert read is not None
    assert read.cost_usd == (None if expected is None else pytest.approx(expected))


@given(st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "cost", "is_byok",
                                        "cost_details"]),
                       st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
                       | st.dictionaries(st.just("upstream_inference_cost"), st.integers() | st.floats())))  # fmt: skip
def test_no_usage_breaks_an_answer(usage: dict[str, Any]) -> None:
    """Whatever an upstream reports, each figure is None or possible."""
    read = usage_of({"usage": usage})
    if read is not None:
        for tokens in (read.prompt_tokens, read.completion_tokens):
            assert tokens is None or 0 <= tokens <= 2 * MAX_TOKENS
        assert read.cost_usd is None or 0 <= read.cost_usd <= 2 * MAX_COST_USD


def test_figures_of_a_stream_add_up() -> None:
    """A later event's figures take the place of earlier ones; what it does not report stays."""
    assert Usage(12, None, 0.5).updated(Usage(None, 7, None)) == Usage(12, 7, 0.5)
    assert Usage(12, 3, 0.5).updated(Usage(12, 7, 0.75)) == Usage(12, 7, 0.75)
