"""Models: the catalogue, changes at run time, prices, and what was learned of them."""
