"""The caller's terms: three places, one meaning."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shared.errors import InvalidRequest
from shared.schemas.chat import parse_chat
from shared.schemas.terms import Terms, with_headers


def terms(**body: Any) -> Terms | None:
    return parse_chat(orjson.dumps({"messages": [{"role": "user", "content": "Hi"}], **body})).terms


def test_without_terms_there_are_none() -> None:
    """A plain request is decided by the settings."""
    assert terms() is None
    assert terms(model="auto") is None
    assert with_headers(None, lambda _: "") is None


def test_the_name_of_a_model_may_be_a_policy() -> None:
    """Then no model is named; a model whose name only begins alike is one."""
    body = {"messages": [{"role": "user", "content": "Hi"}], "model": "auto:cheap"}
    chat = parse_chat(orjson.dumps(body))
    assert (chat.model, chat.terms) == (None, Terms(policy="cheap"))
    assert parse_chat(orjson.dumps({**body, "model": "auto/cheap"})).model == "auto/cheap"
    named = parse_chat(orjson.dumps({**body, "model": "a/b", "router": {"max_cost_usd": 1}}))
    assert named.model == "a/b"


def test_the_field_is_never_sent_upstream() -> None:
    """An upstream may refuse what it does not know."""
    body = {"messages": [{"role": "user", "content": "Hi"}], "router": {"explore": False}}
    assert "router" not in parse_chat(orjson.dumps(body), forward_session=True).body


def test_the_body_goes_before_headers_and_these_before_the_name() -> None:
    """Each where it says something; the error's `param` is where the policy was named."""
    headers = {"x-router-policy": "fast", "x-router-weights": "quality=0.5, cost=-0.5", "x-router-max-cost-usd": "0.1"}
    found = with_headers(
        terms(model="auto:cheap", router={"weights": {"cost": -1}}), lambda name: headers.get(name, "")
    )
    assert found == Terms("fast", "x-router-policy", quality=0.5, cost=-1.0, max_cost_usd=0.1)
    found = with_headers(terms(model="auto:cheap", router={"policy": "best"}), lambda name: headers.get(name, ""))
    assert found is not None
    assert (found.policy, found.policy_param) == ("best", "router.policy")


WRONG: list[tuple[Any, str]] = [
    (7, "router"),
    ({"weight": {}}, "router.weight"),
    ({"weights": {"quality": 2}}, "router.weights.quality"),
    ({"weights": {"cost": 0.2}}, "router.weights.cost"),
    ({"weights": {"speed": 0.2}}, "router.weights.speed"),
    ({"max_cost_usd": 0}, "router.max_cost_usd"),
    ({"max_cost_usd": "1"}, "router.max_cost_usd"),
    ({"max_latency_s": -1}, "router.max_latency_s"),
    ({"require": ["images"]}, "router.require[0]"),
    ({"explore": "no"}, "router.explore"),
    ({"policy": ""}, "router.policy"),
]


@pytest.mark.parametrize(("router", "param"), WRONG)
def test_wrong_terms_are_refused(router: Any, param: str) -> None:
    """With the field's name; a misspelt wish is not ignored."""
    with pytest.raises(InvalidRequest) as caught:
        terms(router=router)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("name", "text"),
    [("x-router-weights", "0.5"), ("x-router-weights", "quality=high"), ("x-router-weights", "cost=1"),
     ("x-router-weights", "quality=nan"), ("x-router-max-cost-usd", "much"), ("x-router-max-cost-usd", "-1"),
     ("x-router-policy", "x" * 65)],
)  # fmt: skip
def test_wrong_headers_are_refused(name: str, text: str) -> None:
    """With the header's name."""
    with pytest.raises(InvalidRequest) as caught:
        with_headers(None, lambda asked: text if asked == name else "")
    assert caught.value.param == name
