"""Files of scores: what is read, and what a wrong line says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.learner.commands.score_file import BadScoreFile, ScoredAnswer, read_scores
from shared.schemas.imports import ImportedAnswer

NOW = 1_800_000_000.0
LEAST = {"prompt": "What is 2 + 2?", "model": "v/a", "score": 1}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "scores.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_all_fields_are_read_and_others_ignored(tmp_path: Path) -> None:
    """Empty lines are skipped. A time without a zone is UTC."""
    whole = {
        **LEAST, "system": "Be brief.", "latency_s": 1.5, "cost_usd": 0, "prompt_tokens": 3, "completion_tokens": 0,
        "time": "2026-11-23T08:00+01:00", "answer": "4",
    }  # fmt: skip
    path = written(tmp_path, LEAST, "", whole, {**LEAST, "time": "2026-11-23"}, {**LEAST, "time": 1e9}, "")
    answer = ImportedAnswer(1.0, 1.5, 0.0, 3, 0)
    bare = ImportedAnswer(1.0)
    assert read_scores(path, now=NOW) == [
        ScoredAnswer("What is 2 + 2?", "", "v/a", bare),
        ScoredAnswer("What is 2 + 2?", "Be brief.", "v/a", answer, 1_795_417_200.0),
        ScoredAnswer("What is 2 + 2?", "", "v/a", bare, 1_795_392_000.0),
        ScoredAnswer("What is 2 + 2?", "", "v/a", bare, 1e9),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "truncated"),
        ('{"prompt": "x", "model": "v/a"}', "`score`"),
        ({**LEAST, "score": 1.01}, "$.score"),
        ({**LEAST, "score": -0.1}, "$.score"),
        ({**LEAST, "score": "1"}, "$.score"),
        ('{"prompt": "x", "model": "v/a", "score": NaN}', "line 2"),
        ({**LEAST, "prompt": ""}, "$.prompt"),
        ({**LEAST, "model": "a b"}, "`model`"),
        ({**LEAST, "latency_s": -1}, "$.latency_s"),
        ({**LEAST, "latency_s": 1e6}, "$.latency_s"),
        ({**LEAST, "cost_usd": 1e6}, "$.cost_usd"),
        ({**LEAST, "prompt_tokens": 10**10}, "$.prompt_tokens"),
        ({**LEAST, "time": "yesterday"}, "`time`"),
        ({**LEAST, "time": NOW * 1000}, "in the future"),
        ({**LEAST, "time": -5}, "before 1970"),
        ({**LEAST, "time": 1e300}, "in the future"),
        ("\ufffd[]", "line 2"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_imported(tmp_path: Path, line: object, said: str) -> None:
    """The message says which line and which field, and does not quote the prompt."""
    with pytest.raises(BadScoreFile) as caught:
        read_scores(written(tmp_path, LEAST, line), now=NOW)
    message = str(caught.value)
    assert message.startswith("scores.jsonl, line 2: ")
    assert said in message
    assert "What is" not in message


def test_a_prompt_that_cannot_be_embedded_is_refused(tmp_path: Path) -> None:
    """A lone surrogate is no text."""
    with pytest.raises(BadScoreFile, match="line 1"):
        read_scores(written(tmp_path, '{"prompt": "\\ud800", "model": "v/a", "score": 1}'), now=NOW)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With what is wrong with it."""
    with pytest.raises(BadScoreFile, match="No such file"):
        read_scores(tmp_path / "missing.jsonl", now=NOW)
