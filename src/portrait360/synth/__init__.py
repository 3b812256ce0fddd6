"""Synthetic heads: sampling, geometry, hair, clothes, creatures, rendering, data. Independent of any pipeline."""
