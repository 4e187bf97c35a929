"""The pauses before a part is started again."""

from deploy.local.restarts import HEALTHY_S, Restarts


def test_pauses_double_to_half_a_minute_and_begin_anew_after_a_minute_of_health() -> None:
    """A part that keeps ending is left alone for longer and longer; one that had recovered comes back soon."""
    restarts, now = Restarts(), 100.0
    pauses = []
    for _ in range(7):
        restarts.ready(now)
        now += HEALTHY_S - 1
        pauses.append(restarts.ended(now))
        assert restarts.due == now + pauses[-1]
        restarts.started()
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert restarts.ended(now + 10 * HEALTHY_S) == 30.0, "it was never ready, so it has not been healthy"
    restarts.ready(now)
    assert restarts.ended(now + HEALTHY_S) == 1.0
    assert restarts.count == 7
