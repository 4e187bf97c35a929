"""Tests. One folder a kind; `make test` runs all of them."""
