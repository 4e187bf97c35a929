"""OpenAPI document: made from the table of operations."""

from __future__ import annotations

from services.gateway.http.openapi import (
    ANSWERING,
    JSON,
    OPERATIONS,
    REQUEST_ID,
    ROUTER_HEADERS,
    SENT_HEADERS,
    Operation,
)
from services.gateway.http.openapi_queries import QUERIES
from services.gateway.http.openapi_schemas import STRING, Schema, object_of


def document(version: str) -> Schema:
    """Return the OpenAPI document."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        for path in (operation.path, "/v1" + operation.path) if operation.versioned else (operation.path,):
            paths.setdefault(path, {})[operation.method] = _describe(operation, path)
    error = object_of("message type", message=STRING, type=STRING, param={"type": ["string", "null"]},
                    code={"type": ["string", "null"]})  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": "LLM Router", "version": version, "description": "An OpenAI-compatible gateway that learns."},
        "security": [{"key": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": object_of("error", error=error),
                "MessagesError": object_of("type error", type=STRING, error=error, request_id=STRING),
            },
        },
    }


def _describe(operation: Operation, path: str) -> Schema:
    status, meaning, media_type, schema = operation.answer
    errors = dict(operation.errors)
    if not operation.open:
        errors[401] = "missing_api_key, invalid_api_key (with API_KEYS)"
        errors[403] = ", ".join(filter(None, (errors.get(403), "host_not_allowed (without)")))
    answer: Schema = {"description": meaning, "content": {media_type: {"schema": schema}}}
    if path.endswith(ANSWERING):
        answer["content"]["text/event-stream"] = {"schema": STRING}
        answer["headers"] = {
            name: {"description": text, "schema": STRING} for name, text in ROUTER_HEADERS.items()
        }  # fmt: skip
    described: Schema = {
        "summary": operation.summary,
        "parameters": _parameters(path),
        "responses": {str(status): answer} | {str(code): _error(text, path) for code, text in sorted(errors.items())},
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": operation.body}}}
    if operation.open:
        described["security"] = []
    return described


def _parameters(path: str) -> list[Schema]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters: list[Schema] = [{"name": name, "in": "path", "required": True, "schema": STRING} for name in names]
    if path.endswith((*ANSWERING, "/route")):
        parameters += [{"name": name, "in": "header", "schema": schema} for name, schema in SENT_HEADERS.items()]
    query = QUERIES.get(path.removeprefix("/v1"), {})
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    if path in {"/feedback", "/v1/feedback"}:
        key = {"type": "string", "minLength": 1, "maxLength": 255}
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": key})
    if path.endswith(ANSWERING):
        needed = path == "/chat/completions"
        parameters.append({"name": "X-Request-ID", "in": "header", "required": needed, "schema": REQUEST_ID})
    if "/messages" in path:
        parameters.append({"name": "anthropic-version", "in": "header", "required": True, "schema": STRING})
    return parameters


def _error(text: str, path: str) -> Schema:
    name = "MessagesError" if "/messages" in path else "Error"
    return {"description": text, "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}}
