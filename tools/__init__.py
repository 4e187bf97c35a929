"""Tools of development that are no part of the product: run them with `python -m tools.<name>`."""
