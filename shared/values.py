"""`dataclass` for values of which every request makes many: the type checker keeps them frozen, not the interpreter.

A frozen dataclass sets each field by a call of its own, which takes four times as long as setting it; a request makes
some twenty values of a hundred fields in all. So here `frozen=True` is what mypy holds everybody to, and what makes a
value hashable, and at run time nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(*, frozen: bool = False, eq: bool = True, **options: bool) -> Any:
        """Return the decorator: as `dataclasses.dataclass`, but never frozen at run time."""
        return dataclasses.dataclass(eq=eq, unsafe_hash=frozen and eq, **options)


__all__ = ["dataclass"]
