"""The arq worker that turns outcome and feedback events into posteriors, labels and history."""
