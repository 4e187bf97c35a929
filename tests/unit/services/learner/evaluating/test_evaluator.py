"""One evaluation: who is asked what, in which order the judge sees it, what failures leave, and what it costs."""

from __future__ import annotations

import asyncio

import pytest

from services.learner.evaluating import model_calls
from shared.bandit.arms import Arm, Price
from shared.errors import Scope, UpstreamError
from shared.schemas.evaluation import Candidate
from shared.schemas.upstream import Usage
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.judge import JUDGE, JudgingChatModel, material
from tests.unit.services.learner.evaluating.conftest import MakeEvaluator, a_task

SCORES = {"It is 42.": 1.0, "41": 0.1, "42, of course": 0.8, "": 0.0}


def shadows(result: tuple[Candidate, ...]) -> dict[str, float | None]:
    return {one.arm: one.score for one in result if not one.served}


async def test_every_answer_of_a_prompt_gets_the_judges_score(evaluator: MakeEvaluator) -> None:
    """The served one as well as the others, in one call of the judge."""
    chat = JudgingChatModel(SCORES)
    chat.tell("a", Reply("41", usage=Usage(10, 5, 0.002)))
    chat.tell("b", Reply("42, of course", usage=Usage(10, 6, 0.003)))
    result = await evaluator(chat).evaluate(a_task("a", "b"))
    served, *others = result.candidates
    assert (served.arm, served.served, served.score) == ("served/model", True, 1.0)
    assert [(one.arm, one.score, one.cost_usd, one.completion_tokens) for one in others] == [
        ("a", 0.1, 0.002, 5),
        ("b", 0.8, 0.003, 6),
    ]
    assert (result.judge, result.error, result.judge_cost_usd) == (JUDGE, None, 0.00021)
    assert result.spent_usd == pytest.approx(0.00521)
    assert [call.arm for call in chat.calls].count(JUDGE) == 1


async def test_the_judge_is_blind(evaluator: MakeEvaluator) -> None:
    """It sees no name of a model, and the served answer comes at every place alike."""
    chat = JudgingChatModel(SCORES)
    made = evaluator(chat)
    for _ in range(60):
        chat.tell("a", Reply("41"))
        await made.evaluate(a_task("a"))
    asked = [call for call in chat.calls if call.arm == JUDGE]
    assert not any(name in str(call.body) for call in asked for name in ("served/model", "model='a'"))
    first = sum(answers[0] == "It is 42." for answers in chat.seen)
    assert 15 < first < 45
    assert material(asked[0])["question"]["messages"][0]["content"] == "Be brief."


async def test_other_models_get_the_request_of_the_client(evaluator: MakeEvaluator) -> None:
    chat = JudgingChatModel(SCORES, default=Reply("41"))
    task = a_task("a", temperature=0.2)
    await evaluator(chat).evaluate(task)
    assert chat.calls[0].body == task.body


