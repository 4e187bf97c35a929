"""The caller's terms of one request: weights, ceilings, required capabilities and a policy by name.

They come from the model's name (`auto:cheap`), from headers, and from the body's `router`, which never goes upstream.
Where two of them say something different, the body goes before the headers, and these before the model's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from msgspec import Struct
from msgspec.structs import replace
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from shared.errors import InvalidRequest
from shared.schemas.requirements import CAPABILITIES
from shared.schemas.strict_json import validate

AUTO = "auto"
POLICY, WEIGHTS, MAX_COST = "x-router-policy", "x-router-weights", "x-router-max-cost-usd"
HEADERS = (POLICY, WEIGHTS, MAX_COST)


def _check_capability(word: str) -> str:
    if word not in CAPABILITIES:
        raise PydanticCustomError("capability", "Input should be one of {known}", {"known": ", ".join(CAPABILITIES)})
    return word


PolicyName = Annotated[str, Field(min_length=1, max_length=64)]
Capability = Annotated[str, AfterValidator(_check_capability)]
Ceiling = Annotated[float, Field(gt=0, le=1e6)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class WeightFields(_Strict):
    """Weights in the ranges of the settings; an absent one is the policy's, or the setting."""

    quality: Annotated[float, Field(ge=0, le=1)] | None = None
    latency: Annotated[float, Field(ge=0, le=1)] | None = None
    cost: Annotated[float, Field(ge=-1, le=0)] | None = None


class RouterFields(_Strict):
    """The body's field `router`."""

    weights: WeightFields | None = Field(None, description="How much quality, latency and cost count")
    max_cost_usd: Ceiling | None = Field(None, description="Largest expected cost of the answer")
    max_latency_s: Ceiling | None = Field(None, description="Largest expected time of a whole answer")
    require: Annotated[list[Capability], Field(max_length=16)] | None = Field(
        None, description="Capabilities that the model must have, whether this request uses them or not"
    )
    explore: bool | None = Field(None, description="`false`: no exploration")
    policy: PolicyName | None = Field(None, description="Name of a preset or of one of the operator's policies")


class Terms(Struct, frozen=True):
    """Terms of one request. None, and an empty tuple: not given. `policy_param` is where the policy was named."""

    policy: str | None = None
    policy_param: str = "model"
    quality: float | None = None
    latency: float | None = None
    cost: float | None = None
    max_cost_usd: float | None = None
    max_latency_s: float | None = None
    require: tuple[str, ...] = ()
    explore: bool | None = None


def is_auto(model: str | None) -> bool:
    """Return whether the router chooses: no model, `auto`, or a policy (`auto:cheap`)."""
    return model is None or model == AUTO or model.startswith(f"{AUTO}:")


def terms_of(model: str | None, fields: RouterFields | None) -> Terms | None:
    """Return the terms that a body gives; None for those of the settings."""
    prefix, colon, name = (model or "").partition(":")
    terms = Terms(policy=name) if prefix == AUTO and colon else None
    return terms if fields is None else _over(terms or Terms(), fields, "router.policy")


def with_headers(terms: Terms | None, header: Callable[[str], str]) -> Terms | None:
    """Return the terms with those that headers give, unless the body gives them. Raises InvalidRequest."""
    sent = {name: text for name in HEADERS if (text := header(name).strip())}
    if not sent:
        return terms
    given: dict[str, object] = {}
    if WEIGHTS in sent:
        given["weights"] = _weights(sent[WEIGHTS])
    if MAX_COST in sent:
        given["max_cost_usd"] = _number(sent[MAX_COST], MAX_COST)
    if POLICY in sent:
        given["policy"] = sent[POLICY]
    try:
        fields = validate(RouterFields, given)
    except InvalidRequest as error:
        first = (error.param or "").partition(".")[0]
        name = {"weights": WEIGHTS, "max_cost_usd": MAX_COST}.get(first, POLICY)
        raise InvalidRequest(str(error), code=error.code, param=name) from None
    by_headers = _over(Terms(), fields, POLICY)
    if terms is not None and terms.policy_param == "model" and by_headers.policy is not None:
        terms = replace(terms, policy=None)
    return by_headers if terms is None else _both(terms, by_headers)


def _over(below: Terms, fields: RouterFields, param: str) -> Terms:
    """Return the terms of `fields`, and those of `below` where they say nothing."""
    weights = fields.weights or WeightFields()
    given = Terms(
        policy=fields.policy,
        policy_param=param,
        quality=weights.quality,
        latency=weights.latency,
        cost=weights.cost,
        max_cost_usd=fields.max_cost_usd,
        max_latency_s=fields.max_latency_s,
        require=tuple(fields.require or ()),
        explore=fields.explore,
    )
    return _both(given, below)


def _both(first: Terms, second: Terms) -> Terms:
    """Return the first terms, and the second ones where those say nothing."""
    names = [name for name in Terms.__struct_fields__ if name != "policy_param"]
    missing = {name: getattr(second, name) for name in names if getattr(first, name) in (None, ())}
    param = second.policy_param if first.policy is None else first.policy_param
    return replace(first, **missing, policy_param=param)


def _weights(text: str) -> dict[str, float]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    return {name.strip(): _number(value, WEIGHTS) for name, _, value in pairs}


def _number(text: str, param: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest(
            "The header must be a number." if param != WEIGHTS else "The header must be like `quality=0.8,cost=-0.2`.",
            code="invalid_value",
            param=param,
        ) from None
