"""Learning: events to sums, kinds of prompt, removal of expired state."""
