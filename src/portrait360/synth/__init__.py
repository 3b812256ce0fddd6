"""Synthetic heads: multi-view pictures made from nothing but CC0 geometry."""
