"""What a block is, read from the block modules of open_clip and of timm."""

from collections.abc import Callable
from dataclasses import dataclass

import open_clip.transformer as oct
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn

from surgery.attention import Projections

SUPPORTED = (
    "open_clip ViTs with a CLS token (ViT-*), ModifiedResNets (RN50*), "
    "timm ViTs with a MAP head (*-SigLIP*, *-SigLIP2*)"
)


@dataclass(frozen=True, slots=True)
class Block:
    """One residual block, x + attention(ln_1(x)), then + mlp(ln_2(.)).

    Attributes:
        heads: number of attention heads.
        ln_1: norm before attention, None in the attention pool of a ResNet.
        in_proj: (b, n, w) -> q, k and v, each (b, n, heads * head width).
        q_norm, k_norm: norms of q and k per head, identity in CLIP.
        out_proj: linear map of the concatenated heads.
        ls_1, ls_2: layer scales, identity in CLIP.
        ln_2, mlp: None in the attention pool of a ResNet.
    """

    heads: int
    ln_1: nn.Module | None
    in_proj: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    q_norm: nn.Module
    k_norm: nn.Module
    out_proj: nn.Linear
    ls_1: nn.Module
    ln_2: nn.Module | None
    mlp: nn.Module | None
    ls_2: nn.Module

    def project(self, x: Tensor, grid: tuple[int, int], prefix: int) -> Projections:
        """q, k, v of the tokens x (b, n, w) that enter the block."""
        y = x if self.ln_1 is None else self.ln_1(x)
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.in_proj(y))  # (b, heads, n, d)
        norm = None if self.ln_1 is None else y.norm(dim=-1).mean(dim=-1)
        return Projections(self.q_norm(q), self.k_norm(k), v, v.shape[-1] ** -0.5, norm, grid, prefix)

    def merge(self, heads_out: Tensor) -> Tensor:
        """Attention output a_l (b, n, w) from per-head outputs (b, heads, n, d): output projection and layer scale."""
        return self.ls_1(self.out_proj(heads_out.transpose(1, 2).flatten(2)))

    def merge_head(self, head_out: Tensor, head: int) -> Tensor:
        """What one head adds to a_l, without the output bias: (b, n, d) -> (b, n, w)."""
        d = head_out.shape[-1]
        return self.ls_1(head_out @ self.out_proj.weight[:, head * d : (head + 1) * d].mT)

    def head_bias(self) -> Tensor:
        """The bias of the output projection as it reaches the residual stream, (w,)."""
        bias = self.out_proj.bias
        return self.ls_1(self.out_proj.weight.new_zeros(self.out_proj.out_features) if bias is None else bias)

    def mlp_out(self, u: Tensor) -> Tensor:
        """MLP output m_l of the tokens u (b, n, w)."""
        return self.ls_2(self.mlp(self.ln_2(u)))


def unsupported(what: str) -> ValueError:
    """The error for a tower that cannot be operated on."""
    return ValueError(f"Expected an image tower that can be operated on ({SUPPORTED}), but got {what}")


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside of DataParallel, DistributedDataParallel or torch.compile; any other one itself."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrap(module.module)
    if isinstance(module, torch._dynamo.eval_frame.OptimizedModule):
        return unwrap(module._orig_mod)
    return module


def open_clip_block(block: nn.Module) -> Block:
    """Reads open_clip's block, with nn.MultiheadAttention or with its own Attention (ln_q, ln_k)."""
    block = unwrap(block)
    attn = block.attn
    if isinstance(attn, oct.Attention):
        extras = (attn.logit_scale, attn.head_scale, _unless_identity(attn.ln_inner), _unless_identity(block.ln_attn))
        if any(extra is not None for extra in extras):
            raise unsupported("attention with a cosine scale, a head scale or an inner norm")
    return Block(
        heads=attn.num_heads,
        ln_1=block.ln_1,
        in_proj=lambda y: F.linear(y, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1),
        q_norm=getattr(attn, "ln_q", nn.Identity()),
        k_norm=getattr(attn, "ln_k", nn.Identity()),
        out_proj=attn.out_proj,
        ls_1=block.ls_1,
        ln_2=block.ln_2,
        mlp=block.mlp,
        ls_2=block.ls_2,
    )


def timm_block(block: nn.Module) -> Block:
    """Reads the block of timm's VisionTransformer."""
    block = unwrap(block)
    attn = block.attn
    plain = type(block) is TimmBlock and type(attn) is Attention and _unless_identity(attn.norm) is None
    if not plain:
        raise unsupported(f"timm blocks of type {type(block).__name__} with {type(attn).__name__}")
    return Block(
        heads=attn.num_heads,
        ln_1=block.norm1,
        in_proj=lambda y: attn.qkv(y).chunk(3, dim=-1),
        q_norm=attn.q_norm,
        k_norm=attn.k_norm,
        out_proj=attn.proj,
        ls_1=block.ls1,
        ln_2=block.norm2,
        mlp=block.mlp,
        ls_2=block.ls2,
    )


def _unless_identity(module: nn.Module) -> nn.Module | None:
    return None if isinstance(module, nn.Identity) else module
