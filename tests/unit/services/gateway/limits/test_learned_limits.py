"""Learned limits: a refusal counts for an hour, for requests of its kind, and for all gateways."""

from __future__ import annotations

import pytest

from services.gateway.limits.learned_limits import LASTS_S, MAX_ARMS, MAX_SHOWN, MAX_TOLD, LearnedLimits
from shared.schemas.requirements import NO_REQUIREMENTS, Requirements
from shared.schemas.storage import LearnedLimit
from tests.support.fakes.clock import FakeClock
from tests.support.values import replace

TOOLS = Requirements(frozenset({"tools"}))
LONG = Requirements(prompt_tokens=9000, output_tokens=1000)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def limits(clock: FakeClock) -> LearnedLimits:
    return LearnedLimits(clock)


def test_a_limit_lasts_an_hour(clock: FakeClock, limits: LearnedLimits) -> None:
    """Providers change; a refusal again begins the hour anew."""
    assert not limits
    limits.learn("a", "tools", TOOLS)
    assert limits.lacks("a", TOOLS) == "tools"
    assert limits.lacks("a", NO_REQUIREMENTS) is None
    assert limits.lacks("b", TOOLS) is None
    clock.advance(LASTS_S - 1)
    limits.learn("a", "tools", TOOLS)
    clock.advance(LASTS_S - 1)
    assert limits.lacks("a", TOOLS) == "tools"
    clock.advance(1)
    assert limits.lacks("a", TOOLS) is None
    assert limits.view("a") == {}
    assert limits.own_findings() == ()


def test_a_feature_that_the_request_does_not_have_is_not_learned(limits: LearnedLimits) -> None:
    """Words of an upstream that do not fit the request explain nothing."""
    limits.learn("a", "tools", NO_REQUIREMENTS)
    limits.learn("a", "image", TOOLS)
    limits.learn("a", "max_tokens", TOOLS)
    assert not limits


def test_of_a_length_the_smallest_refusal_counts(limits: LearnedLimits) -> None:
    """Shorter requests still go, the wish for a long answer counts, and an answer to a longer one clears it."""
    limits.learn("a", "context", LONG)
    shorter = replace(LONG, prompt_tokens=8999)
    assert limits.lacks("a", LONG) == "context"
    assert limits.lacks("a", shorter) is None
    assert limits.lacks("a", Requirements(prompt_tokens=5, output_tokens=10_000)) == "context"
    limits.learn("a", "context", shorter)
    limits.learn("a", "context", replace(LONG, prompt_tokens=20_000))
    assert limits.view("a")["context"]["tokens"] == 9999
    limits.answered("a", replace(LONG, prompt_tokens=8998))
    assert limits.lacks("a", shorter) == "context", "a shorter answer says nothing of longer ones"
    limits.answered("a", LONG)
    assert not limits


def test_an_answer_clears_the_features_that_it_had_and_no_others(limits: LearnedLimits) -> None:
    """An answer without an image says nothing about images."""
    both = Requirements(frozenset({"tools", "image"}))
    for feature in ("tools", "image"):
        limits.learn("a", feature, both)
    limits.answered("b", both)
    limits.answered("a", NO_REQUIREMENTS)
    assert set(limits.view("a")) == {"tools", "image"}
    limits.answered("a", TOOLS)
    assert set(limits.view("a")) == {"image"}


def test_what_one_gateway_has_learned_the_others_hear_once(clock: FakeClock, limits: LearnedLimits) -> None:
    """It counts for as long as it does there; what was heard is not told again; a clearing here stays."""
    other = LearnedLimits(clock)
    limits.learn("a", "tools", TOOLS)
    limits.learn("a", "context", LONG)
    clock.advance(600)
    other.merge({"one": limits.own_findings()})
    assert other.lacks("a", TOOLS) == "tools"
    assert other.view("a") == {
        "tools": {"lasts_s": LASTS_S - 600},
        "context": {"lasts_s": LASTS_S - 600, "tokens": 10_000},
    }
    assert other.own_findings() == ()
    other.answered("a", TOOLS)
    other.merge({"one": limits.own_findings()})
    assert other.lacks("a", TOOLS) is None
    clock.advance(LASTS_S)
    limits.learn("a", "tools", TOOLS)
    other.merge({"one": limits.own_findings()})
    assert other.lacks("a", TOOLS) == "tools"


def test_what_an_arm_has_shown_within_the_hour_it_does_not_lack(clock: FakeClock, limits: LearnedLimits) -> None:
    """One client's broken picture or odd schema takes no feature away from the others, whatever the words."""
    other = LearnedLimits(clock)
    other.answered("a", TOOLS)
    clock.advance(LASTS_S - 1)
    limits.learn("a", "tools", TOOLS)
    for _ in range(2):
        other.learn("a", "tools", TOOLS)
        other.merge({"one": limits.own_findings()})
        assert other.lacks("a", TOOLS) is None
        other.answered("b", TOOLS)  # says nothing of `a`
    other.learn("a", "context", LONG)
    assert other.lacks("a", LONG) == "context"
    clock.advance(1)
    other.learn("a", "tools", TOOLS)
    assert other.lacks("a", TOOLS) == "tools"


def test_what_arms_have_shown_is_bounded(limits: LearnedLimits) -> None:
    """The one that was shown longest ago is forgotten first."""
    limits.answered("first", TOOLS)
    for number in range(MAX_SHOWN):
        limits.answered(f"v/{number}", TOOLS)
    for arm in ("first", "v/0"):
        limits.learn(arm, "tools", TOOLS)
    assert (limits.lacks("first", TOOLS), limits.lacks("v/0", TOOLS)) == ("tools", None)


def test_what_was_learned_here_is_passed_on_whatever_others_say(clock: FakeClock, limits: LearnedLimits) -> None:
    """A gateway that hears its own finding from another one still vouches for it."""
    limits.learn("a", "tools", TOOLS)
    limits.merge({"other": [LearnedLimit("a", "tools", LASTS_S)]})
    assert [limit.arm for limit in limits.own_findings()] == ["a"]


def test_it_is_bounded(clock: FakeClock, limits: LearnedLimits) -> None:
    """Any listed model may be pinned; the oldest are forgotten, and a notice stays small."""
    for number in range(MAX_ARMS + 5):
        limits.learn(f"v/{number}", "tools", TOOLS)
        clock.advance(0.001)
    assert limits.lacks("v/4", TOOLS) is None
    assert limits.lacks("v/5", TOOLS) == "tools"
    told = limits.own_findings()
    assert [limit.arm for limit in told] == [f"v/{number}" for number in reversed(range(MAX_ARMS + 5))][:MAX_TOLD]
    other = LearnedLimits(clock)
    other.merge({"odd": [LearnedLimit(f"v/{number}", "tools", 1e12) for number in range(MAX_TOLD + 9)]})
    assert other.view("v/0") == {"tools": {"lasts_s": LASTS_S}}
    assert other.view(f"v/{MAX_TOLD}") == {}
