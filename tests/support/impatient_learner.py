"""The learner as it is started in production, but taking over what others left after a moment instead of 30 s."""

from __future__ import annotations

import uvloop

from services.learner.app import run
from services.learner.evaluating import worker
from services.learner.learning.apply_events import RedeliveryPolicy
from shared.logs import set_up_logging
from shared.settings import load_settings

IDLE_S = 0.3

if __name__ == "__main__":
    settings = load_settings()
    set_up_logging(settings, "learner")
    worker.IDLE_S, worker.KEEP_S, worker.LOOK_S = 3 * IDLE_S, IDLE_S, IDLE_S
    uvloop.run(run(settings, RedeliveryPolicy(idle_s=IDLE_S)))
