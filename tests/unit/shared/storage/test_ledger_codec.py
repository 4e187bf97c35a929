"""Ledgers: packed and read again they are the same contribution, and they are short."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shared.bandit.decision import ArmView
from shared.bandit.learning import check_sums, counted_in, feedback_sums, implicit_sums, of_arm, outcome_sums, with_kind
from shared.storage import ledger_codec
from shared.storage.ledger_codec import NAMES, OF_BLOCK, packed_ledger, revision_of, sums_of

KIND = (482123, 17)
VIEW = ArmView("a/b", 0.7, 0.1, 0.1, 0.7, 0.05, 0.001, 1.0, 0.2, 0.8, 0.5, 0.6, 1.0, 120.0, 0.3)
LISTPACK = 64
"""Longest value of a hash that Redis stores as a listpack (`hash-max-listpack-value`)."""

fields = st.sampled_from([*NAMES, "lift_requests:routed", "a field of later", "labels~3", "surprise_micro~3", "x~4"])
kinds = st.none() | st.tuples(st.integers(1, 10**6), st.integers(0, 999))
arms = st.sampled_from(["", "|vendor/model-a"])
whole = st.integers(-(2**52), 2**52)


@given(st.dictionaries(st.tuples(fields, arms).map("".join), whole), kinds, kinds, st.data())
def test_a_ledger_is_read_as_it_was_packed(
    total: dict[str, int], kind: tuple[int, int] | None, other: tuple[int, int] | None, data: st.DataObject
) -> None:
    """Any fields, counted in the request's kind or in another one, in part, or with other numbers."""
    sums = dict(total)
    for by in (kind, other):
        for name, value in total.items():
            if by is not None and data.draw(st.booleans()):
                sums[counted_in(name, by)] = data.draw(st.just(value) | whole)
    ledger = packed_ledger(3, sums, kind)
    assert (revision_of(ledger, None), sums_of(ledger, kind)) == (3, sums)


def test_ledgers_of_ordinary_requests_fit_into_a_listpack() -> None:
    """A longer value would cost some 700 bytes, as it turns the whole hash into a table."""
    outcome = Counter(
        outcome_sums(cost_usd=0.0123456, latency_s=12.345678, prompt_tokens=3110, completion_tokens=2870, kind=KIND)
    )
    outcome.update(check_sums(()))
    outcome.update(implicit_sums(1.0, repeats=None, arm="a/b"))
    rating = feedback_sums(score=0.8, view=VIEW, kind=KIND)
    assert max(len(packed_ledger(1, sums, KIND)) for sums in (outcome, rating)) <= LISTPACK


def test_ledgers_of_earlier_versions_are_read() -> None:
    """JSON, with the revision beside it."""
    assert sums_of(b'{"requests":1,"requests@3.4":1}', (3, 4)) == {"requests": 1, "requests@3.4": 1}
    assert (revision_of(b"{}", b"2"), revision_of(None, None), sums_of(None, None)) == (2, 0, None)


def test_what_no_script_takes_is_not_packed() -> None:
    """A number that a double cannot hold."""
    assert packed_ledger(1, {"requests": 2**60}, None) == b""


def test_a_damaged_ledger_is_no_contribution() -> None:
    """It raises nothing."""
    assert [sums_of(raw, KIND) for raw in (b"", b"\xff", b"[", b"{")] == [None] * 4


def test_numbers_of_names_are_those_of_stored_ledgers() -> None:
    """Names are only added at the end, and blocks have numbers of their own."""
    assert NAMES[:5] == ("requests", "latency_us", "cost_nanousd", "prompt_tokens", "completion_tokens")
    assert (NAMES[16], NAMES[17], NAMES[-1]) == ("evaluation_nanousd", "labels_milli:check", "score_sq_micro:session")
    assert len(NAMES) == 32 <= OF_BLOCK
    script = (Path(ledger_codec.__file__).parent / "stored_ledger.lua").read_text()
    listed = re.findall("'([^']+)'", script.partition("{")[2].partition("}")[0])
    assert (tuple(listed), f"OF_BLOCK = {OF_BLOCK}\n" in script) == (NAMES, True)
    assert with_kind(of_arm({"labels": 1}, "b", "a"), KIND) == {"labels|b": 1, "labels@482123.17|b": 1}
