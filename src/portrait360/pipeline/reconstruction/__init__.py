"""Views become a radiance field, Gaussian splats and a textured mesh."""

RESULTS = ("field", "splats", "mesh")
