"""`make bench`: speed, processor time and memory of the gateway, side by side with what it competes with."""
