"""A film into the square that a network takes."""

from dataclasses import dataclass

import numpy as np
from PIL import Image as PilImage

from cxremb.images.grey import Grey

ASPECTS = ("squash", "pad", "crop")
GAP = 3.0  # shrink by a box filter first, to no less than three times the target: a few grey values in 255 at most


@dataclass(frozen=True)
class Frame:
    """The square, part of an image store's key.

    aspect: `squash` resizes both axes to `side`, so that nothing is cut off; `pad` keeps the proportions and fills up
    with black; `crop` keeps them and cuts off what stands out, which may be an apex or a base.
    scaled_jpeg: let the JPEG decoder halve a film while it decodes, as long as both axes stay twice `side`: faster, and
    other pixels.
    """

    side: int
    aspect: str = "squash"
    scaled_jpeg: bool = False

    @property
    def least(self) -> int | None:
        """The fewest pixels an axis may be decoded to; None: all of them."""
        return 2 * self.side if self.scaled_jpeg else None

    @property
    def recipe(self) -> dict[str, object]:
        """What enters the key."""
        scaled = {"jpeg": f"scaled decode to no less than {self.least}"} if self.scaled_jpeg else {}
        return {
            "side": self.side,
            "aspect": self.aspect,
            "interpolation": f"bicubic with antialias, reducing gap {GAP:g}",
            **scaled,
        }


def resize(pixels: Grey, frame: Frame) -> Grey:
    """(side, side): the film in its frame."""
    picture = PilImage.fromarray(pixels)
    width, height = picture.size
    size = (frame.side, frame.side)
    if frame.aspect == "crop":
        edge = min(width, height)
        left, top = (width - edge) // 2, (height - edge) // 2
        picture = picture.crop((left, top, left + edge, top + edge))
    elif frame.aspect == "pad":
        scale = frame.side / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = np.asarray(picture.resize(size, PilImage.Resampling.BICUBIC, reducing_gap=GAP))
    if resized.shape == (frame.side, frame.side):
        return resized
    square = np.zeros((frame.side, frame.side), np.uint8)
    top, left = ((frame.side - edge) // 2 for edge in resized.shape)
    square[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    return square


def squash(pixels: Grey, side: int) -> Grey:
    """(side, side): both axes resized, so that no lung apex or base is cut off."""
    return resize(pixels, Frame(side))
