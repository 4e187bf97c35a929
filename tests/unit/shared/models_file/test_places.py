"""Places: each arm has one upstream and one name there, whatever the lists say."""

from __future__ import annotations

import pytest

from shared.bandit.arms import Arm, Price
from shared.models_file import ListedModel, ModelsFile, Place, Upstream
from shared.models_file.places import Places
from shared.models_file.schema import ListedPrice

URL = "http://one/v1"
FILE = ModelsFile(
    upstreams={"router": Upstream(base_url=URL), "openai": Upstream(base_url=URL),
               "local": Upstream(base_url=URL, private=True)},
    models=(
        ListedModel(id="small", upstream="openai", model="gpt-small", price=ListedPrice(prompt=1, completion=2)),
        ListedModel(id="local/q", upstream="local", model="q:8b", context_length=100),
        ListedModel(id="a/b"),
    ),
)  # fmt: skip
PLACES = Places(FILE)


@pytest.mark.parametrize(
    ("arm", "place"),
    [
        ("small", Place("openai", "gpt-small")),
        ("small:nitro", Place("openai", "gpt-small:nitro")),
        ("local/q", Place("local", "q:8b")),
        ("a/b", Place("router", "a/b")),
        ("gpt-large@openai", Place("openai", "gpt-large")),
        ("gpt-large@router", Place("router", "gpt-large@router")),
        ("gpt@nowhere", Place("router", "gpt@nowhere")),
        ("openai/gpt-large", Place("router", "openai/gpt-large")),
    ],
)
def test_every_name_has_one_place(arm: str, place: Place) -> None:
    assert PLACES.of(arm) == place


def test_the_file_goes_before_the_list_and_the_list_fills_what_the_file_leaves_out() -> None:
    listed = PLACES.listed("openai", [Arm("gpt-small", Price(9.0, 9.0), context_tokens=50), Arm("gpt-large")])
    assert list(listed) == ["small", "gpt-large@openai"]
    small = listed["small"]
    assert small.price == Price(1e-6, 2e-6)
    assert (small.context_tokens, small.upstream, small.private) == (50, "openai", False)


def test_a_list_cannot_take_the_name_of_a_model_of_another_upstream() -> None:
    assert list(PLACES.listed("router", [Arm("small"), Arm("a/b"), Arm("gpt-large@openai")])) == ["a/b"]


def test_an_arm_without_a_list_is_what_the_file_says() -> None:
    arm = PLACES.arm("local/q")
    assert (arm.upstream, arm.private, arm.context_tokens, arm.price) == ("local", True, 100, None)
    assert PLACES.arm("small:floor").price == Price(1e-6, 2e-6)
    assert PLACES.arm("any/other") == Arm("any/other", upstream="router")
