"""The catalogue of bad input, row by row, against a gateway process with real Redis and Qdrant behind it."""
