"""Commands in texts for users: those of a checkout, or of the wheel."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from deploy.command_line import COMMANDS
from deploy.local.plan import ROOT
from shared.command_names import FROM_WHEEL, OF_WHEEL, as_typed

IN_WHEEL = ("services", "shared", "deploy/local", "deploy/simulator", "deploy/qdrant_engine", "benchmarks/evaluations")
"""Folders that the wheel holds, but for single modules."""

OF_CHECKOUT = re.compile(r"\bmake [a-z][a-z-]+\b(?=`)|python -m (?:services|benchmarks)\.|deploy/requirements/otel")


def test_a_text_names_the_commands_of_the_wheel_there() -> None:
    """The longest that fits; in a checkout the text stays."""
    text = "Without a key, `make run` starts all. Then `make evaluate-models`, or `python -m services.learner requeue`."
    assert as_typed(text, from_wheel=True) == (
        "Without a key, `llm-router run` starts all. "
        "Then `llm-router evaluate-models`, or `llm-router learner requeue`."
    )
    assert as_typed(text, from_wheel=False) == text
    assert FROM_WHEEL is False


def test_every_command_of_the_wheel_exists() -> None:
    """A text that names another one would mislead."""
    named = {command.split()[1] for command in OF_WHEEL.values() if command.startswith("llm-router ")}
    assert named <= set(COMMANDS)


def unfitted(tree: ast.Module) -> Iterator[int]:
    """Yield the lines of texts with a command of a checkout that are neither fitted nor a docstring."""
    apart: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            apart.add(id(node.value))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "as_typed":
            apart.update(id(part) for part in ast.walk(node))
        if isinstance(node, ast.Constant) and id(node) not in apart and OF_CHECKOUT.search(str(node.value)):
            yield node.lineno


def test_no_text_for_users_names_a_command_that_the_wheel_lacks() -> None:
    """Errors, help and output of everything that the wheel holds go through `as_typed`."""
    files = [path for folder in IN_WHEEL for path in (ROOT / folder).rglob("*.py")]
    files += [ROOT / "benchmarks/evaluate.py", ROOT / "deploy/command_line.py"]
    files.remove(ROOT / "shared/command_names.py")
    found = {str(path.relative_to(ROOT)): list(unfitted(ast.parse(path.read_text("utf-8")))) for path in files}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_a_command_of_a_checkout_would_be_found() -> None:
    """The search above is not blind."""
    source = 'def f():\n    """Run `make run`."""\n    print("try `make run`")\n    print(as_typed("`make run`"))\n'
    assert list(unfitted(ast.parse(source))) == [3]
