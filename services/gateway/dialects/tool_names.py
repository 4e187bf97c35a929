"""Names of tools in chat, which has no namespaces: one that is there already gets its namespace in front."""

from __future__ import annotations


class ToolNames:
    """The names of one request's tools."""

    def __init__(self) -> None:
        self._named: dict[str, tuple[str | None, str]] = {}

    def add(self, space: str | None, name: str) -> str:
        """Return the name in chat of a new tool."""
        flat = name if space is None or name not in self._named else f"{space}__{name}"
        self._named[flat] = space, name
        return flat

    def flat(self, space: str | None, name: str) -> str:
        """Return the name in chat of a tool that was called; its own name if the request does not have it any more."""
        return next((flat for flat, named in self._named.items() if named == (space, name)), name)

    def original(self, flat: str) -> tuple[str | None, str]:
        """Return the namespace, None without one, and the name of a tool that a model has called."""
        return self._named.get(flat, (None, flat))
