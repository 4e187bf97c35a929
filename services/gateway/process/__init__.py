"""The process: health, readiness, background loops, and gossip between gateways."""
