"""`GET /openapi.json` and `GET /docs`: the contract for machines and for people."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from html import escape

import orjson
from aiohttp import web

from services.gateway.http.handlers import json_response
from services.gateway.http.openapi import OPERATIONS, ROUTER_HEADERS, Operation
from services.gateway.http.openapi_document import document
from services.gateway.process.version import VERSION

_STYLE = """
:root { color-scheme: light dark } body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
padding: 0 1rem } code { font: 0.9em ui-monospace, monospace } section { border-top: 1px solid #8886;
padding: 0.5rem 0 } table { border-collapse: collapse } td { padding: 0.1rem 1rem 0.1rem 0; vertical-align: top }
pre { overflow: auto; padding: 0.5rem; background: #8882 }
"""
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()


async def openapi(_request: web.Request) -> web.Response:
    """Return the OpenAPI document."""
    return json_response(document(VERSION))


async def docs(_request: web.Request) -> web.Response:
    """Return the same as one page, without scripts or external resources."""
    headers = {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'"
    }
    return web.Response(text=_page(), content_type="text/html", headers=headers)


@cache
def _page() -> str:
    headers = _rows((f"<code>{name}</code>", escape(text)) for name, text in ROUTER_HEADERS.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>LLM Router</title><style>{_STYLE}</style>'
        f"<h1>LLM Router {escape(VERSION)}</h1>"
        '<p>For machines: <a href="/openapi.json">/openapi.json</a>. Errors have OpenAI\'s shape: '
        '<code>{"error": {"message", "type", "param", "code"}}</code>.</p>'
        f"{''.join(_section(operation) for operation in OPERATIONS)}"
        f"<section><h2>Headers of a chat answer</h2>{headers}</section></html>"
    )


def _section(operation: Operation) -> str:
    status, meaning, _, _ = operation.answer
    prefix = "<p>Also under <code>/v1</code>.</p>" if operation.versioned else ""
    answers = {status: meaning} | dict(sorted(operation.errors.items()))
    body = ""
    if operation.body is not None:
        schema = orjson.dumps(operation.body, option=orjson.OPT_INDENT_2).decode()
        body = f"<details><summary>Body</summary><pre>{escape(schema)}</pre></details>"
    return (
        f"<section><h2><code>{operation.method.upper()} {escape(operation.path)}</code></h2>"
        f"<p>{escape(operation.summary)}.</p>{prefix}{body}"
        f"{_rows((str(code), escape(text)) for code, text in answers.items())}</section>"
    )


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in rows) + "</table>"
