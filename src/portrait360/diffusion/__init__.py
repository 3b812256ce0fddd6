"""Diffusion as functions over a denoiser, knowing no network."""
