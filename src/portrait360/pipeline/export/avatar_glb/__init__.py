"""The animatable .glb of an avatar: named parts, 52 expression units, eyes and neck that turn."""
