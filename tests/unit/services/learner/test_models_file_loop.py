"""The learner follows changes of MODELS_FILE; one that is not valid changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.learner.process import models_file_loop
from services.learner.process.models_file_loop import ModelsFileLoop
from shared.models_file import load_models_file
from shared.models_file.watch import ModelsFileWatch
from shared.resilience.supervision import Pulse
from tests.support.fakes.chat_model import FakeChatModel
from tests.support.fakes.upstreams import FakeUpstreams


async def test_changes_of_the_file_reach_the_upstreams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_file_loop, "EVERY_S", 0.01)
    path, upstreams = tmp_path / "models.yaml", FakeUpstreams(FakeChatModel())

    async def write(text: str, files: int) -> None:
        path.with_suffix(".new").write_text(text, encoding="utf-8")
        path.with_suffix(".new").replace(path)  # seen as one change: the file may be read at any moment
        for _ in range(200):
            await asyncio.sleep(0.01)
            if len(upstreams.files) == files:
                break
        await asyncio.sleep(0.05)
        assert len(upstreams.files) == files

    watch = ModelsFileWatch(path, lambda: load_models_file(path, {}))
    running = asyncio.create_task(ModelsFileLoop(watch, upstreams).run(Pulse("models file")))
    try:
        await write("upstreams: {first: {base_url: http://one/v1}}", 1)
        await write("upstreams: {}", 1)
        await write("upstreams: {second: {base_url: http://two/v1}}", 2)
    finally:
        running.cancel()
    assert [list(file.upstreams) for file in upstreams.files] == [["first"], ["second"]]
