"""Networks of timm without blocks over all tokens (ConvNeXt, FastViT, Swin): their last layer only."""

from open_clip.timm_model import TimmModel
from timm.layers import ClassifierHead, LayerNorm2d, NormMlpClassifierHead
from torch import Tensor, nn

from surgery.blocks import unsupported
from surgery.chain import RowNorm
from surgery.towers.base import Tower
from surgery.towers.timm_vit import head_chain

_LACKS = {"VisionTransformerRelPos": ", whose attention scores have a bias by relative position"}


class LastLayerTower(Tower):
    """The last feature map as tokens: no blocks, so no method but "clip", the read-out of every place as if alone.

    Where the network averages its last map and projects the mean (all of open_clip's do, some with a LayerNorm
    between), the patches of "clip" are what it averages: the class activation map of Zhou et al. 2016, arXiv
    1512.04150, with a text in place of a class.
    """

    family = "last layer"
    blocks = ()
    has_cls = False
    pooling = "patches"
    has_residual = False

    def __init__(self, visual: TimmModel) -> None:
        trunk = visual.trunk
        head = getattr(trunk, "head", None)
        if not isinstance(head, ClassifierHead | NormMlpClassifierHead):
            raise unsupported(f"a timm trunk of type {type(trunk).__name__}{_LACKS.get(type(trunk).__name__, '')}")
        if head.global_pool.is_identity() or not isinstance(getattr(head, "pre_logits", None), nn.Identity | None):
            raise unsupported(f"a timm trunk of type {type(trunk).__name__} without pooling or with a hidden layer")
        self.visual, self.trunk = visual, trunk
        stride = trunk.feature_info[-1]["reduction"]
        self.patch_px = (stride, stride)
        self.native_grid = tuple(side // stride for side in visual.image_size)
        self.any_size = not getattr(trunk, "pretrained_cfg", {}).get("fixed_input_size", False)
        self._channels_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
        self._norm = getattr(head, "norm", None)
        norm = RowNorm(self._norm) if isinstance(self._norm, LayerNorm2d) else self._norm
        self.chain, self.is_affine = head_chain(visual.head, norm, head.fc)

    def embed(self, pixels: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        return self.tokens(self.convolve(pixels), grid, position_interpolation)

    def convolve(self, pixels: Tensor) -> Tensor:
        """The last feature map (b, w, gh, gw)."""
        x = self.trunk.forward_features(pixels)
        return x.movedim(-1, 1) if self._channels_last else x

    def tokens(self, maps: Tensor, grid: tuple[int, int], position_interpolation: str) -> Tensor:
        """The places of the last feature map (b, gh * gw, w)."""
        return maps.flatten(2).mT

    def readout(self, x: Tensor) -> Tensor:
        """The network's own head on maps of one place each."""
        return self._head(x.flatten(0, 1)[:, None]).unflatten(0, x.shape[:2])

    def pool(self, x: Tensor) -> Tensor:
        return self._head(x)

    def _head(self, x: Tensor) -> Tensor:
        """(b, n, w) -> (b, d): the head averages over the n places, whatever their grid."""
        image = x[:, :, None] if self._channels_last else x.mT[..., None]
        return self.visual.head(self.trunk.forward_head(image))
