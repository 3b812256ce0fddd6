"""Training samples made from synthetic heads."""
