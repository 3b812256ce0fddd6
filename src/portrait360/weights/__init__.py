"""Weights from outside: recognised, checked name by name, converted once, verified at any time."""
