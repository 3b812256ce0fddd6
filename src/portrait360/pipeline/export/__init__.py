"""Export heads to files that other programs open."""

SPLAT_FORMATS = ("ply", "splat", "spz", "splats.glb")  # endings of files of Gaussians
AVATAR_FORMATS = ("usdz", "stl")  # endings of files that only an avatar has
