"""Commands as the user types them: those of a checkout, or of the wheel that this code was installed from."""

from __future__ import annotations

import re
from pathlib import Path

FROM_WHEEL = Path(__file__).resolve().parents[1].parts[-2:] == ("llm_router", "app")

OF_WHEEL = {
    "make run": "llm-router run",
    "make demo": "llm-router demo",
    "make import": "llm-router import",
    "make evaluate-models": "llm-router evaluate-models",
    "make rebuild": "llm-router rebuild",
    "python -m services.gateway": "llm-router gateway",
    "python -m services.embedder": "llm-router embedder",
    "python -m services.learner": "llm-router learner",
    "python -m benchmarks.evaluate": "llm-router evaluate",
    "pip install -r deploy/requirements/otel.txt": "pip install 'learning-llm-router[otel]'",
}
"""Command of the wheel by that of a checkout."""

_ANY = re.compile("|".join(re.escape(command) for command in sorted(OF_WHEEL, key=len, reverse=True)))


def as_typed(text: str, *, from_wheel: bool = FROM_WHEEL) -> str:
    """Return a text for users with each command of a checkout in it as they type it."""
    return _ANY.sub(lambda found: OF_WHEEL[found[0]], text) if from_wheel else text
