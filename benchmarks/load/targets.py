"""Targets of measurements: an address, its process, and the kind of requests."""

from __future__ import annotations

from dataclasses import dataclass, replace

CHUNKS = 100
STREAMS = 8
"""Concurrent streams for measuring the cost per chunk."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target, one row of the table.

    Attributes:
        name: as in the table.
        url: where chat requests go.
        pid: the process under test; 0 for the upstream itself.
        kind: `unique` prompts or the same `repeated` ones.
        model: the model that is asked for; None leaves it to the router.
        chunks: 0, or the length of the stream that is asked for.
        headers: what else this one wants, `Name: value` separated by `|`.
        drowsy: whether cores may fall asleep between two requests.
    """

    name: str
    url: str
    pid: int
    kind: str = "unique"
    model: str | None = None
    chunks: int = 0
    headers: str = ""
    drowsy: bool = False


DIRECT, BARE, OFF = "direct", "bare proxy", "gateway, routing off"
UNIQUE, REPEATED = "gateway, routing on, unique prompts", "gateway, routing on, repeated prompts"


def targets(upstream: str, bare: str, bare_pid: int, gateway: str, gateway_pid: int) -> list[Target]:
    """Return the targets of every run, whole responses first."""
    path, pinned = "/v1/chat/completions", "instant-a"
    return [
        Target(DIRECT, upstream + path, 0, model=pinned),
        Target(BARE, bare + path, bare_pid, model=pinned),
        Target(OFF, gateway + path, gateway_pid, model=pinned),
        Target(UNIQUE, gateway + path, gateway_pid),
        Target(REPEATED, gateway + path, gateway_pid, kind="repeated"),
    ]


def streamed(whole: list[Target]) -> list[tuple[Target, int]]:
    """Return the same as streams, with how many at once: of one chunk, for the time to it, and of many, for each."""
    kept = [target for target in whole if target.name in (DIRECT, BARE, UNIQUE)]
    return [
        (Target(stream_of(target.name, chunks), target.url, target.pid, target.kind, target.model, chunks), connections)
        for chunks, connections in ((1, 1), (1, STREAMS), (CHUNKS + 1, STREAMS))
        for target in kept
    ]


def drowsy(whole: list[Target]) -> list[Target]:
    """Return what is asked one at a time on cores that fall asleep, as they are: whole answers, and streams of one."""
    kept = [target for target in whole if target.name in (DIRECT, UNIQUE)]
    kept += [replace(target, name=stream_of(target.name, 1), chunks=1) for target in kept]
    return [replace(target, name=asleep(target.name), drowsy=True) for target in kept]


def asleep(name: str) -> str:
    """Return the name of a target whose cores may fall asleep."""
    return f"{name}, cores asleep between"


def stream_of(name: str, chunks: int) -> str:
    """Return the name of a target that is asked for streams of so many chunks."""
    return f"{name}, stream of {chunks}"
