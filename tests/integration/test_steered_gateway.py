"""A gateway process on a real Redis: signed links, limits of ratings, conversations, dry run, shadow and budget."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.integration.bad_input.process import MODELS, Gateway, gateway_process
from tests.integration.bad_input.wire import KEY, OTHER_KEY, Answer, chat, request

SECRET = "a secret of many letters"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def gateway(redis_server: str, qdrant_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("steered")
    with Redis.from_url(redis_server) as client:
        client.flushall()  # other tests rate with the same keys
    changes = {"FEEDBACK_LINK_SECRET": SECRET, "FEEDBACK_RPM": "100", "SESSION_MARGIN": "2"}
    with gateway_process(folder, redis_server, qdrant_url, **changes) as started:
        yield started
        assert SECRET not in started.log


def ask(gateway: Gateway, key: str = KEY, headers: dict[str, str] | None = None, **fields: object) -> Answer:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], **fields}
    answer = gateway.send(request(body=body, key=key, **(headers or {})))
    assert answer.status == 200, answer.body
    return answer


def rate(gateway: Gateway, path: str, **body: object) -> Answer:
    return gateway.send(request(path, body, key=None))


def record(gateway: Gateway, answer: Answer) -> Any:
    return gateway.send(request(f"/requests/{answer.headers['x-request-id']}", method="GET")).json


# -- signed links ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_link_rates_its_answer_once_without_a_key(gateway: Gateway, stream: bool) -> None:
    """Of a whole answer or a streamed one; used again it is gone, and the first rating stands (row 67)."""
    answer = ask(gateway, stream=stream)
    path = answer.headers["x-router-feedback-url"]
    first, again = rate(gateway, path, score=0.75, feedback_text="fine"), rate(gateway, path, score=0.1)
    assert (first.status, again.status) == (202, 410)
    assert again.json["error"]["code"] == "link_used"
    feedback = record(gateway, answer)["feedback"]
    assert (feedback["score"], feedback["text"], feedback["revision"]) == (0.75, "fine", 1)


def test_an_altered_link_is_refused(gateway: Gateway) -> None:
    """Another request's id, another signature, half of one: 403, and nothing is rated (row 67)."""
    first, second = (ask(gateway).headers["x-router-feedback-url"].rpartition(".") for _ in range(2))
    for path in (
        f"{first[0]}.{second[2]}",
        f"{first[0]}.{'0' * 32}",
        f"{first[0]}.{first[2][:-1]}",
        f"{first[0]}.",
        "/feedback/.",
        "/feedback/nothing",
        f"{first[0]}.{first[2]}%00",
        f"{first[0]}.%ff",
    ):
        for answer in (rate(gateway, path, score=1.0), gateway.send(request(path, method="GET", key=None))):
            assert (answer.status, answer.json["error"]["code"]) == (403, "invalid_link"), path
    assert rate(gateway, "".join(first), score=1.0).status == 202


def test_a_person_rates_by_a_form_and_looking_is_not_rating(gateway: Gateway) -> None:
    """The page may be opened by any mail program; only sending the form counts, once."""
    answer = ask(gateway)
    path = answer.headers["x-router-feedback-url"]
    for _ in range(3):
        page = gateway.send(request(path, method="GET", key=None))
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"<script" not in page.body
    assert record(gateway, answer)["feedback"] is None

    def send(fields: bytes) -> Answer:
        return gateway.send(request(path, fields, key=None, content_type=FORM))

    for bad in (b"", b"score=", b"score=2", b"score=nan", b"score=1e0", b"score=%ff", b"feedback_text=x", b"a=1&" * 99):
        assert send(bad).status == 400, bad
    assert send(b"score=0.5&feedback_text=so+so").status == 200
    assert send(b"score=0.5").status == 410
    feedback = record(gateway, answer)["feedback"]
    assert (feedback["score"], feedback["text"]) == (0.5, "so so")
    keyed = request("/feedback", b"score=1", content_type=FORM)
    assert gateway.send(keyed).status == 415, "a form of a strange page must not rate with a key"


# -- ratings with a key ------------------------------------------------------------------------------------------------


def test_an_idempotency_key_means_one_rating(gateway: Gateway) -> None:
    """The same again gets the same answer; another rating under that key is refused (row 58)."""
    name = ask(gateway).headers["x-request-id"]

    def send(score: float, key: str) -> Answer:
        return gateway.send(request("/feedback", {"request_id": name, "score": score}, idempotency_key=key))

    key = str(uuid.uuid4())
    first, again, other, new = send(0.8, key), send(0.8, key), send(0.7, key), send(0.7, key + "2")
    assert (first.status, first.body) == (again.status, again.body) == (202, again.body)
    assert (other.status, other.json["error"]["code"]) == (409, "idempotency_key_reused")
    assert other.json["error"]["param"] == "Idempotency-Key"
    assert new.status == 202


def test_a_flood_of_ratings_from_one_key_is_limited_and_chat_goes_on(gateway: Gateway) -> None:
    """Beyond FEEDBACK_RPM 429 with Retry-After; chat of the same key and ratings of others do not notice (row 66)."""
    name = ask(gateway, key=OTHER_KEY).headers["x-request-id"]
    theirs = ask(gateway).headers["x-request-id"]

    def send(number: int) -> Answer:
        body = {"request_id": name, "score": number % 2}
        return gateway.send(request("/feedback", body, key=OTHER_KEY))

    if time.time() % 60 > 50:
        time.sleep(10.5)  # the flood belongs into one minute
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(150)))
        assert ask(gateway, key=OTHER_KEY).status == 200
    assert Counter(answer.status for answer in answers) == {202: 100, 429: 50}
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.json["error"]["code"] == "feedback_rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert gateway.send(request("/feedback", {"request_id": theirs, "score": 1})).status == 202


