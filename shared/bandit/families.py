"""Model families: what a model's name says besides its version, and the newest model of the same family.

A family is the provider, the set of words in the name, and the suffix behind the colon (`:free`). Versions, dates,
sizes, and words such as `latest` or `preview` do not count: `anthropic/claude-3.5-sonnet` and
`anthropic/claude-sonnet-4.5` are both `anthropic`, {claude, sonnet}. A word that names another product does count:
`gemini-2.5-flash-lite` is no `gemini-2.5-flash`, and `gpt-5-pro` no `gpt-5`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from shared.bandit.arms import Arm, ArmId
from shared.bandit.variants import base_of

_IGNORED = frozenset({"latest", "preview", "beta", "alpha", "exp", "experimental", "chat", "instruct", "it", "v"})
"""Words that name a release or a tuning, not a product."""

_DATE = re.compile(r"(?<!\d)(?:\d{3,}(?:-\d{2})*|\d{2}-\d{2})(?![\da-z.])")
_SIZE = re.compile(r"(?:\d+x)?[a-z]?\d+(?:\.\d+)?[bmk]")
_TOKEN = re.compile(r"([a-z]*)(\d+(?:\.\d+)*)?.*")
ALIAS = "~"
"""OpenRouter marks names that stand for another model so; they are no models of their own."""


@dataclass(frozen=True, slots=True)
class Family:
    """Parts of a model's name. `provider` is empty for a name without one."""

    provider: str
    words: frozenset[str]
    suffix: str
    version: tuple[int, ...]


def family_of(name: ArmId) -> Family:
    """Return the family that `name` belongs to, and its version."""
    provider, _, rest = name.lower().rpartition("/")
    model, _, suffix = rest.partition(":")
    words, version = set[str](), list[int]()
    for token in re.split(r"[^a-z0-9.]+", _DATE.sub("", model)):
        if _SIZE.fullmatch(token):
            continue
        found = _TOKEN.fullmatch(token)
        word, number = found.groups(default="") if found else ("", "")
        version += [int(part) for part in number.split(".") if part]
        if word and word not in _IGNORED:
            words.add(word)
    return Family(provider, frozenset(words), suffix, tuple(version))


def billions_of(name: ArmId) -> float | None:
    """Return the largest size that `name` gives, in billions of parameters, or None."""
    sizes = [float(size) for size in re.findall(r"(\d+(?:\.\d+)?)b(?![a-z0-9])", name.lower())]
    return max(sizes, default=None)


def writes_text(arm: Arm) -> bool:
    """Return whether `arm` takes text and answers in text, as far as is known."""
    return all(
        modalities is None or "text" in modalities for modalities in (arm.input_modalities, arm.output_modalities)
    )


def replacement(name: ArmId, listed: Iterable[Arm]) -> ArmId | None:
    """Return the id of the model that replaces `name`, with the suffix of `name` where that only chooses a variant."""
    base = base_of(name)
    relative = successor(base or name, listed)
    if relative is None:
        return None
    return relative.id if base is None else relative.id + name.removeprefix(base)


def successor(name: ArmId, listed: Iterable[Arm]) -> Arm | None:
    """Return the newest listed model of the family of `name`, or None.

    For a name without a provider, the family must be that of one provider alone.
    """
    wanted = family_of(name)
    if not wanted.words:
        return None
    relatives = [
        (family, arm)
        for arm in listed
        if not arm.id.startswith(ALIAS) and writes_text(arm) and _related(wanted, family := family_of(arm.id))
    ]
    if len({family.provider for family, _ in relatives}) != 1:
        return None
    return max(relatives, key=lambda one: (one[1].created or 0.0, one[0].version, one[1].id))[1]


def _related(wanted: Family, other: Family) -> bool:
    same_provider = not wanted.provider or wanted.provider == other.provider
    return same_provider and (wanted.words, wanted.suffix) == (other.words, other.suffix)
