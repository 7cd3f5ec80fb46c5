"""Bootstrap over the images of a study, in blocks, so that a million images need no matrix of draws.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile interval).
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from analysis.studies.reader import StudyFolder

RESAMPLES = 1000
CONFIDENCE = 0.95
FEW_IMAGES = 10
BLOCK = 1024
"""Images whose draws are made together."""
COLUMNS = ("quantity", "mean", "low", "high", "images", "rows", "note")
"""Of every summary, after the keys of its measure."""


class Draws:
    """How often each image is in each resample: a multinomial draw, made block by block.

    Attributes:
        images: how many there are.
        resamples: how many times they are drawn.
    """

    def __init__(self, images: int, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.images, self.resamples, self.seed = images, resamples, seed
        sizes = np.array([min(BLOCK, images - start) for start in range(0, images, BLOCK)])
        self._totals = np.random.default_rng(seed).multinomial(images, sizes / images, resamples)  # (resamples, blocks)
        self._sizes = sizes
        self._known: OrderedDict[int, np.ndarray] = OrderedDict()

    def weights(self, ranks: np.ndarray) -> np.ndarray:
        """Draws of some images, (resamples, len(ranks)) float32.

        Args:
            ranks: numbers of the images from 0 to images - 1, ascending.
        """
        blocks = ranks // BLOCK
        parts = [self._block(int(block))[:, ranks[blocks == block] % BLOCK] for block in np.unique(blocks)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((self.resamples, 0), np.float32)

    def _block(self, number: int) -> np.ndarray:
        """(resamples, images of the block) float32; the last few blocks are kept."""
        if number not in self._known:
            size, totals = int(self._sizes[number]), self._totals[:, number]
            drawn = np.random.default_rng([self.seed, number]).integers(0, size, totals.sum(), dtype=np.int32)
            places = np.repeat(np.arange(self.resamples, dtype=np.int64) * size, totals) + drawn
            counts = np.bincount(places, minlength=self.resamples * size)
            self._known[number] = counts.reshape(self.resamples, size).astype(np.float32)
            while len(self._known) > 3:
                self._known.popitem(last=False)
        return self._known[number]


class Ranks:
    """Number of each readable image among the readable ones, by its index in the data set."""

    def __init__(self, folder: "StudyFolder") -> None:
        self.images = folder.readable_images()

    def __call__(self, index: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.images, index)


def interval(drawn: np.ndarray, images: np.ndarray | int) -> np.ndarray:
    """Percentiles (2, n) of resampled figures (resamples, n); NaN from fewer than two images."""
    tail = (1 - CONFIDENCE) / 2
    if np.isfinite(drawn).all():
        ends = np.quantile(drawn, [tail, 1 - tail], axis=0)
    else:
        columns = [column[np.isfinite(column)] for column in drawn.T]
        ends = np.array([np.quantile(c, [tail, 1 - tail]) if len(c) else (np.nan, np.nan) for c in columns]).T
    return np.where(np.asarray(images) > 1, ends, np.nan)


def centred(drawn: np.ndarray, figure: float) -> np.ndarray:
    """Resampled figures moved so that their median is the figure itself.

    For figures that the repetition of images raises of itself, such as the precision of a rare class or the best of
    many thresholds: the spread is then right, and the place is not.
    """
    return drawn - np.nanmedian(drawn) + figure


def note_on(images: int) -> str:
    """What to say of an interval over so many images.

    >>> note_on(1), note_on(5), note_on(50)
    ('one image: no interval', 'fewer than 10 images: the interval is rough', '')
    """
    if images == 1:
        return "one image: no interval"
    return f"fewer than {FEW_IMAGES} images: the interval is rough" if images < FEW_IMAGES else ""