def test_only_whole_answers_can_be_rated(gateway: Gateway) -> None:
    """One that failed has no rating (row 64)."""
    name = f"failed-{uuid.uuid4()}"
    failed = gateway.send(chat_named(name, x_simulate="status-400"))
    assert failed.status == 400
    answer = gateway.send(request("/feedback", {"request_id": name, "score": 1}))
    assert (answer.status, answer.json["error"]["code"]) == (409, "not_rateable")


def chat_named(name: str, **headers: str) -> bytes:
    return request(body={"messages": [{"role": "user", "content": "hello"}]}, x_request_id=name, **headers)


# -- choices -----------------------------------------------------------------------------------------------------------


def test_a_conversation_stays_with_its_model(gateway: Gateway) -> None:
    """By field or by header, which mean the same; the record and a header say so."""
    name = f"talk/{uuid.uuid4()} ü"
    first = ask(gateway, session_id=name)
    model = first.headers["x-router-model"]
    assert "x-router-session" not in first.headers
    for _ in range(10):
        answer = ask(gateway, session_id=name)
        assert (answer.headers["x-router-model"], answer.headers["x-router-session"]) == (model, "held")
        assert answer.headers["x-router-propensity"] == "1"
    plain = f"talk-{uuid.uuid4()}"
    model = ask(gateway, session_id=plain).headers["x-router-model"]
    by_header = ask(gateway, headers={"x_session_id": plain})
    assert (by_header.headers["x-router-model"], by_header.headers["x-router-session"]) == (model, "held")
    assert record(gateway, by_header)["decision"]["session_held"] is True
    assert plain not in json.dumps(record(gateway, by_header)), "the id itself is not stored"
    assert "x-router-session" not in ask(gateway, key=OTHER_KEY, session_id=plain).headers


def test_a_dry_run_says_why_and_leaves_nothing(gateway: Gateway) -> None:
    """Chances that sum to 1, the order of fallbacks, and no record under the id."""
    name = f"dry-{uuid.uuid4()}"
    body: dict[str, object] = {"messages": [{"role": "user", "content": "hello"}]}
    for path in ("/route", "/v1/route"):
        answer = gateway.send(request(path, body, x_request_id=name))
        story = answer.json
        assert answer.status == 200
        assert story["model"] == story["order"][0] == story["decision"]["model"]
        assert {arm["arm"] for arm in story["decision"]["arms"]} == set(MODELS.split(","))
        assert sum(arm["propensity"] for arm in story["decision"]["arms"]) == pytest.approx(1.0, abs=1e-6)
    assert gateway.send(request(f"/requests/{name}", method="GET")).status == 404
    assert gateway.send(request(body=body, x_request_id=name)).status == 200, "the id is still free"


def test_exploring_can_be_switched_off_for_a_request(gateway: Gateway) -> None:
    """One answerer, propensity 1, and the header says that it was the client's wish."""
    answers = [ask(gateway, headers={"x_router_explore": "off"}) for _ in range(8)]
    assert {answer.headers["x-router-exploration"] for answer in answers} == {"off"}
    assert {answer.headers["x-router-propensity"] for answer in answers} == {"1"}
    assert len({answer.headers["x-router-model"] for answer in answers}) == 1
    assert "x-router-exploration" not in ask(gateway).headers


@pytest.fixture
def start(redis_url: str, qdrant_url: str, tmp_path: Path) -> Callable[..., Any]:
    """Start gateways with other settings on an emptied Redis."""
    return lambda **changes: gateway_process(tmp_path, redis_url, qdrant_url, **changes)


def test_a_spent_budget_is_visible(start: Callable[..., Any]) -> None:
    """Header, record, metric and /health say that nothing is explored any more."""
    with start(EXPLORATION_BUDGET_USD="0") as frugal:
        answer = ask(frugal)
        assert answer.headers["x-router-exploration"] == "spent"
        assert record(frugal, answer)["decision"]["exploration"] == "spent"
        health = frugal.send(request("/health", method="GET")).json
        assert health["exploration"] == {"on": False, "spent_usd": 0.0, "budget_usd": 0.0}
        metrics = frugal.send(request("/metrics", method="GET")).body
        assert b'llm_router_unexplored_decisions_total{reason="spent"} 1.0' in metrics


def test_shadow_mode_keeps_the_choice_that_was_not_followed(start: Callable[..., Any]) -> None:
    """The default model answers, the story has both choices, a rating is taken, and agreement is counted."""
    default = MODELS.partition(",")[0]
    with start(SHADOW_MODE="true") as careful:
        answers = [ask(careful) for _ in range(12)]
        assert {answer.headers["x-router-model"] for answer in answers} == {default}
        stories = [record(careful, answer) for answer in answers]
        assert {story["decision"]["propensity"] for story in stories} == {1.0}
        assert len({story["shadow"]["model"] for story in stories}) == 2
        rated = careful.send(request("/feedback", {"request_id": stories[0]["request_id"], "score": 1}))
        assert rated.status == 202
        metrics = careful.send(request("/metrics", method="GET")).body.decode()
        counted = [line for line in metrics.splitlines() if line.startswith("llm_router_shadow_decisions_total{")]
        assert sum(float(line.split()[-1]) for line in counted) == 12
        assert careful.send(chat(model=MODELS.split(",")[1])).headers["x-router-model"] == MODELS.split(",")[1]
