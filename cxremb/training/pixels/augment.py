"""Films as a network sees them: cleaned the same way every time, and in training changed a little by chance."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from cxremb.errors import TrainError
from cxremb.training.options import Augment, PixelRecipe

CLIP_LIMIT, TILES = 2.0, (8, 8)  # of CLAHE: OpenCV's usual grid, and a limit that keeps noise from taking over


def clean(films: NDArray[np.uint8], recipe: PixelRecipe) -> NDArray[np.uint8]:
    """(n, side, side) films after CLAHE and Gaussian blur, each where the recipe asks for it.

    Raises `TrainError` if one is asked for and OpenCV is not installed.
    """
    if not (recipe.clahe or recipe.blur):
        return films
    try:
        import cv2
    except ImportError as error:
        raise TrainError("CLAHE and blur need OpenCV", hint='pip install "cxremb[pixels]"') from error
    out = np.empty_like(films)
    equalise = cv2.createCLAHE(clipLimit=CLIP_LIMIT, tileGridSize=TILES)
    for index, film in enumerate(films):
        equalised = equalise.apply(film) if recipe.clahe else film
        # a width of 0 leaves the Gaussian's spread to OpenCV, which takes it from the size of the kernel
        out[index] = cv2.GaussianBlur(equalised, (recipe.blur, recipe.blur), 0) if recipe.blur else equalised
    return out


def scaled(films: Tensor) -> Tensor:
    """(n, 1, side, side) float32 from 0 to 1 of uint8 films (n, side, side)."""
    return films.unsqueeze(1).to(torch.float32).div_(255)


def augmented(films: Tensor, recipe: Augment, generator: torch.Generator) -> Tensor:
    """The films (n, 1, side, side), each turned, moved, mirrored and given more or less contrast by chance.

    generator: on the CPU, whatever device the films are on, so that chance is the same everywhere.
    """
    n = len(films)

    def within(limit: float) -> Tensor:
        """(n,) uniform in -limit to limit."""
        drawn: Tensor = torch.rand(n, generator=generator) * 2 - 1
        return drawn * limit

    angle, down, right, gain = (
        within(limit) for limit in (recipe.rotation, recipe.shift, recipe.shift, recipe.contrast)
    )
    mirrored = torch.rand(n, generator=generator) < 0.5 if recipe.flip else torch.zeros(n, dtype=torch.bool)
    if recipe.rotation or recipe.shift or recipe.flip:
        films = moved(films, angle, torch.stack([down, right], 1), mirrored)
    return contrasted(films, 1 + gain) if recipe.contrast else films


def moved(films: Tensor, angle: Tensor, shift: Tensor, mirrored: Tensor) -> Tensor:
    """The films mirrored, then turned about their middle, then shifted: one bilinear look-up for all three.

    angle: (n,) degrees, positive turns clockwise as seen. shift: (n, 2) shares of the side, down and to the right.
    mirrored: (n,). What comes in from outside repeats the edge: black corners would be a mark that says "turned".
    """
    turn = angle * (math.pi / 180)
    sine, cosine = torch.sin(turn), torch.cos(turn)
    # affine_grid asks the other way round: for each place of the new film, where in the old one it comes from.
    # Its coordinates run from -1 to 1, so that a share of the side counts twice.
    down, right = 2 * shift[:, 0], 2 * shift[:, 1]
    side = torch.where(mirrored, -1.0, 1.0)
    across = torch.stack([cosine, sine, -(cosine * right + sine * down)], 1) * side[:, None]
    along = torch.stack([-sine, cosine, sine * right - cosine * down], 1)
    grid = affine_grid(torch.stack([across, along], 1).to(films.device), list(films.shape), align_corners=False)
    return grid_sample(films, grid, mode="bilinear", padding_mode="border", align_corners=False)


def contrasted(films: Tensor, gain: Tensor) -> Tensor:
    """Each grey value's distance from its film's mean times `gain` (n,), kept within 0 and 1."""
    mean = films.mean(dim=(1, 2, 3), keepdim=True)
    return ((films - mean) * gain.to(films.device).view(-1, 1, 1, 1) + mean).clamp_(0, 1)
