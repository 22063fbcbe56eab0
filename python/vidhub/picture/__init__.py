"""Pictures as arrays: out of an encoded keyframe, and into a JPEG that says who asked for it."""

from vidhub.picture.decode import decode_keyframe
from vidhub.picture.still import jpeg, watermark

__all__ = ["decode_keyframe", "jpeg", "watermark"]
