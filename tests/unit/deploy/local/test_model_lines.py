"""What the start's table says of the models."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from deploy.local.model_lines import model_lines, report_on
from deploy.local.servers import free_port
from shared.settings import load_settings

DEFAULT = {
    "configured": "claude-3.5-sonnet",
    "used": "anthropic/claude-sonnet-4.5",
    "replaced": True,
    "usd_per_million_prompt_tokens": 3.0,
    "usd_per_million_completion_tokens": 15.0,
}

AWAY = {"upstream": {"status": "down", "detail": "no connection"}}


def report(**changes: Any) -> dict[str, Any]:
    usual = {
        "arm_list": {"arms": ["a/x:free", "b/y"], "free": ["a/x:free", "b/y"], "removed": []},
        "default_model": DEFAULT,
        "unlisted": ["claude-3.5-sonnet"],
        "parts": {"upstream": {"status": "ok", "detail": "11 models"}},
    }
    return usual | changes


def test_a_replaced_default_is_said_with_its_price() -> None:
    """Both names, and what the new one costs."""
    assert report_on(report()) == [
        "Models: a/x:free, b/y (free)",
        "DEFAULT_MODEL claude-3.5-sonnet is not listed: anthropic/claude-sonnet-4.5, the newest of its family, \
replaces it (3 and 15 USD per million tokens).",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unlisted": ["x/gone", "claude-3.5-sonnet"]}, "not used: x/gone"),
        ({"default_model": DEFAULT | {"used": None, "replaced": False}}, "nor is one of its family"),
        ({"default_model": DEFAULT | {"usd_per_million_prompt_tokens": None}}, "price is unknown"),
        ({"arm_list": {"arms": ["d"], "free": [], "removed": []}}, "lists no free model, only d can answer."),
        ({"arm_list": {"arms": [], "free": [], "removed": []}}, "and no other model is named: chat gets 503."),
        ({"arm_list": {"arms": ["d"], "free": [], "removed": []}, "parts": AWAY}, "could not be read"),
        ({"parts": AWAY}, "The upstream is down: no connection"),
        ({"arm_list": {"arms": ["d"], "free": None, "removed": ["c/z"]}}, "Dropped by DELETE /arms, and not used: c/z"),
    ],
)
def test_what_is_missing_is_said(changes: dict[str, Any], words: str) -> None:
    """One line each."""
    assert any(words in line for line in report_on(report(**changes)))


def test_nothing_is_report_on_what_is_as_it_was_set() -> None:
    """Only which models there are."""
    default = DEFAULT | {"configured": "b/y", "used": "b/y", "replaced": False}
    listed = {"arms": ["a/x", "b/y"], "free": None, "removed": []}
    assert report_on(report(arm_list=listed, default_model=default, unlisted=[])) == ["Models: a/x, b/y"]


def test_an_unreachable_gateway_costs_only_the_model_lines() -> None:
    """The start goes on."""
    assert model_lines(f"http://127.0.0.1:{free_port()}", load_settings({}, None)) == []


def test_the_models_are_read_with_an_admin_key_where_there_is_one() -> None:
    """With admin keys, only they see the models of `/health`."""
    sent: list[str | None] = []

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(report()).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        for keys in ({"API_KEYS": "user"}, {"API_KEYS": "user", "ADMIN_API_KEYS": "admin"}):
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            assert model_lines(f"http://127.0.0.1:{server.server_port}", load_settings(keys, None))
            thread.join()
    assert sent == ["Bearer user", "Bearer admin"]
