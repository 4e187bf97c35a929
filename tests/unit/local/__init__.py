"""Tests of what `make run` prints."""
