"""Surfaces from volumes and depth maps: extraction, fusion, texture baking."""
