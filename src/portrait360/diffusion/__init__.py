"""Diffusion as functions over a denoiser, independent of any network."""
