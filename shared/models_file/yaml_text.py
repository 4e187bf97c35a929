"""YAML as nested text: mappings, lists and strings, with the line of each value.

Every scalar is read as text and converted by its field's type, so that `no`, `1e3` and `0123` mean what is written.
`${VARIABLE}` works in every scalar, as in `.env`: `${NAME}` must be set, `${NAME:-other}` need not be. The file's text
is parsed before variables are replaced, so that no value can add YAML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from shared.errors import SettingsError
from shared.settings.dotenv_file import UnusableLine, expanded
from shared.settings.text import BadText, clean

Tree = dict[str, "Tree"] | list["Tree"] | str | None
Path_ = tuple[str | int, ...]
"""Keys and positions from the root to a value."""

MAX_CHARS = 1_000_000
MAX_DEPTH = 8
_VARIABLE = re.compile(r"\$\{[^{}\n]*\}")
_MARK = re.compile("\ue000(\\d+)\ue001")
_REQUIRED = re.compile(r"\$\{([A-Za-z_]\w*)\}", re.ASCII)


class YamlText:
    """The values of one file. `lines`: the line of each; `problems`: sentences about values that cannot be read."""

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        """Read `path`. Raises SettingsError where it is no YAML; never quotes it, for it may hold secrets."""
        self._path = path
        self._variables = variables
        self._references: list[str] = []
        self.lines: dict[Path_, int] = {}
        self.problems: list[str] = []
        self.root = self._tree(self._compose(), ())

    def at(self, place: Path_) -> str:
        """Return file and line of the nearest value that the file has."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"MODELS_FILE {self._path}, line {self.lines.get(place, 1)}"

    def problem(self, place: Path_, words: str) -> None:
        """Note a problem of a value."""
        self.problems.append(f"{self.at(place)}: {dotted(place)}: {words}" if place else f"{self.at(place)}: {words}")

    def _compose(self) -> yaml.Node | None:
        try:
            text = self._path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise SettingsError(f"MODELS_FILE {self._path} cannot be read: {reason}") from None
        if len(text) > MAX_CHARS:
            raise SettingsError(f"MODELS_FILE {self._path} is longer than {MAX_CHARS} characters")
        # Braces mean something else in YAML: `{api_key: ${KEY}}` would be no YAML.
        marked = _VARIABLE.sub(self._mark, text)
        try:
            return yaml.compose(marked, yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            raise SettingsError(f"MODELS_FILE {self._path}{line} is not YAML") from None

    def _mark(self, found: re.Match[str]) -> str:
        self._references.append(found[0])
        return f"\ue000{len(self._references) - 1}\ue001"

    def _tree(self, node: yaml.Node | None, place: Path_) -> Tree:
        if node is None:
            return None
        self.lines[place] = node.start_mark.line + 1
        if len(place) > MAX_DEPTH:
            self.problem(place, "it is nested too deeply")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self._tree(item, (*place, number)) for number, item in enumerate(node.value)]
        return None if node.tag.endswith(":null") else self._text(str(node.value), place)

    def _mapping(self, node: yaml.MappingNode, place: Path_) -> Tree:
        values: dict[str, Tree] = {}
        for key, value in node.value:
            name = str(key.value)
            self.lines[*place, name] = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                self.problem((*place, name), "write `name: value`")
            elif name in values:
                self.problem((*place, name), "it is given twice")
            else:
                values[name] = self._tree(value, (*place, name))
                self.lines[*place, name] = key.start_mark.line + 1
        return values

    def _text(self, text: str, place: Path_) -> str | None:
        """Return the text with its variables replaced; an empty one means: not given."""
        try:
            return clean(_MARK.sub(self._value, text)) or None
        except (UnusableLine, BadText) as error:
            self.problem(place, str(error))
            return None

    def _value(self, found: re.Match[str]) -> str:
        reference = self._references[int(found[1])]
        required = _REQUIRED.fullmatch(reference)
        if required is not None and not self._variables.get(required[1]):
            raise UnusableLine(f"the variable {required[1]} is not set")
        return expanded(reference, self._variables)


def dotted(place: Path_) -> str:
    """Return a place in words: `models[2].price.prompt`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")
