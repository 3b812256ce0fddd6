"""Gaussian splats: projection and rasterisation."""
