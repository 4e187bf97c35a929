"""Lists of models in the shapes that upstreams give them; an entry that cannot be read is dropped alone."""

from __future__ import annotations

import pytest

from shared.bandit.arms import Arm, Price
from shared.clients.answers import BadAnswer
from shared.clients.model_list import arms_of

PRICED = {"pricing": {"prompt": "0.000001", "completion": "0.000002"}}
ARMS = (Arm("v/a", Price(1e-6, 2e-6)), Arm("v/b"))


@pytest.mark.parametrize(
    "body",
    [
        {"object": "list", "data": [{"id": "v/a", **PRICED}, {"id": "v/b"}]},
        [{"id": "v/a", "name": "Model A", **PRICED}, {"id": "v/b"}],
        {"models": [{"name": "v/a", **PRICED}, {"model": "v/b"}]},
        {"v/a": PRICED, "v/b": {}},
        {"data": {"v/a": PRICED, "v/b": {}}},
        {"models": {"v/a": PRICED, "v/b": {}}},
        {"data": [None, "v/c", 3, [], {"id": "v/a", **PRICED}, {"id": "v\nc"}, {"id": "ü"}, {"id": "x" * 257}, {},
                  {"id": "v/b", "pricing": "free"}]},
    ],
    ids=["openai", "bare array", "ollama", "by id", "data by id", "models by id", "bad entries"],
)  # fmt: skip
def test_each_shape_lists_the_same_models(body: object) -> None:
    """Names and prices are found wherever the upstream puts them."""
    assert arms_of(body) == ARMS


def test_an_id_goes_before_a_name() -> None:
    """A display name is not what the upstream wants to be asked for; an id that cannot be used has no substitute."""
    assert arms_of([{"name": "Display", "model": "m", "id": "v/a"}, {"id": "bad id", "name": "good"}]) == (Arm("v/a"),)


@pytest.mark.parametrize("body", [{"data": []}, [], {"data": None, "object": "list"}])
def test_a_list_may_be_empty(body: object) -> None:
    """Ollama without a model sends null."""
    assert arms_of(body) == ()


@pytest.mark.parametrize(
    "body", [{}, None, 3, "v/a", {"data": 3}, {"error": {"message": "no"}}, {"detail": "Not Found"}, {"data": "v/a"}]
)
def test_anything_else_is_no_list(body: object) -> None:
    """An error or garbage never looks like a list."""
    with pytest.raises(BadAnswer):
        arms_of(body)
