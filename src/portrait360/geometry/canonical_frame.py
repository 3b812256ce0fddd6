"""The canonical frame in numbers: the head's middle is the origin, y is up, the face looks along +z."""

from __future__ import annotations

RADIUS = 2.7  # distance of the cameras from the head's middle
FOV = 18.8  # degrees: full field of view of the cameras for which heads are framed
FOCAL_SD15 = 4.2647  # focal length / image side of the published networks' cameras: a field of view of 13.4 degrees
FOCAL_DIFFPORTRAIT3D = 4.66  # of DiffPortrait3D's tighter crops: ours measure 1.17 to 1.30 times theirs
HEAD_HEIGHT = 0.46  # from chin to crown
FRAME_MARGIN = 0.482  # how far from the image's centre any part of a head may reach, in image sides
SHOULDER_HEIGHT = -0.24  # what lies lower may leave the image
