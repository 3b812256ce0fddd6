"""Portrait Diffusion: a fitted head gets the detail of the photo, view after view (Wei et al. 2024)."""
