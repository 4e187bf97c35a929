"""The mutants of `tools/mutants`: each fits the code, and the runner tells those that are noticed from the rest."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.mutants.__main__ import main
from tools.mutants.run import baseline, run
from tools.mutants.table import Mutant, load, selected, stale

TEST = "from thing import add\n\n\ndef test_add():\n    assert add(2, 2) == 4\n"


def mutant(new: str, *, old: str = "a + b", test: str = "test_thing.py") -> Mutant:
    return Mutant("part", new, "thing.py", old, new, "adding adds", (test,))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "thing.py").write_text("def add(a, b):\n    return a + b\n")
    (tmp_path / "tests" / "test_thing.py").write_text(TEST)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def test_every_mutant_fits_the_code(project: Path) -> None:
    """A mutant whose old text has changed is changed, too, or removed."""
    mutants = load()
    outdated = [f"{each.title}: {reason}" for each in mutants for reason in stale(each, project)]
    assert not outdated, "change or remove these rows of tools/mutants/tables:\n" + "\n".join(outdated)
    assert len([each for each in mutants if not each.equivalent]) >= 100


def test_old_text_that_is_missing_or_repeated_and_a_lost_test_make_a_mutant_stale(checkout: Path) -> None:
    """The old text occurs exactly once, and each named test file exists."""
    assert not list(stale(mutant("a - b"), checkout))
    for old in ("a * b", "a"):
        assert list(stale(mutant("a - b", old=old), checkout))
    assert list(stale(mutant("a - b", test="test_gone.py"), checkout))


def test_mutants_are_killed_or_survive_and_the_checkout_stays_as_it_is(checkout: Path) -> None:
    """`a * b` is as long as `a - b`: bytecode of one text must not be taken for that of the other."""
    mutants = [mutant("a - b"), mutant("a * b"), mutant("a +")]
    results = list(run(mutants, checkout, jobs=1))
    assert [result.verdict for result in results] == ["killed", "survived", "killed"], results[-1].output
    assert results[0].noticed_by == "tests/test_thing.py::test_add"
    assert not results[1].noticed_by
    assert "test_thing.py" in results[2].noticed_by
    assert (checkout / "thing.py").read_text() == "def add(a, b):\n    return a + b\n"
    assert not list(checkout.rglob("__pycache__"))


def test_tests_that_fail_without_a_mutant_judge_none(checkout: Path) -> None:
    """The baseline is the output of pytest on the unchanged code, where that fails."""
    (checkout / "thing.py").write_text("def add(a, b):\n    return a + b + 1\n")
    assert "1 failed" in baseline([mutant("a - b")], checkout)


def test_mutants_are_selected_by_part_or_title(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no part and no mutant has is an error."""
    mutants = load()
    part = mutants[0].part
    assert [each.part for each in selected(mutants, part)] == [each.part for each in mutants if each.part == part]
    assert selected(mutants, mutants[-1].title) == [mutants[-1]]
    assert selected(mutants, "") == mutants
    assert main(["--only", "no/such"]) == 2
    assert "no/such" in capsys.readouterr().err
    assert main(["--list", "--only", part]) == 0
    assert mutants[0].breaks in capsys.readouterr().out
