"""Flat drawings: their faces, labels and layers."""
