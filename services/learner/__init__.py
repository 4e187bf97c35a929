"""The learner: an arq worker that turns outcome and feedback events into posteriors, index points and history rows."""
