"""Bad input: the right status, OpenAI's error shape, a process that lives on, and no secret in the log."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from deploy.local.servers import free_port
from tests.integration.bad_input.cases import CASES, FORBIDDEN_IN_LOGS, GOOD, HTTP, Case, rating
from tests.integration.bad_input.process import MODELS, Gateway, gateway_process
from tests.integration.bad_input.wire import CHAT, KEY, OTHER_KEY, Answer, chat, exchange, request

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "upstream_error",
    503: "server_error",
    504: "upstream_error",
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, redis_server: str, qdrant_url: str) -> Iterator[Gateway]:
    with Redis.from_url(redis_server) as client:
        client.flushall()  # a gateway that an earlier test has killed would count as behind with its records
    with gateway_process(tmp_path_factory.mktemp("gateway"), redis_server, qdrant_url) as running:
        yield running
        assert running.alive


@pytest.fixture(autouse=True)
def unharmed(gateway: Gateway) -> Iterator[None]:
    """After each request: the process lives, the next request is fine, and nothing secret was written."""
    yield
    assert gateway.alive
    assert gateway.ready()
    for secret in FORBIDDEN_IN_LOGS:
        assert secret not in gateway.log


def check_error(answer: Answer) -> dict[str, str | None]:
    """Check that an answer is an error in OpenAI's shape, and return it."""
    assert answer.headers["content-type"].startswith("application/json")
    assert "server" not in answer.headers
    error: dict[str, str | None] = answer.json["error"]
    assert set(answer.json) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == TYPES.get(answer.status, "invalid_request_error")
    for forbidden in (*FORBIDDEN_IN_LOGS, "Traceback", "aiohttp", "127.0.0.1"):
        assert forbidden not in answer.body.decode()
    return error


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_input_gets_its_answer(gateway: Gateway, case: Case) -> None:
    """Every row of the catalogue: status, code and field as agreed, and only one answer to one request."""
    answer = gateway.send(*case.parts, linger_s=0.05 if case in HTTP else 0.0)
    assert answer.status in case.status, answer.body
    assert answer.rest == b"", "a second answer was smuggled in"
    if answer.status < 400:
        return
    error = check_error(answer)
    if case.code is not None:
        assert error["code"] == case.code
    if case.param is not None:
        assert error["param"] == case.param
    if answer.status == 405:
        assert answer.headers["allow"]
    if answer.status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    if error["code"] == "bad_request":
        assert answer.closed, "after broken HTTP nothing on this connection can be trusted"
    if answer.status == 413:
        assert answer.headers["connection"] == "close", "a client must not send its next request behind an unread body"


# -- slow and silent clients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "answered"),
    [(b"", False), (b"POST /v1/chat/comp", True), (request(body=GOOD)[:60], True), (request(body=GOOD)[:-10], True)],
    ids=["2-silent", "1-half-a-line", "1-half-a-header", "3-half-a-body"],
)
def test_slow_clients_are_let_go(gateway: Gateway, sent: bytes, answered: bool) -> None:
    """Headers and body have a deadline: 408 where a request had begun, then the connection is closed."""
    started = time.monotonic()
    answer = exchange(gateway.port, sent, linger_s=3.0)
    assert 0.8 < time.monotonic() - started < 5
    assert (answer is not None) is answered
    if answer is not None:
        assert answer.status == 408
        assert check_error(answer)["code"] == "request_timeout"
        assert answer.closed


def test_a_trickle_is_not_progress(gateway: Gateway) -> None:
    """One byte now and then does not extend the deadline, neither of headers nor of the body (rows 1 and 3)."""
    for whole in (b"GET /ready HTTP/1.1\r\nx-a: " + b"a" * 100, request(content_length="100") + b"{" * 50):
        begun = whole.rpartition(b"\r\n")[0] if whole.startswith(b"GET") else whole[:-50]
        drops: list[bytes | float] = [piece for _ in range(25) for piece in (b"a", 0.1)]
        started = time.monotonic()
        answer = gateway.send(begun + b"\r\n" if whole.startswith(b"GET") else begun, *drops)
        assert answer.status == 408
        assert time.monotonic() - started < 5


