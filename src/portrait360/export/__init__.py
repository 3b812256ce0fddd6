"""Files that other programs open: Gaussians, meshes, videos and scenes, all in metres, y up, the face along +z."""
