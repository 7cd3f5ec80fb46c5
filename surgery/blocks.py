"""What a block is, read from the block modules of open_clip and of timm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers import AttentionRope
from timm.models.eva import EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Attention, ResPostBlock
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn

from surgery.attention import Projections
from surgery.chain import Affine, Chain, PulledBack

SUPPORTED = (
    "open_clip ViTs and CoCa (ViT-*, coca_*), ModifiedResNets (RN50*), SigLIP (*-SigLIP*), EVA (EVA0*), PE-Core-*, "
    "ViTamin-*, MobileCLIP-B and L, other plain ViTs of timm"
)

Rotate = Callable[[Tensor, tuple[int, int]], Tensor]


@dataclass(frozen=True, slots=True)
class Block:
    """One residual block, x + attention(ln_1(x)), then + mlp(ln_2(.)).

    Attributes:
        heads: number of attention heads.
        ln_1: norm before attention, identity where a block norms its outputs; None in the attention pool of a ResNet.
        in_proj: (b, n, w) -> q, k and v, each (b, n, heads * head width).
        q_norm, k_norm: norms of q and k per head, identity in CLIP.
        out_proj: linear map of the concatenated heads.
        out: from the concatenated heads to the residual stream: the output projection, with an inner norm before it
            (EVA-02), a norm or a layer scale after it where the model has them.
        ln_2, mlp: None in the attention pool of a ResNet.
        ls_2: what follows the MLP: a layer scale or a norm, identity in CLIP.
        rotate: turns q and k (b, heads, n, d) by their place in the grid (rotary positions); None without. Every kind
            of attention uses the rotated q and k, as the block itself does; v has no rotation.
    """

    heads: int
    ln_1: nn.Module | None
    in_proj: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    q_norm: nn.Module
    k_norm: nn.Module
    out_proj: nn.Linear
    out: Chain
    ln_2: nn.Module | None
    mlp: nn.Module | None
    ls_2: Callable[[Tensor], Tensor]
    rotate: Rotate | None = None

    def project(self, x: Tensor, grid: tuple[int, int], prefix: int) -> Projections:
        """q, k, v of the tokens x (b, n, w) that enter the block."""
        y = x if self.ln_1 is None else self.ln_1(x)
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.in_proj(y))  # (b, heads, n, d)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.rotate is not None:
            q, k = self.rotate(q, grid), self.rotate(k, grid)
        norm = None if self.ln_1 is None else y.norm(dim=-1).mean(dim=-1)
        return Projections(q, k, v, v.shape[-1] ** -0.5, norm, grid, prefix)

    def merge(self, heads_out: Tensor) -> Tensor:
        """Attention output a_l (b, n, w) from per-head outputs (b, heads, n, d)."""
        return self.out(heads_out.transpose(1, 2).flatten(2))

    def pull_back(
        self, heads_out: Tensor, directions: Tensor, scale: Tensor, fold: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What each head and the biases behind the heads add along directions in the residual stream.

        Args:
            heads_out: (b, heads, n, d); norms on the way to the stream are frozen at what they do to these.
            directions: (t, w).
            scale: (b, n, 1) factor per token.
            fold: (b, r, n) weights that the tokens are summed with; r then takes the place of n in the result.

        Returns:
            (b, heads, n, t) and (b, n, t), which sum to what `merge(heads_out)` adds. (b, heads, n, w) is never formed.
        """
        back: PulledBack = self.out.pull_back(heads_out.transpose(1, 2).flatten(2), directions, scale)
        through = back.directions.unflatten(-1, (self.heads, -1))  # (t, heads, d)
        heads_out = heads_out.to(directions)
        if fold is not None:
            sums = (fold * back.scale.mT)[:, None] @ heads_out  # (b, heads, r, d)
            return torch.einsum("bhrd,thd->bhrt", sums, through), fold @ back.constant
        return torch.einsum("bhnd,thd->bhnt", heads_out, through) * back.scale[:, None], back.constant

    def pull_back_input(
        self, x: Tensor, grid: tuple[int, int], prefix: int, gradients: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What parts of the tokens that enter the block add to linear functions of its q, of its k and of its v.

        Args:
            x: (b, n, w) tokens that enter the block; ln_1 and the norms of q and k are frozen at what they do to these.
            grid, prefix: as in `project`.
            gradients: of each function, (b, heads, n, d) along q, k and v as `project` gives them.

        Returns:
            (3, b, n, w), whose inner product with a part of x is what that part adds, and (3, b): what the biases of
            the norms and projections add. Products with x and these sum to the functions.

        Raises:
            ValueError: a norm that is not linear once its deviation is frozen.
        """
        wide = gradients[0]
        ln_1 = _chain(self.ln_1)
        y = x if self.ln_1 is None else self.ln_1(x)
        rows, constants = [], []
        for side, (raw, gradient) in enumerate(zip(self.in_proj(y), gradients, strict=True)):
            norm = None if side == 2 else (self.q_norm, self.k_norm)[side]
            if side < 2 and self.rotate is not None:
                gradient = _adjoint(lambda z: self.rotate(z, grid), gradient.shape, gradient, y.dtype)
            heads = raw.unflatten(-1, (self.heads, -1)).transpose(1, 2).flatten(0, 1)  # (b * heads, n, d)
            gradient, by_norm = _chain(norm).pull_back_each(heads, gradient.flatten(0, 1))
            joint = gradient.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2)  # (b, n, heads * d)
            zero = self.in_proj(torch.zeros_like(y[:1, :1]))[side].to(wide)  # the bias
            rows.append(_adjoint(lambda z, side=side: self.in_proj(z)[side], y.shape, joint, y.dtype))
            by_norm = by_norm.unflatten(0, (-1, self.heads)).sum(dim=(1, 2))
            constants.append(by_norm + (joint * zero).sum(dim=(1, 2)))
        back, by_ln_1 = ln_1.pull_back_each(x, torch.stack(rows).to(wide))
        return back, torch.stack(constants) + by_ln_1.sum(dim=-1)

    def mlp_out(self, u: Tensor) -> Tensor:
        """MLP output m_l of the tokens u (b, n, w)."""
        return self.ls_2(self.mlp(self.ln_2(u)))


def _adjoint(affine: Callable[[Tensor], Tensor], shape: Sequence[int], gradient: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient at the argument of an affine map, whose value there does not matter; in the dtype of `gradient`."""
    with torch.inference_mode(False), torch.enable_grad():
        at = torch.zeros(shape, dtype=dtype, device=gradient.device, requires_grad=True)
        out = affine(at)
        (found,) = torch.autograd.grad(out, at, gradient.to(out.dtype).clone())
    return found.to(gradient.dtype)


def unsupported(what: str) -> ValueError:
    """The error for a tower that cannot be operated on."""
    return ValueError(f"Expected an image tower that can be operated on ({SUPPORTED}), but got {what}")


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside of DataParallel, DistributedDataParallel or torch.compile; any other one itself."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrap(module.module)
    if isinstance(getattr(module, "_orig_mod", None), nn.Module):  # by name: importing torch._dynamo takes seconds
        return unwrap(module._orig_mod)
    return module


def open_clip_block(block: nn.Module) -> Block:
    """Reads open_clip's block, with nn.MultiheadAttention or with its own Attention (ln_q, ln_k, ln_inner)."""
    block = unwrap(block)
    attn = block.attn
    if any(getattr(attn, extra, None) is not None for extra in ("logit_scale", "head_scale")):
        raise unsupported("attention with a cosine scale or a head scale")
    return Block(
        heads=attn.num_heads,
        ln_1=block.ln_1,
        in_proj=lambda y: F.linear(y, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1),
        q_norm=getattr(attn, "ln_q", nn.Identity()),
        k_norm=getattr(attn, "ln_k", nn.Identity()),
        out_proj=attn.out_proj,
        out=_chain(getattr(attn, "ln_inner", None), attn.out_proj, getattr(block, "ln_attn", None), block.ls_1),
        ln_2=block.ln_2,
        mlp=block.mlp,
        ls_2=block.ls_2,
    )


def timm_block(block: nn.Module, rotate: Rotate | None = None) -> Block:
    """Reads a block of timm's VisionTransformer or Eva, with its norms before or after attention and MLP.

    Args:
        block: the module.
        rotate: the rotary positions of its trunk, see `Block`.
    """
    block = unwrap(block)
    attn = block.attn
    known = type(block) in (TimmBlock, ResPostBlock, EvaBlock, EvaBlockPostNorm)
    if not known or type(attn) not in (Attention, EvaAttention, AttentionRope):
        raise unsupported(f"timm blocks of type {type(block).__name__} with {type(attn).__name__}")
    if getattr(attn, "gate", None) is not None or getattr(attn, "num_kv_groups", 1) > 1:
        raise unsupported("attention with a gate, or with fewer keys and values than queries")
    norms_output = type(block) in (ResPostBlock, EvaBlockPostNorm)
    before_1, before_2 = (nn.Identity(), nn.Identity()) if norms_output else (block.norm1, block.norm2)
    after_1, after_2 = (block.norm1, block.norm2) if norms_output else (_scale(block, 1), _scale(block, 2))
    return Block(
        heads=attn.num_heads,
        ln_1=before_1,
        in_proj=_timm_projections(attn),
        q_norm=attn.q_norm,
        k_norm=attn.k_norm,
        out_proj=attn.proj,
        out=_chain(attn.norm, attn.proj, after_1),
        ln_2=before_2,
        mlp=block.mlp,
        ls_2=after_2,
        rotate=rotate,
    )


def _chain(*steps: object) -> Chain:
    try:
        return Chain(*steps)
    except TypeError as error:
        raise unsupported(f"attention whose output passes a {error}") from error


def _scale(block: nn.Module, which: int) -> nn.Module | Affine:
    """Layer scale after attention (1) or MLP (2): a module in a VisionTransformer, a bare parameter in an Eva."""
    module = getattr(block, f"ls{which}", None)
    if module is not None:
        return module
    name = f"gamma_{which}"
    return nn.Identity() if getattr(block, name, None) is None else Affine(lambda: (getattr(block, name), None))


def _timm_projections(attn: nn.Module) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """q, k and v from one joint layer, from three, or from a joint weight with biases for q and v only."""
    if attn.qkv is None:
        return lambda y: (attn.q_proj(y), attn.k_proj(y), attn.v_proj(y))
    if getattr(attn, "q_bias", None) is None:
        return lambda y: attn.qkv(y).chunk(3, dim=-1)

    def project(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return F.linear(y, attn.qkv.weight, torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])).chunk(3, dim=-1)

    return project