def test_a_keep_alive_connection_serves_many_in_order(gateway: Gateway) -> None:
    """A thousand pipelined requests are answered one by one, in their order (row 20)."""
    ids = [f"pipelined-{number}" for number in range(1000)]
    raw = b"".join(request("/ready", method="GET", key=None, x_request_id=name) for name in ids)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client, ThreadPoolExecutor(1) as sender:
        sender.submit(client.sendall, raw)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 1000 or not answers.endswith(b"}"):
            answers += client.recv(65536)
    told = [
        line.split(b": ")[1].decode() for line in answers.split(b"\r\n") if line.lower().startswith(b"x-request-id")
    ]
    assert told == ids


# -- what is echoed -------------------------------------------------------------------------------------------------


def test_the_id_is_echoed_only_if_it_is_one(gateway: Gateway) -> None:
    """A valid X-Request-ID comes back; anything else is replaced by our own UUIDv7 (row 68)."""
    answer = gateway.send(request(body=GOOD, x_request_id="ok.Id_1:2-3"))
    assert answer.headers["x-request-id"] == "ok.Id_1:2-3"
    for bad in ("a\tb", "a b", "x" * 129, "<script>", "r\xe9sum\xe9"):
        answer = gateway.send(request(body=GOOD, x_request_id=bad))
        assert answer.status == 200
        assert uuid.UUID(answer.headers["x-request-id"]).version == 7
    answer = gateway.send(request("/nowhere", method="GET", key=None))
    assert uuid.UUID(answer.headers["x-request-id"]).version == 7


def test_an_id_is_used_once_per_key(gateway: Gateway) -> None:
    """The second request with an id is refused and changes nothing; another key may use the same (row 69)."""
    name = f"once-{uuid.uuid4()}"
    first = gateway.send(request(body=GOOD, x_request_id=name))
    again = gateway.send(request(body=GOOD, x_request_id=name))
    other = gateway.send(request(body=GOOD, x_request_id=name, key=OTHER_KEY))
    assert (first.status, again.status, other.status) == (200, 409, 200)
    assert check_error(again)["code"] == "duplicate_request_id"
    mine, theirs = (gateway.send(request(f"/requests/{name}", method="GET", key=key)).json for key in (KEY, OTHER_KEY))
    assert mine["id"] != theirs["id"]
    assert mine["id"] != name


def test_what_belongs_to_another_key_does_not_exist(gateway: Gateway) -> None:
    """Records, metrics and ratings of another key's request: the same 404 as for an id that never was (46, 47, 54)."""
    name = f"mine-{uuid.uuid4()}"
    assert gateway.send(request(body=GOOD, x_request_id=name)).status == 200
    for path in ("/requests", "/metrics"):
        hidden = gateway.send(request(f"{path}/{name}", method="GET", key=OTHER_KEY))
        unknown = gateway.send(request(f"{path}/never-{uuid.uuid4()}", method="GET", key=OTHER_KEY))
        assert hidden.status == unknown.status == 404
        assert hidden.body == unknown.body
    stolen = request("/feedback", {"request_id": name, "score": 0.0}, key=OTHER_KEY)
    assert gateway.send(stolen).status == 404
    assert gateway.send(request(f"/requests/{name}", method="GET")).json["feedback"] is None


# -- feedback -------------------------------------------------------------------------------------------------------


def test_feedback_counts_once_and_the_last_one_counts(gateway: Gateway) -> None:
    """The same again is a no-op, a changed score is a revision, foreign fields are ignored (57, 60, 62)."""
    name = f"rated-{uuid.uuid4()}"
    assert gateway.send(request(body=GOOD, x_request_id=name)).status == 200

    def rate(**fields: object) -> Answer:
        return gateway.send(rating(request_id=name, **fields))

    def stored() -> tuple[float, int]:
        feedback = gateway.send(request(f"/requests/{name}", method="GET")).json["feedback"]
        return feedback["score"], feedback["revision"]

    first, again = rate(score=0.8), rate(score=0.8)
    assert (first.status, again.status) == (202, 202)
    assert (first.json["duplicate"], again.json["duplicate"]) == (False, True)
    assert stored() == (0.8, 1)
    assert rate(score=0.2, model="another/arm", timestamp=0, created_at=1, owner="x").status == 202
    assert stored() == (0.2, 2)
    assert rate(score=True).status == 400
    assert stored() == (0.2, 2)


