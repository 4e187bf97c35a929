"""`GET /models`: `auto` and every model that can be named, in OpenAI's list shape."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from services.gateway.http.app_keys import CATALOGUE, SELECTOR
from services.gateway.http.handlers import json_response
from services.gateway.models.catalogue import Catalogue
from services.gateway.models.policies import policy_models
from shared.bandit.arms import Arm, ArmId, Price
from shared.errors import NotFound
from shared.schemas.terms import AUTO, is_auto


async def models(request: web.Request) -> web.Response:
    """List `auto`, the arms that it chooses from, and the default model."""
    catalogue = request.app[CATALOGUE]
    default = () if catalogue.default is None else (catalogue.default,)
    policies = policy_models(request.app[SELECTOR].policies())
    names = dict.fromkeys((AUTO, *policies, *catalogue.arm_ids, *default))
    return json_response({"object": "list", "data": [_model(name, catalogue) for name in names]})


async def model(request: web.Request) -> web.Response:
    """Show one model, whether it is an arm or only listed by the upstream."""
    name, catalogue = request.match_info["model"], request.app[CATALOGUE]
    own = (AUTO, *policy_models(request.app[SELECTOR].policies()))
    return json_response(_model(name if name in own else _known(catalogue, name), catalogue))


def described(arm: Arm) -> dict[str, Any]:
    """Return a model's upstream, prices and limits, in OpenRouter's names; what is unknown is left out."""
    architecture = {
        "input_modalities": _sorted(arm.input_modalities),
        "output_modalities": _sorted(arm.output_modalities),
    }
    top_provider = {"context_length": arm.context_tokens, "max_completion_tokens": arm.max_output_tokens}
    listed = {
        "upstream": arm.upstream,
        "pricing": None if arm.price is None else _pricing(arm.price),
        "context_length": arm.context_tokens,
        "architecture": _known_only(architecture),
        "top_provider": _known_only(top_provider),
        "supported_parameters": _sorted(arm.parameters),
    }
    return _known_only(listed) or {}


def _known(catalogue: Catalogue, name: str) -> ArmId:
    try:
        return catalogue.pin(name)
    except NotFound as error:
        raise NotFound(str(error), code=error.code) from None


def _model(name: str, catalogue: Catalogue) -> dict[str, Any]:
    entry = {"id": name, "object": "model", "created": 0, "owned_by": "llm-router"}
    if is_auto(name):
        return entry
    return {**entry, "owned_by": name.partition("/")[0], **described(catalogue.arm(name))}


def _pricing(price: Price) -> dict[str, Any] | None:
    """Return prices in USD per token, as text without an exponent."""
    usd = {
        "prompt": price.prompt_usd,
        "completion": price.completion_usd,
        "request": price.request_usd or None,
        "input_cache_read": price.cache_read_usd,
    }
    return _known_only({name: None if value is None else _decimal(value) for name, value in usd.items()})


def _decimal(usd: float) -> str:
    return f"{usd:.12f}".rstrip("0").rstrip(".")


def _sorted(words: frozenset[str] | None) -> list[str] | None:
    return None if words is None else sorted(words)


def _known_only(fields: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in fields.items() if value is not None} or None
