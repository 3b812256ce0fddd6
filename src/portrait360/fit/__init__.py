"""From a view sheet to 3D: field, splats, mesh."""
