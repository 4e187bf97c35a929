"""EXPLORATION_RATE, literally: the share of requests that explore, drawn as a table (`pytest -s` prints it)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.exploration import RATED, RATES, REQUESTS, WORLDS, explored_share, main

TABLE = {
    (world, rated, requests): [explored_share(rate, requests, rated, specialists=specialists) for rate in RATES]
    for world, specialists in WORLDS.items()
    for rated in RATED
    for requests in REQUESTS
}
TOPICS = [(world, rated) for world in WORLDS for rated in RATED]


@pytest.mark.parametrize("topic", TOPICS, ids=str)
def test_a_topic_never_rated_is_explored_at_least_at_the_rate(topic: tuple[str, float]) -> None:
    """Whatever is known of other topics, also where one model has been the best in all of them."""
    for rate, share in zip(RATES, TABLE[*topic, 0], strict=True):
        assert share >= rate - 1e-9
    assert TABLE[*topic, 0][0] == 0.0


@pytest.mark.parametrize("topic", TOPICS, ids=str)
def test_at_rest_the_share_falls_with_what_is_left_to_learn_and_stays_below_the_rate(topic: tuple[str, float]) -> None:
    """From some hundred ratings of the topic on; after ten thousand requests next to nothing is left."""
    at_rest = [requests for requests in REQUESTS if requests * topic[1] >= 100]
    for column, rate in enumerate(RATES):
        shares = [TABLE[*topic, requests][column] for requests in at_rest]
        assert shares == sorted(shares, reverse=True)
        assert max(shares) <= rate + 1e-9
        assert shares[-1] <= rate / 20


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_raising_the_rate_raises_the_share(row: tuple[str, float, int]) -> None:
    """In every situation; 0 never explores, and where much is open a higher rate explores visibly more."""
    shares = TABLE[row]
    assert shares[0] == 0.0
    assert all(later > earlier for earlier, later in pairwise(shares))
    if row[2] == 0:
        assert shares[-1] > shares[1] + 0.1


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each situation, with a column for each rate."""
    main()
    printed = capsys.readouterr().out
    print(printed)
    assert len(printed.splitlines()) == 2 + len(TABLE)
    assert {line.count("|") for line in printed.splitlines()} == {len(RATES) + 3}