def test_a_hundred_concurrent_ratings_are_one(gateway: Gateway) -> None:
    """The same rating sent in parallel is stored once (row 59)."""
    name = f"stormed-{uuid.uuid4()}"
    assert gateway.send(request(body=GOOD, x_request_id=name)).status == 200
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: gateway.send(rating(request_id=name, score=0.4)), range(100)))
    assert {answer.status for answer in answers} == {202}
    assert sum(not answer.json["duplicate"] for answer in answers) == 1
    assert gateway.send(request(f"/requests/{name}", method="GET")).json["feedback"]["revision"] == 1


# -- leaks ----------------------------------------------------------------------------------------------------------


def test_nothing_in_a_request_is_dialled(gateway: Gateway) -> None:
    """An address in a message or a field is never connected to by us (rows 31 and 32)."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/latest/meta-data"
        part = {"type": "image_url", "image_url": {"url": url}}
        sees = MODELS.split(",")[1]
        assert gateway.send(chat(model=sees, messages=[{"role": "user", "content": [part]}])).status == 200
        assert gateway.send(chat(vendor={"webhook": url, "proxy": url})).status == 200
        assert gateway.send(chat(api_base=url)).status == 400
        trap.settimeout(0.2)
        with pytest.raises(TimeoutError):
            trap.accept()


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example", True),
        ("https://evil.example", False),
        ("null", False),
        ("https://app.example.evil", False),
    ],
)
def test_only_listed_origins_may_read(gateway: Gateway, origin: str, allowed: bool) -> None:
    """A page of another origin gets no permission, and credentials are never allowed (row 73)."""
    preflight = request(method="OPTIONS", key=None, origin=origin, access_control_request_method="POST")
    for raw in (preflight, request(body=GOOD, origin=origin), request("/nowhere", method="GET", origin=origin)):
        headers = gateway.send(raw).headers
        assert headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert "access-control-allow-credentials" not in headers
        assert "origin" in headers.get("vary", "").lower() or raw is preflight
    assert gateway.send(preflight).status == (204 if allowed else 405)


def test_strangers_cannot_grow_the_metrics(gateway: Gateway) -> None:
    """Unknown paths, models, methods and keys share one label (row 74)."""

    def series() -> int:
        body = gateway.send(request("/metrics", method="GET")).body.decode()
        return sum(not line.startswith("#") for line in body.splitlines())

    def strange(number: int) -> None:
        gateway.send(request(f"/path-{number}", method="GET"))
        gateway.send(chat(model=f"vendor-{number}/model"))
        gateway.send(request(body=GOOD, key=f"key-{number}"))
        gateway.send(request("/feedback", method=f"METHOD{number}"))

    strange(0)
    series()
    before = series()
    for number in range(1, 30):
        strange(number)
    assert series() == before


def test_every_log_line_is_one_json_object(gateway: Gateway) -> None:
    """Whatever was in prompts, names and headers, the log stays one object a line (row 70)."""
    for line in gateway.log.splitlines():
        assert isinstance(json.loads(line), dict), line


def test_without_redis_bad_input_gets_the_same_answers(tmp_path: Path, qdrant_url: str) -> None:
    """The whole catalogue again with Redis away: only what needs Redis says so, with 503 and when to come again."""
    needs_redis = {49, 53}
    with gateway_process(tmp_path, f"redis://127.0.0.1:{free_port()}/0", qdrant_url) as poor:
        for case in CASES:
            answer = poor.send(*case.parts)
            allowed = {*case.status, 503} if case.row in needs_redis else set(case.status)
            assert answer.status in allowed, str(case)
            if answer.status >= 400:
                check_error(answer)
            assert (answer.headers["retry-after"] is not None) is (answer.status in {429, 503})
        assert poor.alive
        assert poor.ready()
        assert not [secret for secret in FORBIDDEN_IN_LOGS if secret in poor.log]


def test_chat_still_works_at_the_end(gateway: Gateway) -> None:
    """After all of this a good request is answered, whole and streamed."""
    assert gateway.send(request(CHAT, GOOD)).json["choices"]
    assert gateway.send(chat(stream=True)).body.endswith(b"data: [DONE]\n\n")
