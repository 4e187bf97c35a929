"""Evaluations: answers of other models beside the user's path, and the judge that scores all of them."""
