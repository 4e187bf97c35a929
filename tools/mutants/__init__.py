"""Mutation tests: one-line mistakes put into a copy of the product, each of which the tests have to notice.

`make mutants` runs them; `python -m tools.mutants --help` lists the options. The mutants are in `tables/`, one file for
each part of the product.
"""
