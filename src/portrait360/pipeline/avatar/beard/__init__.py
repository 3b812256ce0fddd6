"""The beard of an avatar: where the photo shows one, and how it grows."""
