"""Parser of MODEL_PRICES: `model=prompt:completion`, in USD per million tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shared.bandit.arms import ArmId, Price, is_arm_name
from shared.settings.text import BadText

MAX_USD_PER_MILLION = 1_000_000.0
_NUMBER = re.compile(r"\d{1,7}(\.\d{1,12})?")


def check_model_prices(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Return the entries. Raises BadText for the first malformed entry or repeated model."""
    seen: set[ArmId] = set()
    for number, entry in enumerate(entries, 1):
        name, _ = _parsed(entry, number)
        if name in seen:
            raise BadText(f"entry {number} gives a second price to the same model")
        seen.add(name)
    return entries


def prices_of(entries: Iterable[str]) -> dict[ArmId, Price]:
    """Return the price of each model in checked entries."""
    return dict(_parsed(entry, number) for number, entry in enumerate(entries, 1))


def _parsed(entry: str, number: int) -> tuple[ArmId, Price]:
    """Split at the last `=`: the name of a model may hold `:`, `/` and `=`."""
    name, mark, price = entry.rpartition("=")
    prompt, colon, completion = price.partition(":")
    if not mark or not colon or not is_arm_name(name.strip()):
        raise BadText(f"entry {number} is not of the form model=prompt:completion")
    return name.strip(), Price(_per_token(prompt, number), _per_token(completion, number))


def _per_token(text: str, number: int) -> float:
    if _NUMBER.fullmatch(text.strip()) is None or float(text) > MAX_USD_PER_MILLION:
        raise BadText(f"a price in entry {number} is not a number of USD per million tokens, 0 to 1000000")
    return float(text) / 1e6
