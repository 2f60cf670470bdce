"""A small benchmark suite: it trains on digits 0 to 7 and asks which of the test images are an 8 or a 9.

It knows the name of the entry-point group and the names of the hooks, and nobody who implements them.
"""
