"""All settings as one frozen pydantic model: name, type, range, default and description of each.

`make configuration` writes docs/configuration.md from it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from shared.bandit.decision import Weights
from shared.bandit.free_arms import FREE
from shared.bandit.policy import BanditSettings
from shared.schemas.history import NO_HISTORY, OutboxBound
from shared.settings.addresses import SslMode
from shared.settings.evaluation import EvaluationSettings
from shared.settings.explain import Said, masked
from shared.settings.field_types import (
    AllowedHosts,
    BindHost,
    CommaSeparated,
    DatabaseHost,
    DatabaseUrl,
    HeaderSecret,
    HttpUrl,
    KeyLimits,
    KeyPrefixes,
    Keys,
    ModelName,
    ModelPrices,
    Models,
    NotEmpty,
    OptionalPath,
    Origins,
    ProxyUrl,
    RedisUrl,
    Similarity,
    UpstreamUrl,
)
from shared.settings.retention import RetentionSettings
from shared.settings.sources import SourcedSettings
from shared.settings.text import clean
from shared.settings.traffic import TrafficSettings

DECISIVE = (
    *("LLM_MODELS", "DEFAULT_MODEL", "FEEDBACK_WEIGHT", "LATENCY_WEIGHT", "COST_WEIGHT", "EXPLORATION_RATE"),
    *("SIMILARITY_THRESHOLD", "MAX_SIMILAR_REQUESTS", "RECENCY_DAYS", "MIN_SIMILAR_REQUESTS", "MIN_CONFIDENCE_SCORE"),
    *("OPTIMISTIC_PRIOR", "EXPLORATION_BONUS", "MIN_REQUESTS_FOR_GLOBAL", "SAFE_START", "EXPLORATION_BUDGET_USD"),
    *("SESSION_MARGIN", "SHADOW_MODE", "MODEL_PRICES", "CONTROL_SHARE"),
)
"""Settings that shape a decision."""


class Settings(EvaluationSettings, TrafficSettings, RetentionSettings, SourcedSettings):
    """All settings; the descriptions become docs/configuration.md (`make configuration`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    # -- server
    HOST: BindHost = Field("0.0.0.0", description="Server bind address")
    PORT: int = Field(8080, ge=1, le=65535, description="Server port")
    SHARED_PORT: int = Field(
        0, ge=0, le=65535, description="Further port, which several gateways of one machine can share; 0: none"
    )
    CORS_ORIGINS: Origins = Field(("*",), description="Comma-separated CORS origins")
    API_KEYS: Keys = Field(
        (), description="Comma-separated keys that clients must send as `Authorization: Bearer`; empty: no key needed"
    )
    ADMIN_API_KEYS: Keys = Field(
        (), description="Keys for all requests, `/metrics` and changes of `/arms`; if set, other keys cannot use these"
    )
    ALLOWED_HOSTS: AllowedHosts = Field(
        (), description="Host names for web pages without a key; `*`: all. localhost and IPs are always allowed"
    )
    METRICS_TOKEN: HeaderSecret | None = Field(
        None, description="Key that Prometheus sends as `Authorization: Bearer`; it can only read `/metrics`"
    )
    DASHBOARD: bool = Field(default=True, description="Serve the dashboard at `/ui`")
    MAX_CONNECTIONS_PER_ADDRESS: int = Field(
        0, ge=0, le=1_000_000, description="Connections of one client address, above it 503; 0: half of all"
    )
    MAX_CONCURRENT_REQUESTS: int = Field(
        1024, ge=1, le=100_000, description="Concurrent chat requests of one gateway; above it 503"
    )
    MAX_CONCURRENT_PER_KEY: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Concurrent chat requests of one key, above it 429; 0: half of all, if there are several keys",
    )
    RATE_LIMIT_RPM: int = Field(0, ge=0, le=10_000_000, description="Chat requests a minute of one key; 0: no limit")
    RATE_LIMIT_TPM: int = Field(
        0, ge=0, le=1_000_000_000, description="Tokens a minute of one key, prompts and responses; 0: no limit"
    )
    BUDGET_USD_PER_DAY: float = Field(
        0.0, ge=0, le=1_000_000, description="Spending of one key in a day (UTC); 0: no limit"
    )
    KEY_LIMITS: KeyLimits = Field((), description="Limits of some keys, by the first 8 to 16 digits of their SHA-256")
    ASSUMED_GATEWAYS: int = Field(
        2, ge=1, le=1000, description="While Redis is down, a gateway uses each limit divided by this number"
    )
    MAX_BODY_BYTES: int = Field(8_388_608, ge=1024, le=268_435_456, description="Largest request body, decompressed")
    MAX_BYTES_IN_WORK: int = Field(
        134_217_728, ge=1024, le=1 << 40, description="Bytes of request bodies that one gateway holds; above it 503"
    )
    BODY_TIMEOUT_S: float = Field(30.0, gt=0, le=600, description="Time for a client to send headers and body")
    DRAIN_DELAY_S: float = Field(0.0, ge=0, le=300, description="After SIGTERM: time with /ready 503, still serving")
    DRAIN_TIMEOUT_S: float = Field(30.0, ge=0, le=600, description="After SIGTERM: time for open responses to finish")

    # -- models
    OPENROUTER_API_KEY: HeaderSecret | None = Field(None, description="Your OpenRouter API key")
    OPENROUTER_BASE_URL: UpstreamUrl = Field(
        "https://openrouter.ai/api/v1", description="OpenRouter or any OpenAI-compatible base URL"
    )
    MODELS_FILE: OptionalPath = Field(
        None, description="YAML file with several upstreams, their models and policies; replaces the two above"
    )
    UPSTREAM_CA_BUNDLE: OptionalPath = Field(
        None, description="PEM file with the certificate authorities for the upstream"
    )
    HTTPS_PROXY: ProxyUrl = Field(None, description="Proxy for an `https://` upstream only")
    HTTP_PROXY: ProxyUrl = Field(None, description="Proxy for an `http://` upstream only")
    ALL_PROXY: ProxyUrl = Field(None, description="Proxy for the upstream if the one for its scheme is not set")
    NO_PROXY: CommaSeparated = Field((), description="Hosts and networks to reach without a proxy; `*`: all")
    LLM_MODELS: Models = Field(
        (FREE,),
        min_length=1,
        description="Comma-separated model list; `free`: free models from the upstream's current list",
    )
    DEFAULT_MODEL: ModelName = Field("claude-3.5-sonnet", description="Fallback model when the bandit is uncertain")
    MODEL_PRICES: ModelPrices = Field(
        (), description="Prices that replace or add to the upstream's: `openai/gpt-4o=2.5:10,local/llama=0:0`"
    )
    REQUEST_TIMEOUT_S: float = Field(
        600.0, gt=0, le=3600, description="Overall deadline of a chat request, all attempts included"
    )
    FIRST_BYTE_TIMEOUT_S: float = Field(
        60.0, gt=0, le=3600, description="Streams: longest silence of the upstream before the first event"
    )
    STREAM_GAP_TIMEOUT_S: float = Field(
        30.0, gt=0, le=3600, description="Streams: longest silence after any byte of the upstream, including comments"
    )
    RETRY_AMBIGUOUS: bool = Field(
        default=True, description="Call another model once after a failed call that may have been billed"
    )
    RETRY_BUDGET: float = Field(
        0.2, ge=0, le=1, description="Share of calls in flight that may be second attempts; three are always allowed"
    )

    # -- bandit
    FEEDBACK_WEIGHT: float = Field(0.6, ge=0, le=1, description="How much user feedback influences selection")
    LATENCY_WEIGHT: float = Field(
        0.2, ge=0, le=1, description="How much response speed matters (positive: faster better)"
    )
    COST_WEIGHT: float = Field(-0.2, ge=-1, le=0, description="How much cost matters (negative: cheaper better)")
    EXPLORATION_RATE: float = Field(0.1, ge=0, le=1, description="How often to try non-optimal models")
    SIMILARITY_THRESHOLD: Similarity = Field(
        0.7, ge=0, le=1, description="How similar requests must be to reuse learnings"
    )
    MAX_SIMILAR_REQUESTS: int = Field(50, ge=0, le=1000, description="Max historical requests to consider")
    RECENCY_DAYS: float = Field(30.0, gt=0, le=3650, description="Only consider requests from last N days")
    MIN_SIMILAR_REQUESTS: int = Field(5, ge=0, le=1000, description="Min similar requests needed to use similarity")
    MIN_CONFIDENCE_SCORE: float = Field(0.1, ge=0, le=1, description="Minimum confidence before using the bandit")
    OPTIMISTIC_PRIOR: float = Field(0.8, ge=0, le=1, description="Starting assumption about model quality")
    EXPLORATION_BONUS: float = Field(0.1, ge=0, le=1, description="Extra reward for trying new models")
    MIN_REQUESTS_FOR_GLOBAL: int = Field(10, ge=0, le=100_000, description="Requests needed before using global stats")
    SAFE_START: bool = Field(
        default=False,
        description="Serve DEFAULT_MODEL until ratings or evaluations show a better one (no cold start)",
    )
    EXPLORATION_BUDGET_USD: Annotated[float | None, Said("a number, 0 or more")] = Field(
        None, ge=0, description="Spending a day (UTC) on responses that only exploration chose; empty: no limit"
    )
    SESSION_MARGIN: float = Field(
        0.05, ge=0, le=2, description="A conversation keeps its model while its utility is this close to the best"
    )
    SHADOW_MODE: bool = Field(
        default=False, description="Always serve DEFAULT_MODEL, and record what would have been chosen"
    )

    # -- feedback
    FEEDBACK_LINK_SECRET: Annotated[SecretStr | None, Said("a secret of 16 characters or more")] = Field(
        None,
        min_length=16,
        description="16 characters or more: chat responses carry a link that rates them once, without a key",
    )
    FEEDBACK_SOURCE_KEYS: KeyPrefixes = Field(
        (), description="Keys that may send scores of other sources than users, besides admin keys; as in KEY_LIMITS"
    )
    FEEDBACK_RPM: int = Field(6000, ge=0, le=10_000_000, description="Ratings a minute of one key; 0: no limit")

    # -- connections
    REDIS_URL: RedisUrl = Field("redis://localhost:6379/0", description="Address of Redis")
    QDRANT_URL: HttpUrl = Field("http://localhost:6333", description="Qdrant's REST address")
    QDRANT_API_KEY: HeaderSecret | None = Field(None, description="Qdrant's API key, if it needs one")
    EMBEDDER_URL: HttpUrl = Field("http://localhost:8081", description="The embedder's address")
    EMBED_TIMEOUT_MS: int = Field(50, ge=1, le=60_000, description="Deadline; later a decision has no context")
    SEARCH_TIMEOUT_MS: int = Field(50, ge=1, le=60_000, description="Deadline; later a decision has no neighbours")
    REDIS_TIMEOUT_MS: int = Field(100, ge=1, le=60_000, description="Deadline; later a record is spooled to disk")
    SPOOL_DIR: Path = Field(Path(".local/spool"), description="Folder for records while Redis is down")
    SPOOL_MAX_BYTES: int = Field(
        67_108_864, ge=0, description="Largest spool; 1000 records above it wait in memory, more are lost"
    )

    # -- embedder
    EMBEDDER_HOST: BindHost = Field("0.0.0.0", description="The embedder's bind address")
    EMBEDDER_PORT: int = Field(8081, ge=1, le=65535, description="The embedder's port")
    EMBEDDING_MODEL: NotEmpty = Field(
        "static", description="`static`, `all-MiniLM-L6-v2`, or any fastembed name (downloaded)"
    )
    MODEL_CACHE_DIR: Path = Field(Path(".local/models"), description="Folder for distilled and downloaded models")
    EMBED_BATCH_SIZE: int = Field(64, ge=1, le=4096, description="Texts in one forward pass, at most")
    EMBED_BATCH_WAIT_MS: float = Field(1.0, ge=0, le=1000, description="Longest wait for a batch to fill")
    EMBED_QUEUE_LIMIT: int = Field(1024, ge=1, le=1_000_000, description="Texts that may wait; above it 503")
    EMBED_CACHE_SIZE: int = Field(20_000, ge=0, le=10_000_000, description="Cached vectors, by hash of the text")
    EMBED_MAX_CHARS: int = Field(8_000, ge=64, le=1_000_000, description="Characters of a prompt that are embedded")

    # -- learner
    LEARNER_HOST: BindHost = Field("0.0.0.0", description="Bind address of the learner's metrics")
    LEARNER_PORT: int = Field(8082, ge=0, le=65535, description="Port of the learner's metrics; 0: none")

    # -- database
    ENABLE_PERSISTENCE: bool = Field(default=False, description="Enable request/feedback storage")
    DATABASE_URL: DatabaseUrl | None = Field(None, description="Full database connection string")
    DATABASE_HOST: DatabaseHost = Field("localhost", description="Database host")
    DATABASE_PORT: int = Field(5432, ge=1, le=65535, description="Database port")
    DATABASE_USER: NotEmpty = Field("llm_router", description="Database user")
    DATABASE_PASSWORD: SecretStr | None = Field(None, description="Database password")
    DATABASE_NAME: NotEmpty = Field("llm_router", description="Database name")
    DATABASE_SSL_MODE: SslMode = Field("prefer", description="libpq sslmode")
    STORE_PROMPTS: bool = Field(
        default=False, description="Store the embedded text of each prompt in the database (never in a log)"
    )
    HISTORY_MAX_WAITING: int = Field(
        1_000_000, ge=1, le=1_000_000_000, description="Entries that may wait for the database; above it, dropped"
    )
    HISTORY_MAX_WAITING_BYTES: int = Field(
        268_435_456, ge=1024, le=1 << 40, description="Bytes of these entries in Redis; above it, dropped"
    )

    # -- logging
    LOG_LEVEL: Literal["debug", "info", "warn", "error"] = Field("info", description="debug/info/warn/error")
    LOG_FORMAT: Literal["json", "text", "auto"] = Field("auto", description="json/text/auto (text on a terminal)")
    OTEL_EXPORTER_OTLP_ENDPOINT: HttpUrl | None = Field(
        None, description="Collector for OpenTelemetry traces (OTLP over HTTP); empty: no traces are sent"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _clean(cls, value: object, info: ValidationInfo) -> object:
        """Clean every text before it is validated by its type."""
        if not isinstance(value, str):
            return value
        return clean(value, is_list=get_origin(cls.model_fields[info.field_name or ""].annotation) is tuple)

    def bandit(self) -> BanditSettings:
        """Return the settings of the policy."""
        return BanditSettings(
            weights=Weights(quality=self.FEEDBACK_WEIGHT, latency=self.LATENCY_WEIGHT, cost=self.COST_WEIGHT),
            exploration_rate=self.EXPLORATION_RATE,
            similarity_threshold=self.SIMILARITY_THRESHOLD,
            max_similar_requests=self.MAX_SIMILAR_REQUESTS,
            min_similar_requests=self.MIN_SIMILAR_REQUESTS,
            min_confidence_score=self.MIN_CONFIDENCE_SCORE,
            optimistic_prior=self.OPTIMISTIC_PRIOR,
            exploration_bonus=self.EXPLORATION_BONUS,
            min_requests_for_global=self.MIN_REQUESTS_FOR_GLOBAL,
            default_arm=self.DEFAULT_MODEL,
            safe_start=self.SAFE_START,
        )

    def decisive(self) -> dict[str, object]:
        """Return the settings that shape a decision."""
        return {name: getattr(self, name) for name in DECISIVE}

    def decisive_hash(self) -> str:
        """Return a hash of these settings, equal in every process; it is stored in each record."""
        return hashlib.blake2b(repr(sorted(self.decisive().items())).encode(), digest_size=8).hexdigest()

    @property
    def history_bound(self) -> OutboxBound:
        """Bound of the outbox of the history."""
        most = OutboxBound(self.HISTORY_MAX_WAITING, self.HISTORY_MAX_WAITING_BYTES)
        return most if self.ENABLE_PERSISTENCE else NO_HISTORY

    @property
    def prompt_chars(self) -> int:
        """Stored characters of a prompt's routing text; 0 for none."""
        return self.EMBED_MAX_CHARS if self.STORE_PROMPTS and self.ENABLE_PERSISTENCE else 0

    def masked(self) -> dict[str, str]:
        """Return every setting as text, secrets as `********`, credentials in URLs cut out."""
        return {name: masked(getattr(self, name)) for name in type(self).model_fields}

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Show what may be shown, also where a traceback or a log prints the object."""
        return list(self.masked().items())
