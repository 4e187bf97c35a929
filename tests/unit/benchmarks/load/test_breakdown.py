"""The breakdown of a profile by part of the gateway."""

from __future__ import annotations

from pathlib import Path

from benchmarks.load.breakdown import PARTS, REST, by_part

ROOT = Path(__file__).resolve().parents[4]


def test_every_prefix_of_ours_is_in_the_tree() -> None:
    """After a move, the time of a part would count as that of another one."""
    ours = [prefix for _, prefixes in PARTS for prefix in prefixes if prefix.startswith(("shared/", "services/"))]
    assert [prefix for prefix in ours if not list(ROOT.glob(f"{prefix}*"))] == []


def test_a_stack_belongs_to_its_innermost_known_frame() -> None:
    """A decision within the handling of a request is no time of the HTTP server."""
    handler = "services/gateway/http/fast_chat.py:serve"
    stacks = {
        f"{handler};services/gateway/chat/selection.py:choose;numpy/core.py:dot": 3,
        f"{handler};json/decoder.py:decode": 1,
        "uvloop/loop.pyx:run": 4,
    }
    found = by_part(stacks, us_a_request=800.0)
    assert (found["decision"], found["HTTP server and the rest of the gateway"], found[REST]) == (300.0, 100.0, 400.0)
