"""Fit a head in layers, each with its own geometry, to a portrait: the skin is the first of them."""
