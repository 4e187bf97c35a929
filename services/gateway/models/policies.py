"""Policies: terms of a decision by name, presets and those of MODELS_FILE, and what they and the caller say together.

| name | quality | latency | cost |
|---|---|---|---|
| `auto:best` | 1 | 0 | 0 |
| `auto:cheap` | 0.4 | 0 | -0.6 |
| `auto:fast` | 0.4 | 0.6 | 0 |

A policy of MODELS_FILE goes before a preset of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from shared.bandit.decision import Weights
from shared.errors import NotFound
from shared.models_file import Policy
from shared.models_file.schema import PolicyWeights
from shared.schemas.terms import AUTO, Terms

PRESETS: Mapping[str, Policy] = {
    "best": Policy(weights=PolicyWeights(quality=1.0, latency=0.0, cost=0.0)),
    "cheap": Policy(weights=PolicyWeights(quality=0.4, latency=0.0, cost=-0.6)),
    "fast": Policy(weights=PolicyWeights(quality=0.4, latency=0.6, cost=0.0)),
}
_REQUEST = "request"


class DecisionTerms(Struct, frozen=True):
    """Terms of one decision. None: as the settings say.

    Attributes:
        name: for the record: the policy's name, `request` for terms of the request's own, or both.
        own: the caller's terms.
        policy: the policy that the caller names; one without any terms where it names none.
    """

    name: str
    own: Terms
    policy: Policy

    def weights(self, settings: Weights) -> Weights:
        """Return the weights: the caller's, else the policy's, else those of the settings."""

        def of(name: str) -> float:
            for given in (getattr(self.own, name), getattr(self.policy.weights, name)):
                if given is not None:
                    return float(given)
            return float(getattr(settings, name))

        return Weights(quality=of("quality"), latency=of("latency"), cost=of("cost"))

    @property
    def explores(self) -> bool:
        """Whether exploration is allowed."""
        return self.own.explore is not False and self.policy.exploration != 0

    @property
    def required(self) -> frozenset[str]:
        """The capabilities that each arm must have."""
        return frozenset((*self.own.require, *self.policy.require))


def decision_terms(terms: Terms | None, policies: Mapping[str, Policy]) -> DecisionTerms | None:
    """Return the terms of a decision; None for those of the settings. Raises NotFound for an unknown policy."""
    if terms is None:
        return None
    if terms.policy is None:
        return DecisionTerms(_REQUEST, terms, Policy())
    policy = policies.get(terms.policy) or PRESETS.get(terms.policy)
    if policy is None:
        known = ", ".join(sorted({*PRESETS, *policies}))
        raise NotFound(
            f"There is no such policy. There are: {known}.", code="policy_not_found", param=terms.policy_param
        )
    own = terms != Terms(policy=terms.policy, policy_param=terms.policy_param)
    return DecisionTerms(f"{terms.policy}+{_REQUEST}" if own else terms.policy, terms, policy)


def policy_models(policies: Mapping[str, Policy]) -> tuple[str, ...]:
    """Return the names by which clients choose a policy as a model."""
    return tuple(f"{AUTO}:{name}" for name in sorted({*PRESETS, *policies}))
