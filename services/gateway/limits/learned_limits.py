"""Limits of arms that upstreams do not list: learned from their refusals, in memory, and exchanged between gateways.

A refusal that speaks of a feature of the request keeps the arm from requests with that feature for an hour. A refusal
for length remembers the smallest estimate that was refused, so that shorter requests still go. What was learned can be
wrong: an answer of that arm to such a request clears it, and where no other arm is left it is tried all the same. An
arm that has answered a request with a feature within the hour does have it: then a refusal that names the feature is
about that one request (its broken picture, its odd schema), whatever its words, and nothing is learned of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from shared.bandit.arms import ArmId
from shared.ports import Clock
from shared.schemas.requirements import CONTEXT, MAX_TOKENS, TOOL_HISTORY, Requirements
from shared.schemas.storage import LearnedLimit

LASTS_S = 3600.0
MAX_ARMS, MAX_TOLD = 512, 128
"""Bounds, for any listed model may be pinned: the oldest arm is dropped for the newest."""

SHOWN_S = 3600.0
"""For so long an answer shows that the arm has what it needed."""
MAX_SHOWN = 4096
"""Pairs of arm and feature: the one that was shown longest ago is forgotten first."""

NEWS_S = 1.0
"""A limit that ends this much later than the reported one has been learned anew."""


class _Limit(Struct):
    until: float
    tokens: int  # the smallest estimate that was refused; 0 for a feature that is not about length
    own: bool  # learned here, not heard of another gateway


class LearnedLimits:
    """The features that each arm has refused lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._arms: dict[ArmId, dict[str, _Limit]] = {}
        self._heard: dict[tuple[str, ArmId, str], float] = {}
        self._shown: dict[tuple[ArmId, str], float] = {}  # when an answer has last shown a feature

    def __bool__(self) -> bool:
        """Return whether any limit is known."""
        return bool(self._arms)

    def learn(self, arm: ArmId, feature: str, needs: Requirements) -> None:
        """Learn that `arm` has refused a request for `feature`; a feature that the request does not have is ignored."""
        tokens = _tokens(feature, needs)
        if tokens > 0 or feature in needs.features:
            self._set(arm, feature, _Limit(self._clock.monotonic() + LASTS_S, tokens, own=True))

    def answered(self, arm: ArmId, needs: Requirements, *, own_calls: bool = False) -> None:
        """Take note that `arm` has answered a request: each feature of it the arm has, whatever was learned.

        With `own_calls` the tool calls in the request may be its own, which says nothing of those of other models.
        """
        for feature in needs.features:
            if feature != TOOL_HISTORY:
                self._show(arm, feature)
        limits = self._arms.get(arm)
        if limits is None:
            return
        shown = [feature for feature, limit in limits.items() if _applies(feature, limit, needs)]
        for feature in shown:
            if not (own_calls and feature == TOOL_HISTORY):
                del limits[feature]
        if not limits:
            del self._arms[arm]

    def lacks(self, arm: ArmId, needs: Requirements) -> str | None:
        """Return the feature of a request that `arm` has refused within the hour, or None."""
        limits = self._arms.get(arm)
        if limits is None:
            return None
        now = self._clock.monotonic()
        found = (name for name, limit in limits.items() if limit.until > now and _applies(name, limit, needs))
        return next(found, None)

    def view(self, arm: ArmId) -> dict[str, dict[str, float]]:
        """Return the limits of `arm` by feature: how long each lasts, and for length, from how many tokens on."""
        now = self._clock.monotonic()
        return {
            feature: {"lasts_s": round(limit.until - now, 1), **({"tokens": limit.tokens} if limit.tokens else {})}
            for feature, limit in self._arms.get(arm, {}).items()
            if limit.until > now
        }

    def own_findings(self) -> tuple[LearnedLimit, ...]:
        """Return the limits that were learned here, for the other gateways; the newest where there are too many."""
        now = self._clock.monotonic()
        own = [
            LearnedLimit(arm, feature, limit.until - now, limit.tokens)
            for arm, limits in self._arms.items()
            for feature, limit in limits.items()
            if limit.own and limit.until > now
        ]
        return tuple(sorted(own, key=lambda limit: -limit.lasts_s)[:MAX_TOLD])

    def merge(self, said: Mapping[str, Sequence[LearnedLimit]]) -> None:
        """Merge what other gateways, by name, have learned; each limit counts only once."""
        now, before = self._clock.monotonic(), self._heard
        self._heard = {}
        for name, limits in said.items():
            for limit in limits[:MAX_TOLD]:
                key, until = (name, limit.arm, limit.feature), now + min(limit.lasts_s, LASTS_S)
                self._heard[key] = until
                if until > before.get(key, 0.0) + NEWS_S:
                    self._set(limit.arm, limit.feature, _Limit(until, limit.tokens, own=False))

    def _show(self, arm: ArmId, feature: str) -> None:
        self._shown.pop((arm, feature), None)
        self._shown[arm, feature] = self._clock.monotonic()  # the newest last
        if len(self._shown) > MAX_SHOWN:
            del self._shown[next(iter(self._shown))]

    def _set(self, arm: ArmId, feature: str, new: _Limit) -> None:
        shown_at = self._shown.get((arm, feature))
        if shown_at is not None and self._clock.monotonic() - shown_at < SHOWN_S:
            return
        limits = self._arms.pop(arm, {})
        old = limits.get(feature)
        if old is not None and old.until > self._clock.monotonic():
            tokens = min(old.tokens, new.tokens)
            new = _Limit(max(old.until, new.until), tokens, own=old.own or new.own)
        limits[feature] = new
        self._arms[arm] = limits  # the newest last
        if len(self._arms) > MAX_ARMS:
            del self._arms[next(iter(self._arms))]


def _tokens(feature: str, needs: Requirements) -> int:
    """Return the estimate that a refusal for length was about."""
    if feature == CONTEXT:
        return needs.prompt_tokens + needs.output_tokens
    return needs.output_tokens if feature == MAX_TOKENS else 0


def _applies(feature: str, limit: _Limit, needs: Requirements) -> bool:
    return _tokens(feature, needs) >= limit.tokens if limit.tokens else feature in needs.features
