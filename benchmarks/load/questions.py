"""Prompts of the load clients: a few repeated ones, or unique ones.

Made from a number, so that every client and every round asks the same.
"""

from __future__ import annotations

import itertools

import orjson

_SUBJECTS = (
    *("a recursive function", "the French revolution", "prime numbers", "a bread recipe", "tax law", "black holes"),
    *("a broken SQL query", "the offside rule", "photosynthesis", "a cover letter", "a theorem", "a travel plan"),
    *("type hints in Python", "the Krebs cycle", "a poem on rain", "chess openings"),
)
_TASKS = (
    *("Explain", "Summarise", "Write a short text on", "List five facts on", "Find the mistake in"),
    *("Compare two views on", "Give an example of", "Translate a sentence about"),
)
TOPICS = tuple(f"{task} {subject} in about fifty words" for subject, task in itertools.product(_SUBJECTS, _TASKS))
REPEATED = 16


def prompt(number: int) -> str:
    """Return the prompt of a number; all are different, and one in 128 is similar."""
    return f"{TOPICS[number % len(TOPICS)]}, case {number}."


def question(text: str, *, model: str | None = None, chunks: int = 0) -> bytes:
    """Return the body of a chat request; with `chunks`, of a stream."""
    body: dict[str, object] = {"messages": [{"role": "user", "content": text}]}
    if model is not None:
        body["model"] = model
    if chunks:
        body |= {"stream": True, "chunks": chunks}
    return orjson.dumps(body)
