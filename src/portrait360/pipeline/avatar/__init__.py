"""A portrait with a face becomes a head in layers: skin, strand hair, what is worn, and the light of the photo."""

NAME = "avatar.npz"  # the file of an avatar
