"""A photo becomes an aligned crop: face detection, landmarks, face model fit, matting, crop."""

from __future__ import annotations

from portrait360.utils.errors import UserError

CROP_SIZES = (64, 2048)  # pixels
ANGLES = {  # of a photo's camera, as `choose …` goes on
    "azimuth": "-360 to 360 degrees, where 0 is the front, 90 the subject's left and 180 the back",
    "elevation": "-89 (from below) to 89 (from above)",
}


def check_crop(azimuth: float | None, elevation: float | None, size: int, name: str = "size") -> None:
    """Raise a UserError unless a crop can have this size, and its camera these angles in degrees.

    `name` is what the caller's user calls the size.
    """
    if not CROP_SIZES[0] <= size <= CROP_SIZES[1]:
        raise UserError(f"`{name}={size}` is not valid; choose {CROP_SIZES[0]} to {CROP_SIZES[1]} pixels.")
    if azimuth is not None and not -360 <= azimuth <= 360:
        raise UserError(f"`azimuth={azimuth:g}` is not valid; choose {ANGLES['azimuth']}.")
    if elevation is not None and not -89 <= elevation <= 89:
        raise UserError(f"`elevation={elevation:g}` is not valid; choose {ANGLES['elevation']}.")
