"""Tests: a folder for each tier, and `support` with what several of them use. `make test` runs all of them."""
