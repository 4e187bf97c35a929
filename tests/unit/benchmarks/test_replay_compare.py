"""Comparison of two versions by their replays: pairs the same streams, and says where the second is worse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.replays.compare import main


def cell(data: str, utilities: dict[int, float], **changes: Any) -> dict[str, Any]:
    topics = {"arrival": 0.5, "mixed": 0.6, "worst": 0.25}
    runs = [{"player": "product", "seed": seed, "utility": u, "topics": topics} for seed, u in utilities.items()]
    runs += [{"player": "linucb", "seed": seed, "utility": 0.9, "topics": topics} for seed in utilities]
    return {
        "data": data,
        "kind": "topics",
        "requests": 2500,
        "feedback": 1.0,
        "cost_weight": 0.0,
        "runs": runs,
    } | changes


def written(folder: Path, *cells: dict[str, Any]) -> str:
    folder.mkdir()
    (folder / "replay.json").write_text(json.dumps({"seeds": 3, "conditions": cells}))
    return str(folder)


def test_runs_are_paired_by_set_condition_and_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Gains are of the same seeds; the order in the files does not matter; what one file lacks is counted."""
    before = written(
        tmp_path / "a",
        cell("one", {0: 0.5, 1: 0.7, 2: 0.6}),
        cell("two", {0: 0.5, 1: 0.5}),
        cell("one", {0: 0.1}, feedback=0.3),
    )
    after = written(
        tmp_path / "b", cell("two", {1: 0.49, 0: 0.49}), cell("one", {2: 0.62, 1: 0.72, 0: 0.52, 3: 0.0}, feedback=1.0)
    )
    assert main([before, after]) == 0
    text = capsys.readouterr().out
    assert "| one, topics, 100%, 0 | 3 | +20.0 ± 0.0 + | +20 (seed 0) | 0.50 → 0.50 | 0.60 → 0.60 |" in text
    assert "| two, topics, 100%, 0 | 2 | -10.0 ± 0.0 * | -10 (seed 0) |" in text
    assert "topics, 100% rated: +5.0 ± 0.0 over 2 cells, significantly better in 1, significantly worse in 1" in text
    assert "worst cell two, topics, 100%, 0 -10.0" in text
    assert "2 runs are in one file only" in text


def test_another_player_can_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reference has not changed: a check that both played the same."""
    folders = [
        written(tmp_path / name, cell("one", {0: utility, 1: 0.5})) for name, utility in (("a", 0.1), ("b", 0.9))
    ]
    assert main([*folders, "--player", "linucb"]) == 0
    assert "+0.0 ± 0.0" in capsys.readouterr().out


def test_what_cannot_be_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing in common, no single runs, no file."""
    one, other = written(tmp_path / "a", cell("one", {0: 0.5})), written(tmp_path / "b", cell("two", {0: 0.5}))
    old = cell("one", {})
    del old["runs"]
    assert main([one, other]) == 1
    assert main([one, written(tmp_path / "c", old)]) == 1
    assert main([one, str(tmp_path / "nowhere")]) == 1
    assert "same condition and seed" in (said := capsys.readouterr().err)
    assert "replay it again" in said
    assert "nowhere" in said
