"""`evaluate-models`: what is estimated, asked, written, and what an interrupted run leaves for the next one."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.learner.commands.evaluate_models import (
    EvaluationStopped,
    estimate,
    evaluate_models,
    models_of,
    unanswered,
)
from services.learner.commands.score_file import BadScoreFile, Prompt, read_prompts, read_scores
from services.learner.evaluating.evaluator import Evaluator, make_evaluator
from shared.bandit.arms import Arm, Price
from shared.errors import Scope, UpstreamError
from shared.settings import Settings
from tests.support.fakes.chat_model import FakeChatModel, Reply
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.judge import JUDGE, JudgingChatModel
from tests.support.fakes.upstreams import FakeUpstreams

PROMPTS = [Prompt(f"Question {number}", "Be brief." if number % 2 else "") for number in range(12)]
REFUSED = UpstreamError("no", status=400, scope=Scope.REQUEST, relay=b"{}")


def an_evaluator(chat: FakeChatModel) -> Evaluator:
    made = make_evaluator(FakeUpstreams(chat), JUDGE, Settings(), FakeClock())
    made.rng = random.Random(0)
    return made


def a_chat() -> JudgingChatModel:
    chat = JudgingChatModel({"good": 0.9, "bad": 0.2}, default=Reply("good"))
    chat.arms = (Arm("maker/a", Price(1e-6, 2e-6)), Arm("maker/b"), Arm(JUDGE, Price(1e-6, 1e-6)))
    return chat


async def run(prompts: Sequence[Prompt], evaluator: Evaluator, out: Path) -> tuple[int, list[tuple[int, int]]]:
    steps: list[tuple[int, int]] = []
    done = await evaluate_models(prompts, ["maker/a", "maker/b"], evaluator, out, lambda at, of: steps.append((at, of)))
    return done.prompts, steps


async def test_scores_are_written_as_import_reads_them(tmp_path: Path) -> None:
    """One line for each model and prompt, with cost and tokens; progress is shown up to the end."""
    out, chat = tmp_path / "scores.jsonl", a_chat()
    done, steps = await run(PROMPTS, an_evaluator(chat), out)
    assert (done, steps[0], steps[-1]) == (12, (0, 12), (12, 12))
    lines = read_scores(out, now=FakeClock().now())
    assert {(line.system, line.prompt) for line in lines} == {(each.system, each.prompt) for each in PROMPTS}
    assert sorted(line.arm for line in lines) == ["maker/a"] * 12 + ["maker/b"] * 12
    assert {(line.answer.score, line.answer.cost_usd, line.answer.completion_tokens) for line in lines} == {
        (0.9, 0.00021, 7)
    }
    asked = [call.body["messages"] for call in chat.calls if call.arm == "maker/a"]
    assert PROMPTS[1].messages() in asked
    assert len(asked) == 12


async def test_a_run_that_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    """No prompt is asked again that has scores; a failing judge ends the run early."""
    out, chat = tmp_path / "scores.jsonl", a_chat()
    await run(PROMPTS[:4], an_evaluator(chat), out)
    left = unanswered([*PROMPTS, PROMPTS[0]], out, now=FakeClock().now())
    assert left == PROMPTS[4:]
    chat.tell(JUDGE, *[Reply(error=REFUSED)] * 40)
    with pytest.raises(EvaluationStopped, match=r"judge: status_400.*0 are done.*repeat the command"):
        await run([Prompt(f"More {number}") for number in range(50)], an_evaluator(chat), out)
    assert len(chat.seen) < 4 + 40
    assert len(read_scores(out, now=FakeClock().now())) == 8


async def test_a_model_without_an_answer_has_no_score(tmp_path: Path) -> None:
    """The others are scored; failures are counted by model."""
    out, chat = tmp_path / "scores.jsonl", a_chat()
    chat.tell("maker/a", Reply(error=REFUSED), Reply("bad"))
    done = await evaluate_models(PROMPTS[:2], ["maker/a", "maker/b"], an_evaluator(chat), out, lambda *_: None)
    assert done.errors == {("maker/a", "status_400"): 1}
    scores = [(line.arm, line.answer.score) for line in read_scores(out, now=FakeClock().now())]
    assert sorted(scores) == [("maker/a", 0.2), ("maker/b", 0.9), ("maker/b", 0.9)]


async def test_the_cost_is_estimated_from_list_prices(tmp_path: Path) -> None:
    """Prompts by their length, 400 tokens an answer; the judge reads all answers. An unknown price is named."""
    prompts = [Prompt("x" * 4000)] * 10
    found = await estimate(prompts, ["maker/a", "maker/b"], an_evaluator(a_chat()))
    assert found.models == {"maker/a": pytest.approx(10 * (1000e-6 + 800e-6)), "maker/b": None}
    assert found.judge is not None
    assert 10 * (1000 + 800) * 1e-6 < found.judge < 10 * (1000 + 800 + 1000) * 1e-6
    lines = list(found.lines())
    assert "unknown  maker/b" in lines[1]
    assert f"{found.known_usd:.4f} USD  in all" in lines[-1]


async def test_names_mean_the_listed_models() -> None:
    """A name may leave out the provider; `free` means the free models of the list."""
    chat = a_chat()
    chat.arms = (*chat.arms, Arm("maker/gift:free", Price(0.0, 0.0)))
    assert await models_of(["a", "maker/a", "free"], an_evaluator(chat)) == ["maker/a", "maker/gift:free"]


def test_a_wrong_line_of_a_file_of_prompts_is_named(tmp_path: Path) -> None:
    """Before anything is asked."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": "Why?", "task": "x"}) + "\n\n" + json.dumps({"prompt": ""}) + "\n")
    with pytest.raises(BadScoreFile, match=r"prompts.jsonl, line 3"):
        read_prompts(file)
    file.write_text('{"prompt": "Why?", "system": "Be brief."}\n')
    assert read_prompts(file) == [Prompt("Why?", "Be brief.")]