async def test_a_model_that_fails_is_reported_and_the_rest_is_judged(
    evaluator: MakeEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that passes is repeated; one that may have been billed is not, and its cost is unknown."""
    monkeypatch.setattr(model_calls, "FIRST_PAUSE_S", 0.0)
    chat = JudgingChatModel(SCORES)
    chat.tell("busy", *[Reply(error=UpstreamError("429", status=429))] * 2, Reply("41"))
    chat.tell("unfit", Reply(error=UpstreamError("no", status=404, scope=Scope.FIT, relay=b"{}")))
    chat.tell("slow", Reply(error=UpstreamError("late", spent=True, timed_out=True)))
    result = await evaluator(chat).evaluate(a_task("busy", "unfit", "slow"))
    assert shadows(result.candidates) == {"busy": 0.1, "unfit": None, "slow": None}
    assert [(one.error, one.cost_usd) for one in result.candidates[1:]] == [
        (None, 0.00021),
        ("status_404", 0.0),
        ("timeout", None),
    ]
    assert [call.arm for call in chat.calls].count("slow") == 1
    assert sorted(chat.seen[0]) == ["41", "It is 42."]


async def test_a_model_that_keeps_failing_is_not_called_while_its_circuit_is_open(
    evaluator: MakeEvaluator, clock: FakeClock
) -> None:
    """Each evaluation goes on without it, until the circuit lets a probe through."""
    chat = JudgingChatModel(SCORES, default=Reply("41"))
    chat.tell("a", *[Reply(error=UpstreamError("broken", spent=True))] * 5)
    made = evaluator(chat)
    errors = [(await made.evaluate(a_task("a"))).candidates[1].error for _ in range(7)]
    assert errors == ["broken"] * 5 + ["cooling"] * 2
    clock.advance(5.1)
    assert (await made.evaluate(a_task("a"))).candidates[1].score == 0.1


async def test_nothing_waits_for_a_model_that_asks_for_a_long_pause(evaluator: MakeEvaluator) -> None:
    """Its place in the evaluation is given up; a judge is waited for longer."""
    chat = JudgingChatModel(SCORES)
    chat.tell("a", Reply(error=UpstreamError("busy", status=429, cool_s=30.0)))
    async with asyncio.timeout(5):
        result = await evaluator(chat).evaluate(a_task("a"))
    assert result.candidates[1].error == "status_429"
    assert result.candidates[0].score == 1.0


async def test_an_invalid_verdict_is_asked_for_again(evaluator: MakeEvaluator) -> None:
    """The cost of both calls counts."""
    chat = JudgingChatModel(SCORES, default=Reply("41"))
    prose = Reply("Both are fine.", usage=Usage(1, 1, 0.01))
    chat.tell(JUDGE, prose, Reply('{"scores": {"1": 0.5}}'))
    result = await evaluator(chat).evaluate(a_task())
    assert (result.candidates[0].score, result.error) == (0.5, None)
    assert result.judge_cost_usd == pytest.approx(0.01021)
    chat.tell(JUDGE, prose, prose)
    result = await evaluator(chat).evaluate(a_task())
    assert (result.candidates[0].score, result.error) == (None, "no_verdict")
    assert result.judge_cost_usd == pytest.approx(0.02)


async def test_a_judge_that_fails_leaves_the_answers_without_scores(evaluator: MakeEvaluator) -> None:
    """Their costs and times are known all the same."""
    chat = JudgingChatModel(SCORES, default=Reply("41"))
    chat.tell(JUDGE, *[Reply(error=UpstreamError("no", status=400, scope=Scope.REQUEST, relay=b"{}"))] * 2)
    result = await evaluator(chat).evaluate(a_task("a"))
    assert shadows(result.candidates) == {"a": None}
    assert (result.error, result.judge_cost_usd, result.candidates[1].cost_usd) == ("status_400", 0.0, 0.00021)


async def test_a_call_without_an_answer_may_have_been_billed(evaluator: MakeEvaluator) -> None:
    """Its cost is estimated from the list price, so that the budget of the day holds."""
    chat = JudgingChatModel(SCORES)
    chat.arms = (Arm("a", Price(0.0, 1e-6)),)
    chat.tell("a", Reply(error=UpstreamError("late", spent=True, timed_out=True)))
    result = await evaluator(chat).evaluate(a_task("a"))
    assert result.candidates[1].cost_usd == pytest.approx(400e-6)


async def test_models_are_compared_without_a_served_answer(evaluator: MakeEvaluator) -> None:
    """As `evaluate-models` does; where no model answers, the judge is not asked."""
    chat = JudgingChatModel(SCORES)
    chat.tell("a", Reply("41"))
    chat.tell("b", Reply("42, of course"))
    made = evaluator(chat)
    result = await made.compare("prompt-1", a_task().body, ["a", "b"])
    assert shadows(result.candidates) == {"a": 0.1, "b": 0.8}
    chat.tell("a", Reply(error=UpstreamError("no", status=404, scope=Scope.FIT, relay=b"{}")))
    result = await made.compare("prompt-2", a_task().body, ["a"])
    assert (result.error, result.spent_usd) == ("no_answer", 0.0)
    assert len(chat.seen) == 1


async def test_a_cost_that_is_not_reported_is_computed_from_the_list_price(evaluator: MakeEvaluator) -> None:
    """Without a price it is unknown, which is not the same as free. Names may leave out the provider."""
    chat = JudgingChatModel(SCORES, default=Reply("41", usage=Usage(1000, 10, None)))
    chat.arms = (Arm("maker/a", Price(1e-6, 2e-6)), Arm(JUDGE))
    made = evaluator(chat)
    result = await made.evaluate(a_task("maker/a", "maker/b"))
    assert [one.cost_usd for one in result.candidates[1:]] == [pytest.approx(0.00102), None]
    assert result.judge_cost_usd == pytest.approx(0.00021)
    assert await made.caller.models.named("a") == "maker/a"


async def test_an_empty_answer_is_an_answer(evaluator: MakeEvaluator) -> None:
    """The judge scores it."""
    chat = JudgingChatModel(SCORES)
    chat.tell("silent", Reply(""))
    result = await evaluator(chat).evaluate(a_task("silent"))
    assert shadows(result.candidates) == {"silent": 0.0}
