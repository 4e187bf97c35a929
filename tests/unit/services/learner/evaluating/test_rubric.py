"""Rubric files: the one of the package, an operator's, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.learner.evaluating.rubric import MAX_BYTES, load_rubric
from shared.errors import SettingsError


def test_the_rubric_of_the_package_grades_from_0_to_1() -> None:
    """It names what is judged."""
    rubric = load_rubric(None)
    assert (rubric.low, rubric.high) == (0, 1)
    for word in ("Instructions", "Correctness", "Completeness", "Clarity", "System messages"):
        assert word in rubric.text


def test_an_operators_rubric_replaces_it(tmp_path: Path) -> None:
    """With its own scale; the hash that is stored with verdicts tells versions apart."""
    file = tmp_path / "rubric.md"
    file.write_text("scale: 1 to 10\n\nOnly politeness counts.\n")
    rubric = load_rubric(file)
    assert (rubric.low, rubric.high, rubric.score(5.5)) == (1, 10, 0.5)
    first = rubric.hash
    file.write_text("scale: 1 to 10\n\nOnly truth counts.\n")
    assert load_rubric(file).hash != first


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"  \n", "1 to 65,536 bytes"),
        (b"x" * (MAX_BYTES + 1), "1 to 65,536 bytes"),
        (b"\xff\xfe", "UTF-8"),
        (b"Scale: 5 to 1\nGrade.", "must rise"),
    ],
)
def test_a_bad_rubric_is_refused_with_its_setting(tmp_path: Path, content: bytes, reason: str) -> None:
    """Before the first task, not with it."""
    file = tmp_path / "rubric.md"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"JUDGE_RUBRIC.*{reason}"):
        load_rubric(file)


def test_a_missing_rubric_is_refused_with_its_setting(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(SettingsError, match=r"JUDGE_RUBRIC: .*no-such-file: No such file"):
        load_rubric(tmp_path / "no-such-file")
