"""`.env` is read as docker compose reads it, and a line that means nothing is refused by its number."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import load_settings
from shared.settings.dotenv_file import read_dotenv

ENVIRONMENT = {"SET": "there", "EMPTY": "", "BOTH": "from the environment"}


def read(path: Path, content: str | bytes) -> dict[str, str]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_dotenv(path, ENVIRONMENT)


@pytest.mark.parametrize(("line", "value"), [
    ("A=b", "b"), ("A = b", "b"), ("export A=b", "b"), ("A=b c # note", "b c"), ("A=b#c", "b#c"),
    ("A='b # c'", "b # c"),
    ('A="b # c" # note', "b # c"), (r'A="b\nc"', "b\nc"), ("A='a$b${c}'", "a$b${c}"),
    ("A='$SET ${SET}'", "$SET ${SET}"),
    ("A=${SET}", "there"), ("A=$SET", "there"), ('A="<$SET>"', "<there>"), ("A=x${SET}y", "xtherey"),
    ("A=x${NEVER}y", "xy"), ("A=${NEVER:-d}", "d"), ("A=${NEVER-d}", "d"), ("A=${EMPTY:-d}", "d"),
    ("A=x${EMPTY-d}", "x"),
    ("A=${SET:-d}", "there"), ("A=${SET:+d}", "d"), ("A=x${NEVER:+d}", "x"), ("A=x${EMPTY+d}", "xd"),
    ("A=${SET:?must be set}", "there"), ("A=pa$$word", "pa$word"), (r"A=pa\$word", "pa$word"), ("A=pa$", "pa$"),
    ("A=$1", "$1"), ("B=1\nA=${B}2", "12"), ("BOTH=here\nA=$BOTH", "from the environment"), ("A=\n", None),
    ("A=1\nA=2", "2"), ("# A=1\n\n  # more\n", None), ("\ufeffA=b", "b"), ("A=b\r\nB=c\r\n", "b"),
])  # fmt: skip
def test_a_value_is_what_compose_makes_of_it(line: str, value: str | None, tmp_path: Path) -> None:
    """Quotes, comments, variables, a byte order mark and Windows line ends."""
    assert read(tmp_path / ".env", line).get("A") == value


@pytest.mark.parametrize(("content", "line"), [
    ("OPENROUTER_API_KEY: hunter2\n", 1), ("PORT=1\n\n# note\n\nOPENROUTER_API_KEY: hunter2\n", 5), ("A\n", 1),
    ("PORT=1\nAPI_KEYS hunter2\n", 2), ("A='hunter2\nPORT=1\n", 1), ('PORT=1\nA="hunter2" x\n', 2), ("=hunter2\n", 1),
    ("A=hunter2$word\n", 1), ("A=hunter2${\n", 1), ("A=${NEVER:?hunter2}\n", 1), ("A=${EMPTY:?hunter2}", 1),
])  # fmt: skip
def test_a_line_that_means_nothing_is_refused(content: str, line: int, tmp_path: Path) -> None:
    """It would be ignored in silence; the message names the line and repeats no value."""
    with pytest.raises(SettingsError, match=rf"\.env, line {line}: [^\n]+\Z") as caught:
        read(tmp_path / ".env", content)
    assert "hunter2" not in str(caught.value)


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    """One start shows all of them."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path / ".env", "A: 1\nB=2\nC: 3\n")
    assert [line.partition(": ")[0][-6:] for line in str(caught.value).splitlines()] == ["line 1", "line 3"]


def test_what_is_not_utf_8_is_refused_in_a_line(tmp_path: Path) -> None:
    """Without a traceback, and without the bytes."""
    with pytest.raises(SettingsError, match=r"\.env cannot be read: it is not UTF-8\Z"):
        read(tmp_path / ".env", "API_KEYS=é\n".encode("latin-1"))


def test_settings_come_from_it(tmp_path: Path) -> None:
    """A password with a dollar sign in single quotes arrives as it is; an empty value is unset."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("DATABASE_PASSWORD='a$b${c}'\nPORT=\nHOST=${NEVER}\n")
    settings = load_settings({}, dotenv)
    assert settings.DATABASE_PASSWORD is not None
    assert settings.DATABASE_PASSWORD.get_secret_value() == "a$b${c}"
    assert (settings.PORT, settings.HOST) == (8080, "0.0.0.0")


def test_a_path_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    """CONFIG_FILE is a text setting, too."""
    file = tmp_path / "config.yaml"
    file.write_text("PORT: 1\n")
    assert load_settings({"CONFIG_FILE": f"{file}\n"}, None).PORT == 1
    for path in (f"{file}\n{file}", f"{file}\0"):
        with pytest.raises(SettingsError, match=r"^CONFIG_FILE: [^\n\0]+\Z"):
            load_settings({"CONFIG_FILE": path}, None)
