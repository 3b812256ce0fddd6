"""What the photo of an avatar shows, in which light, and against which background."""
