"""Collection on one engine shard: reads, ordered writes, flushes, and background rebuilds of the search graph.

Two properties of the engine's Python binding determine the design (measured with version 0.9.0): every call holds the
interpreter lock until it returns, and building the search graph (`optimize`) takes about 0.4 ms per point. So reads are
plain calls, which threads would not speed up; writes are many short calls with reads between them; and another process
builds the graph on a copy, while writes to the original are journalled and replayed on the copy. Longer calls (flush,
load, close) run on a thread, in case a later binding releases the lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge

from deploy.qdrant_engine import files
from deploy.qdrant_engine.problems import ApiProblem, no_room, of_engine
from deploy.qdrant_engine.rebuild import build_graph, due, pause_s
from deploy.qdrant_engine.writes import Change

Result = TypeVar("Result")

FLUSH_AFTER, FLUSH_S = 20_000, 60.0
"""Changed points, or seconds, after which a flush is due. A flush syncs about fifty files and blocks all requests for
25 ms to 0.3 s and more. Between flushes only the log is synced, which blocks nothing; a start replays it, at 25
microseconds per point."""

PAUSE_S = 0.25
"""Pause between two steps of a rebuild that block all requests."""

LEAST_FREE_BYTES = 134_217_728
"""Free space below which writes are refused: a log segment takes 32 MiB, and a flush writes all changes."""

logger = logging.getLogger(__name__)


class Collection:
    """A named set of points. Writes are applied in order of arrival; reads never wait for a rebuild."""

    def __init__(self, folder: Path, description: files.Description, shard: Any, thread: ThreadPoolExecutor) -> None:
        self.description = description
        self._folder = folder
        self._shard = shard
        self._thread = thread
        self._writers = asyncio.Lock()
        self._journal: list[Any] | None = None
        self._changed = 0
        self._flush_at = time.monotonic() + FLUSH_S
        info = shard.info()
        self._drift = info.points_count - info.indexed_vectors_count
        self._operations = 0
        self._rebuild: asyncio.Task[None] | None = None
        self._paused_until = 0.0

    async def read(self, call: Callable[[Any], Result]) -> Result:
        """Return `call(shard)`."""
        return _guarded(lambda: call(self._shard))

    async def write(self, changes: Iterable[Change]) -> int:
        """Apply changes in order, visible to reads and in the write-ahead log; return the operation's number.

        Raises ApiProblem when the disk is nearly full, as Qdrant does.
        """
        if not self._has_room():
            raise no_room()
        async with self._writers:
            for change in changes:
                _guarded(partial(self._apply, change.operation))
                self._changed += change.points
                self._drift += change.points
                await asyncio.sleep(0)
            self._operations += 1
            number = self._operations
        if self._changed >= FLUSH_AFTER:
            await self.flush()
        return number

    def _has_room(self) -> bool:
        """Whether the disk has room for the engine's memory-mapped files; without it the kernel kills the process."""
        return shutil.disk_usage(self._folder).free >= LEAST_FREE_BYTES

    def _apply(self, operation: Any) -> None:
        # Journalled before it runs: an operation that fails half-way fails in the same way on the copy.
        if self._journal is not None:
            self._journal.append(operation)
        self._shard.update(operation)

    async def flush(self) -> None:
        """Write all changes to disk and shorten the log that a start replays."""
        self._flush_at = time.monotonic() + FLUSH_S
        async with self._writers:
            if self._changed:
                self._changed = 0
                await self._run(self._shard.flush)

    async def maintain(self) -> None:
        """Sync the log; flush and start a rebuild of the graph when due. Called every few seconds."""
        if not self._has_room():
            return
        if self._changed:
            await asyncio.to_thread(files.sync_log, self._current())
        if time.monotonic() >= self._flush_at:
            await self.flush()
        if self._rebuild is not None and not self._rebuild.done():
            return
        if await self._is_due():
            self._rebuild = asyncio.create_task(self._rebuild_or_log())

    async def _is_due(self) -> bool:
        info = await self.read(lambda shard: shard.info())
        return due(
            points=info.points_count,
            waiting=info.points_count - info.indexed_vectors_count,
            drift=self._drift,
            least=self.description.tuning.scanned_points(self.description.size),
            pause_over=time.monotonic() >= self._paused_until,
        )

    async def close(self) -> None:
        """Stop a running rebuild and close the shard, which flushes it."""
        if self._rebuild is not None:
            self._rebuild.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._rebuild
        async with self._writers:
            await self._run(self._shard.close)

    async def destroy(self) -> None:
        """Close and delete the shard's files only: the folder may already belong to a new collection of that name."""
        await self.close()
        await asyncio.to_thread(shutil.rmtree, self._current(), ignore_errors=True)

    async def _rebuild_or_log(self) -> None:
        started = time.monotonic()
        try:
            await self.rebuild()
        except (OSError, ApiProblem, RuntimeError):
            logger.exception(
                "the search graph of %s could not be rebuilt; searches use the old one", self.description.name
            )
        finally:
            ended = time.monotonic()
            self._paused_until = ended + pause_s(ended - started)

    async def rebuild(self) -> None:
        """Build the search graph on a copy in another process, replay the writes made meanwhile, and switch over."""
        copy = files.new_shard(self._folder)
        try:
            async with self._writers:
                await self._run(self._shard.flush)
                await asyncio.to_thread(files.copy, self._current(), copy)
                self._journal, self._drift = [], 0
            await build_graph(copy)
            async with self._writers:
                old, left = await self._switch(copy)
            await self._retire(old, left)
        finally:
            self._journal = None
            if self.description.shard != copy.name:
                await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)

    def _current(self) -> Path:
        return self._folder / self.description.shard

    async def _switch(self, copy: Path) -> tuple[Any, Path]:
        """Use the copy from now on; return the old shard and its folder.

        The replayed writes are in the copy's log and need no flush now.
        """
        fresh = await self._run(lambda: edge.EdgeShard.load(str(copy)))
        for operation in self._journal or ():
            with contextlib.suppress(ApiProblem):  # it failed in the same way on the original
                _guarded(partial(fresh.update, operation))
                await asyncio.sleep(0)
        left, old = self._current(), self._shard
        description = files.moved(self.description, copy)
        # No await between these two: after a cancellation disk and memory must name the same shard.
        files.save(self._folder, description)
        self.description, self._shard = description, fresh
        self._journal, self._changed = None, max(self._changed, 1)
        return old, left

    async def _retire(self, old: Any, left: Path) -> None:
        """Close and delete a shard, after a pause: this blocks all requests, as loading the new one just did."""
        try:
            await asyncio.sleep(PAUSE_S)
        finally:
            await self._run(old.close)
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)

    async def _run(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(_guarded, call))


def _guarded(call: Callable[[], Result]) -> Result:
    try:
        return call()
    except ApiProblem:
        raise
    except Exception as error:
        raise of_engine(error) from error
