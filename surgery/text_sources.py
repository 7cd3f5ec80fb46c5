"""Text for an image tower that was saved on its own: that of another model of the same space, or an error."""

import copy

import torch
from torch import Tensor, nn

from surgery.towers import build_tower


class ImageOnlyClip(nn.Module):
    """An image tower without a text tower: maps need none, and whoever asks for text is told what to do.

    Attributes:
        visual: the image tower.
        source: where it is from, for messages.
    """

    def __init__(self, visual: nn.Module, source: str) -> None:
        super().__init__()
        self.visual = visual
        self.source = source

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Image features (b, d), not normalised."""
        return self.visual(pixels)

    def encode_text(self, _ids: Tensor) -> Tensor:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise self.lacking()

    def lacking(self) -> ValueError:
        """What to do for text."""
        return ValueError(
            f"Expected a text tower, but got {self.source}, which holds an image tower only; give the model whose "
            "space it shares, for example load_model(name, file, text=load_model('ViT-B-16', 'openai'))"
        )


def with_text_of(other: nn.Module, visual: nn.Module) -> nn.Module:
    """The other model with this image tower: text tower, tokenizer and logit scale are the other's.

    Args:
        other: an open_clip model; it stays as it is, and shares its text tower.
        visual: the image tower, of the same number of features.

    Raises:
        ValueError: the two spaces have different numbers of dimensions.
    """
    ours, theirs = (_space(tower) for tower in (visual, other.visual))
    if ours != theirs:
        raise ValueError(
            f"Expected text to be a model of the image tower's space, {ours} dimensions, but got one of {theirs}"
        )
    combined = copy.copy(other)
    combined._modules = dict(other._modules)
    combined.visual = visual
    return combined


@torch.inference_mode()
def _space(visual: nn.Module) -> int:
    """Dimensions of the features of an image tower, from one grey picture."""
    tower = build_tower(visual)
    height, width = (rows * px for rows, px in zip(tower.native_grid, tower.patch_px, strict=True))
    parameter = next(visual.parameters())
    return visual.eval()(parameter.new_zeros(1, 3, height, width)).shape[-1]
