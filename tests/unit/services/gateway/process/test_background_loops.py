"""State that background loops keep: models, learned state, ratings, and open circuits."""

from __future__ import annotations

import sys

import pytest

from services.gateway.models.catalogue import Catalogue
from services.gateway.process.settings_check import check_settings
from shared.bandit.arms import Arm, Price
from shared.bandit.sums import LearnedState
from shared.errors import (
    Conflict,
    CorruptState,
    DependencyError,
    Gone,
    NotFound,
    SettingsError,
    Unavailable,
    UpstreamError,
)
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.resilience.upstream_circuits import MAX_COOL_S, CircuitBreakers
from shared.schemas.feedback import FeedbackRequest
from shared.schemas.storage import Verdict
from shared.settings import load_settings
from tests.support.fakes.chat_model import FakeChatModel, Reply
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.gateway import ARMS, World, chat, lists_of, new_request
from tests.support.fakes.use_cases import complete, route
from tests.support.values import replace


async def test_corrupt_state_is_refused_and_the_last_good_one_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learned state is input: a snapshot that fails validation raises an alarm and changes no decision."""
    async with world.gateway() as gateway:
        good = gateway.posteriors.snapshot

        async def corrupt() -> LearnedState:
            raise CorruptState("labels of a/small is -3")

        monkeypatch.setattr(world.store, "load", corrupt)
        with pytest.raises(CorruptState):
            await gateway.posteriors.refresh()
        assert gateway.posteriors.snapshot is good
        assert gateway.posteriors.refused
        assert world.counted("snapshot_refused") == 1
        monkeypatch.undo()
        await gateway.posteriors.refresh()
        assert gateway.posteriors.refused is None


async def test_an_unchanged_state_is_not_fitted_again_and_new_arms_are(world: World) -> None:
    """A refresh costs a fit only when the sums or the arms have changed."""
    async with world.gateway() as gateway:
        first = gateway.posteriors.snapshot
        await gateway.posteriors.refresh()
        assert gateway.posteriors.snapshot is first
        world.upstream.arms = (replace(ARMS[0], price=Price(1.0, 1.0)), *ARMS[1:])
        await gateway.catalogue.refresh()
        await gateway.posteriors.refresh()
        assert gateway.posteriors.snapshot is not first


async def test_models_resolve_against_the_upstreams_list_with_its_prices() -> None:
    """Short names find their provider, missing models are left out, prices are the upstream's."""
    upstream = FakeChatModel((*ARMS, Arm("x/small"), Arm("bad name")))
    catalogue = Catalogue(lists_of(upstream, FakeClock()), models=("middle", "gone/model"), default="large")
    assert list(catalogue.arm_ids) == ["middle", "gone/model"]
    await catalogue.refresh()
    assert list(catalogue.arm_ids) == ["b/middle"]
    assert catalogue.default == "c/large"
    assert catalogue.price("b/middle") == ARMS[1].price
    for unknown in ("small", "bad name", "gone/model"):  # two providers have `small`
        with pytest.raises(NotFound):
            catalogue.pin(unknown)


async def test_a_list_that_knows_none_of_ours_does_not_stop_the_service() -> None:
    """Settings are believed rather than refusing everything."""
    catalogue = Catalogue(lists_of(FakeChatModel((Arm("x/y"),)), FakeClock()), models=("a/b",), default="c/d")
    await catalogue.refresh()
    assert catalogue.arm_ids == ("a/b",)
    assert catalogue.default is None


def test_rests_are_bounded_and_if_all_rest_all_are_tried() -> None:
    """A Retry-After of a year cools an arm down for a minute; refusing every client would help none."""
    clock = FakeClock()
    rests = CircuitBreakers(clock)
    rests.cool_down("a", 1e9)
    assert rests.available(("a", "b")) == ("b",)
    assert rests.available(("a",)) == ("a",)
    clock.advance(MAX_COOL_S)
    assert rests.available(("a", "b")) == ("a", "b")


