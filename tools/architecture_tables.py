"""Generator of the parts of docs/architecture.md that follow from the code: the packages and the import contracts."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOP = ("services", "shared", "deploy", "benchmarks", "tools")
_COLUMN = 26


def packages_tree() -> str:
    """Return the tree of packages, each with the first line of its docstring."""
    lines = [line for top in TOP for line in _lines(ROOT / top, 0)]
    return "\n".join(("```text", *lines, "```"))


def _lines(folder: Path, depth: int) -> Iterator[str]:
    name = f"{'  ' * depth}{folder.name}/"
    yield f"{name:<{_COLUMN}}{_purpose(folder)}".rstrip()
    for below in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from _lines(below, depth + 1)


def _purpose(folder: Path) -> str:
    init = folder / "__init__.py"
    text = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) if init.exists() else None
    return (text or "").partition("\n")[0].rstrip(".")


def contracts_table() -> str:
    """Return the import contracts of pyproject.toml as a table."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rows = [f"| {one['name']} | {_rule(one)} |" for one in settings["tool"]["importlinter"]["contracts"]]
    return "\n".join(("| Contract | Rule |", "|---|---|", *rows))


def _rule(contract: Mapping[str, Any]) -> str:
    match contract["type"]:
        case "layers":
            inside = f"in {_names(contract['containers'])}: " if "containers" in contract else ""
            layers = " → ".join(_names(layer.split(" | ")) for layer in contract["layers"])
            every = "; every module must be named" if contract.get("exhaustive") else ""
            return f"{inside}{layers} (imports only to the right{every})"
        case "independence":
            return f"{_names(contract['modules'])} may not import one another"
        case "forbidden":
            return f"{_names(contract['source_modules'])} may not import {_names(contract['forbidden_modules'])}"
        case other:
            raise ValueError(f"a contract of type {other} has no sentence yet")


def _names(modules: Sequence[str]) -> str:
    return ", ".join(f"`{module}`" for module in modules)
