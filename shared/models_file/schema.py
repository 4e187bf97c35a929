"""Schema of MODELS_FILE: upstreams, models and policies, as frozen pydantic models.

The names are the file's own. `None` means: not given, so the setting, or what the upstream lists, applies.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from shared.bandit.arms import Price
from shared.schemas.requirements import CAPABILITIES, INPUTS, OUTPUTS, PARAMETERS
from shared.settings.explain import Said
from shared.settings.field_types import HeaderSecret, ModelName, OptionalPath, UpstreamUrl, split_list
from shared.settings.model_prices import MAX_USD_PER_MILLION
from shared.settings.text import BadText

_IMPLIED = {"tools": "tool_choice", "structured_outputs": "response_format"}

DIALECTS = ("chat", "responses", "messages")

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_OWN_HEADERS = frozenset(
    {"content-length", "content-type", "host", "transfer-encoding", "connection", "accept-encoding"}
)


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise BadText("a name is 1 to 32 lower-case letters, digits, dots, hyphens and underscores")
    return text


def _check_header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise BadText("the name of a header is letters, digits and hyphens")
    if text.lower() in _OWN_HEADERS:
        raise BadText("the router sets this header itself")
    return text


def _one_of(known: tuple[str, ...]) -> AfterValidator:
    def check(words: tuple[str, ...]) -> tuple[str, ...]:
        strange = next((word for word in words if word not in known), None)
        if strange is not None:
            raise BadText(f"{strange!r} is none of {', '.join(known)}")
        return words

    return AfterValidator(check)


Name = Annotated[str, AfterValidator(_check_name)]
"""Name of an upstream or a policy: a label of metrics, and part of names of models."""

HeaderName = Annotated[str, AfterValidator(_check_header)]
Capabilities = Annotated[
    tuple[str, ...], BeforeValidator(split_list), _one_of(CAPABILITIES), Said(f"a list of {', '.join(CAPABILITIES)}")
]
Dialects = Annotated[
    tuple[str, ...], BeforeValidator(split_list), _one_of(DIALECTS), Said(f"a list of {', '.join(DIALECTS)}")
]
Arms = Annotated[tuple[ModelName, ...], BeforeValidator(split_list), Said("a list of models")]
PerMillion = Annotated[float, Field(ge=0, le=MAX_USD_PER_MILLION)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
_SECONDS = Said("a number of seconds, above 0, at most 3600")
_TOKENS = Said("a whole number of tokens, 1 or more")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class Upstream(_Section):
    """An OpenAI-compatible server, with its key and its quirks.

    Attributes:
        api_key_header: header of the key; in `Authorization` it is a bearer token.
        timeout_s: longest time of one call; REQUEST_TIMEOUT_S limits all calls of a request together.
        stream_options: whether it accepts `stream_options`; without it the usage of streams is estimated.
        list_models: whether it has `GET /models` with the models that can be called.
        dialects: the APIs that it has besides `chat`; requests of others are translated.
        private: its prompts never go to another upstream.
    """

    base_url: UpstreamUrl
    api_key: HeaderSecret | None = None
    api_key_header: HeaderName = "Authorization"
    extra_headers: dict[HeaderName, HeaderSecret] = {}
    timeout_s: Annotated[Seconds | None, _SECONDS] = None
    first_byte_timeout_s: Annotated[Seconds | None, _SECONDS] = None
    stream_gap_timeout_s: Annotated[Seconds | None, _SECONDS] = None
    ca_bundle: OptionalPath = None
    stream_options: bool = True
    list_models: bool = True
    dialects: Dialects = ("chat",)
    private: bool = False

    @property
    def is_openrouter(self) -> bool:
        """Whether it is OpenRouter itself."""
        host = urlsplit(self.base_url).hostname or ""
        return host == "openrouter.ai" or host.endswith(".openrouter.ai")


class ListedPrice(_Section):
    """List price of a model in USD per million tokens; `request` in USD per request."""

    prompt: PerMillion
    completion: PerMillion
    cache_read: Annotated[PerMillion | None, Said(f"a number, 0 to {MAX_USD_PER_MILLION:g}")] = None
    request: Annotated[float, Field(ge=0, le=1000)] = 0.0

    def per_token(self) -> Price:
        """Return the price per token."""
        read = None if self.cache_read is None else self.cache_read / 1e6
        return Price(self.prompt / 1e6, self.completion / 1e6, self.request, read)


class ListedModel(_Section):
    """A model of an upstream under the router's own id; what is given here replaces what the upstream lists.

    Attributes:
        upstream: its upstream; None: the first one of the file.
        model: the upstream's name of the model; None: its id.
        capabilities: all that it can do besides text; None: unknown.
    """

    id: ModelName
    upstream: str | None = None
    model: ModelName | None = None
    price: ListedPrice | None = None
    context_length: Annotated[int | None, Field(ge=1), _TOKENS] = None
    max_output_tokens: Annotated[int | None, Field(ge=1), _TOKENS] = None
    capabilities: Capabilities | None = None

    @property
    def input_modalities(self) -> frozenset[str] | None:
        """Return what a prompt may hold; None: unknown."""
        given = self.capabilities
        return None if given is None else frozenset({"text", *(word for word in given if word in INPUTS)})

    @property
    def output_modalities(self) -> frozenset[str] | None:
        """Return what an answer may hold; None: unknown."""
        given = self.capabilities
        return None if given is None else frozenset({"text", *(word[7:] for word in given if word in OUTPUTS)})

    @property
    def parameters(self) -> frozenset[str] | None:
        """Return the request parameters that it supports; None: unknown."""
        if self.capabilities is None:
            return None
        given = [word for word in self.capabilities if word in PARAMETERS]
        return frozenset({*given, *(_IMPLIED[word] for word in given if word in _IMPLIED)})


class PolicyWeights(_Section):
    """Weights of a policy, in the ranges of FEEDBACK_WEIGHT, LATENCY_WEIGHT and COST_WEIGHT; None: the setting."""

    quality: Annotated[float | None, Field(ge=0, le=1), Said("a number, 0 to 1")] = None
    latency: Annotated[float | None, Field(ge=0, le=1), Said("a number, 0 to 1")] = None
    cost: Annotated[float | None, Field(ge=-1, le=0), Said("a number, -1 to 0")] = None


class Policy(_Section):
    """Terms of a decision that clients choose by name.

    Attributes:
        arms: the models to draw from; empty: all.
        exploration: EXPLORATION_RATE of it; 0: no exploration.
        default: DEFAULT_MODEL of it.
        session_margin: SESSION_MARGIN of it.
        require: capabilities that each model must have.
    """

    arms: Arms = ()
    weights: PolicyWeights = PolicyWeights()
    exploration: Annotated[float | None, Field(ge=0, le=1), Said("a number, 0 to 1")] = None
    default: ModelName | None = None
    session_margin: Annotated[float | None, Field(ge=0, le=2), Said("a number, 0 to 2")] = None
    require: Capabilities = ()


class ModelsFile(_Section):
    """A whole MODELS_FILE. The first upstream is the one of models that name none, and of names that no list has."""

    upstreams: Annotated[dict[Name, Upstream], Field(min_length=1), Said("one upstream or more, by name")]
    models: tuple[ListedModel, ...] = ()
    policies: dict[Name, Policy] = {}
