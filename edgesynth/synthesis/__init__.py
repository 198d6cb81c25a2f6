"""Generative synthesis: generator, inquisitor, and everything that a run does with them."""
