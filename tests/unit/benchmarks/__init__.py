"""Tests of the simulator, the recorded outcomes and the demo's arithmetic."""
