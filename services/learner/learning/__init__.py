"""Learning: events to sums, clusters of prompts, removal of expired state."""
