"""Types of text settings: names, lists, secrets and addresses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from shared.bandit.arms import is_arm_name
from shared.bandit.free_arms import FREE
from shared.settings.addresses import (
    check_allowed_host,
    check_database_host,
    check_database_url,
    check_host,
    check_origin,
    check_redis_url,
    check_upstream_url,
    check_url,
)
from shared.settings.explain import Said
from shared.settings.model_prices import check_model_prices
from shared.settings.text import BadText, check_printable

_NOT_IN_NAMES = re.compile(r"""[;,|"'`\[\]{}]""")
_KEY_PREFIX = re.compile(r"[0-9a-f]{8,16}")
_KEY_LIMIT = re.compile(r"([0-9a-f]{8,16})((?::(?:rpm=\d{1,8}|tpm=\d{1,10}|usd=\d{1,7}(?:\.\d{1,9})?))+)")


def split_list(value: object) -> object:
    """Turn `a, b, a` into the tuple (a, b); leave lists alone."""
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(part for part in (part.strip() for part in value.split(",")) if part))


def _some_keys(value: object) -> object:
    # An empty value is unset, so this one has only commas, perhaps between unset variables.
    if value == ():
        raise BadText("it names no key; leave it empty where no key is wanted")
    return value


def _check_secret(secret: SecretStr) -> SecretStr:
    check_printable(secret.get_secret_value())
    return secret


def _check_model(text: str) -> str:
    if not is_arm_name(text):
        raise BadText("the name of a model is 1 to 256 printable ASCII characters without blanks")
    if (found := _NOT_IN_NAMES.search(text)) is not None:
        raise BadText(f"the name of a model has no {found[0]} in it; a list has commas alone: a/b,c/d")
    if text.lower() == FREE != text:
        raise BadText(f"free models are chosen by the word `{FREE}` in lower case")
    return text


def _check_key_limits(entries: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_KEY_LIMIT.fullmatch(entry) for entry in entries):
        raise ValueError("not a list of limits")
    return entries


def _check_key_prefix(text: str) -> str:
    if not _KEY_PREFIX.fullmatch(text):
        raise BadText("a key is named by the first 8 to 16 digits of its SHA-256, in lower case")
    return text


def _each(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(lambda entries: tuple(dict.fromkeys(check(entry) for entry in entries)))


_LIST = Said("a list, with commas")

CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(split_list), _LIST]
NotEmpty = Annotated[str, Field(min_length=1), Said("some text")]
HeaderSecret = Annotated[SecretStr, AfterValidator(_check_secret)]
"""A secret for a header: printable ASCII."""

Keys = Annotated[tuple[HeaderSecret, ...], BeforeValidator(_some_keys), BeforeValidator(split_list), _LIST]
ModelName = Annotated[str, Field(min_length=1), AfterValidator(_check_model), Said("some text")]
Models = Annotated[
    tuple[str, ...], BeforeValidator(split_list), _each(_check_model), Said("one model or more, with commas")
]
Origins = Annotated[tuple[str, ...], BeforeValidator(split_list), _each(check_origin), _LIST]
AllowedHosts = Annotated[tuple[str, ...], BeforeValidator(split_list), _each(check_allowed_host), _LIST]
KeyLimits = Annotated[
    tuple[str, ...],
    BeforeValidator(split_list),
    AfterValidator(_check_key_limits),
    Said("a list, with commas, of hash:rpm=60:tpm=9000:usd=5"),
]
KeyPrefixes = Annotated[tuple[str, ...], BeforeValidator(split_list), _each(_check_key_prefix), _LIST]
ModelPrices = Annotated[
    tuple[str, ...],
    BeforeValidator(split_list),
    AfterValidator(check_model_prices),
    Said("a list, with commas, of model=prompt:completion in USD per million tokens"),
]
BindHost = Annotated[str, Field(min_length=1), AfterValidator(check_host), Said("some text")]
DatabaseHost = Annotated[str, Field(min_length=1), AfterValidator(check_database_host), Said("some text")]
_HTTP = Said("http:// or https:// and a host")
HttpUrl = Annotated[str, AfterValidator(check_url), _HTTP]
UpstreamUrl = Annotated[str, AfterValidator(check_upstream_url), _HTTP]
ProxyUrl = Annotated[
    str | None,
    AfterValidator(lambda text: text if text is None or "://" in text else f"http://{text}"),
    Said("http:// and a host"),
]
"""Validated at its use: the variable may be meant for other programs, with a scheme that only they support."""

OptionalPath = Annotated[Path | None, Said("a path")]
RedisUrl = Annotated[str, AfterValidator(check_redis_url), Said("redis://, rediss:// or unix:// and a place")]
DatabaseUrl = Annotated[SecretStr, AfterValidator(check_database_url)]

NEARLY_ONE = 0.999999
"""Largest threshold: cosines are float32, and with 1 an identical prompt might not match."""

Similarity = Annotated[float, AfterValidator(lambda value: min(value, NEARLY_ONE))]
