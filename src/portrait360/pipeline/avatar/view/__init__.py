"""Renders of an avatar: its layers, and near the photo's direction the photo as a relief over them."""
