"""What the process reports about itself: heartbeat, health endpoint, state of PostgreSQL."""