def test_a_breaker_lets_one_probe_through_and_closes_on_success() -> None:
    """While open, one caller after each cooldown tries; cooldowns grow while it fails and end when it works."""
    clock = FakeClock()
    breaker = CircuitBreaker(clock, threshold=2, first_cooldown_s=1.0, max_cooldown_s=4.0)
    for _ in range(2):
        assert breaker.allows()
        breaker.failed()
    assert not breaker.allows()
    for rest in (1.0, 2.0, 4.0, 4.0):
        clock.advance(rest - 0.01)
        assert not breaker.allows()
        clock.advance(0.01)
        assert breaker.allows()
        assert not breaker.allows(), "one probe at a time"
        breaker.failed()
    clock.advance(4.0)
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    assert breaker.allows()


def test_calls_that_one_hiccup_fails_open_nothing() -> None:
    """Thirty at once say no more than one. Failing on for longer than that does open it; a success begins anew."""
    clock = FakeClock()
    breaker = CircuitBreaker(clock, threshold=5, hiccup_s=0.2)
    for _ in range(30):
        breaker.failed()
    assert breaker.allows()
    breaker.succeeded()
    for _ in range(4):
        clock.advance(0.19)
        breaker.failed()
    assert breaker.allows(), "four are too few, however long they took"
    breaker.failed()
    assert not breaker.allows()


async def test_each_verdict_on_a_rating_has_its_response(world: World) -> None:
    """202 for accepted, revised and repeated; 404, 409 and 410 for what cannot count; 503 while Redis is away."""

    async def rate(public_id: str, score: float = 0.5, owner: str = "public") -> Verdict:
        return await gateway.feedback.record(FeedbackRequest(public_id, score, None), owner=owner)

    async with world.gateway() as gateway:
        await complete(await route(chat(), new_request("good"), gateway), gateway)
        assert await rate("good") is Verdict.ACCEPTED
        assert await rate("good") is Verdict.DUPLICATE
        assert await rate("good", 0.9) is Verdict.REVISED
        for public_id, owner in (("never", "public"), ("good", "somebody else")):
            with pytest.raises(NotFound):
                await rate(public_id, owner=owner)
        world.clock.advance(8 * 86_400)
        with pytest.raises(Gone):
            await rate("good", 0.1)
        world.memory.away = True
        with pytest.raises(Unavailable) as away:
            await rate("good", 0.2)
        assert away.value.retry_after_s
        world.memory.away = False


async def test_an_answer_that_never_was_cannot_be_rated(world: World) -> None:
    """Only whole answers are rateable: anything else would credit an arm for nothing."""
    async with world.gateway() as gateway:
        plan = await route(chat(model="a/small"), new_request("bad"), gateway)
        world.upstream.tell("a/small", Reply(error=UpstreamError("no", try_next=False)))
        with pytest.raises(Exception, match="The model could not answer"):
            await complete(plan, gateway)
        with pytest.raises(Conflict):
            await gateway.feedback.record(FeedbackRequest("bad", 1.0, None), owner="public")


async def test_a_new_embedding_model_gets_its_own_collection(world: World) -> None:
    """The gateway notices that the embedder has another model, and prepares the index for it."""
    async with world.gateway() as gateway:
        assert gateway.context_gatherer.model is not None
        world.embedder._model = replace(gateway.context_gatherer.model, id="other")
        world.embedder.error = DependencyError("embedder", "restarting")
        await route(chat(), new_request(), gateway)
        world.embedder.error = None
        await gateway.context_gatherer.prepare()
        assert (await route(chat(), new_request(), gateway)).gathered.embedding_model == "other"


def test_a_key_is_required_for_openrouter_and_nowhere_else() -> None:
    """The start is refused with one message that also says how to try it without a key."""
    with pytest.raises(SettingsError, match=r"OPENROUTER_API_KEY is required.*make run"):
        check_settings(load_settings({}, dotenv=None))
    check_settings(load_settings({"OPENROUTER_API_KEY": "sk-x"}, dotenv=None))
    check_settings(load_settings({"OPENROUTER_BASE_URL": "http://localhost:8090/v1"}, dotenv=None))


def test_traces_without_their_extra_are_refused_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that would silently trace nothing does not happen."""
    settings = load_settings({"OPENROUTER_API_KEY": "sk-x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318"}, None)
    for name in ("opentelemetry", "opentelemetry.exporter.otlp.proto.http"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT.*otel\.txt"):
        check_settings(settings)
