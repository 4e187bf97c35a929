"""Results of a gateway's part in evaluations, as the metric counts them."""

from __future__ import annotations

from enum import StrEnum


class Result(StrEnum):
    """What became of a request that might have been evaluated. All but SUBMITTED are reasons why it was not."""

    SUBMITTED = "submitted"
    CLIENT = "client"  # the client wishes so: x-router-evaluate, store, or a provider that keeps no data
    KEY = "key"  # EVALUATION_OFF_KEYS
    NAMED_MODEL = "named_model"  # the client named the model
    PRIVATE_MODEL = "private_model"  # prompts of this model must not go to others
    TOO_LONG = "too_long"  # body or answer
    UNREADABLE = "unreadable"  # the judge cannot read it: images, files, length
    NO_PRICE = "no_price"  # of the judge
    OVER_BUDGET = "over_budget"  # EVALUATION_BUDGET_USD_PER_DAY
    QUEUE_FULL = "queue_full"  # EVALUATION_MAX_WAITING
    BUSY = "busy"  # too many wait in this gateway
    REDIS = "redis"  # it was away
    NOT_STORED = "not_stored"  # the record went to disk, or was lost
    FAILED = "failed"  # a fault of ours
