"""What a text tower is: the only place that knows the modules of open_clip's text transformers and how they pool."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from surgery.blocks import Block, open_clip_block
from surgery.text_sources import ImageOnlyClip

POOL_TYPES = ("first", "last", "argmax", "eos")


class TextModel(Protocol):
    """What the text side needs of a `surgery.models.Model`."""

    name: str
    clip: nn.Module
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, slots=True, eq=False)
class TextTower:
    """The parts of open_clip's text transformer, in the order in which a prompt passes them.

    Attributes:
        token_embedding: ids -> (w,) each.
        positional_embedding: (context length, w).
        transformer: the blocks.
        causal_mask: (context length, context length), 0 and -inf; None where every token sees every other.
        ln_final: norm of every position.
        projection: (w, d), a linear layer, or None where w is d already.
        pool_type: which position stands for the text: "first", "last", "argmax" of the ids (CLIP's end token) or "eos".
        eos_id: id that "eos" looks for.
    """

    token_embedding: nn.Embedding
    positional_embedding: Tensor
    transformer: nn.Module
    causal_mask: Tensor | None
    ln_final: nn.Module
    projection: Tensor | nn.Linear | None
    pool_type: str
    eos_id: int | None

    @property
    def context_length(self) -> int:
        """Number of token positions, start and end included."""
        return self.positional_embedding.shape[0]

    @property
    def can_cut(self) -> bool:
        """Whether positions after the pooled one have no part in it: no token sees a later one."""
        return self.causal_mask is not None and self.pool_type != "last"

    def pooled_index(self, ids: Tensor) -> Tensor:
        """Position that stands for each text: ids (t, L) -> (t,)."""
        if self.pool_type == "argmax":
            return ids.argmax(dim=-1)
        if self.pool_type == "eos":
            return (ids == self.eos_id).int().argmax(dim=-1)
        return ids.new_full(ids.shape[:1], 0 if self.pool_type == "first" else ids.shape[1] - 1)

    def embed(self, ids: Tensor) -> Tensor:
        """Token plus position embeddings: ids (t, L) -> (t, L, w); L may be less than the context length."""
        dtype = self.transformer.get_cast_dtype()
        return self.token_embedding(ids).to(dtype) + self.positional_embedding[: ids.shape[1]].to(dtype)

    def encode(self, embeddings: Tensor) -> Tensor:
        """All blocks and ln_final: (t, L, w) -> (t, L, w)."""
        length = embeddings.shape[1]
        mask = None if self.causal_mask is None else self.causal_mask[:length, :length]
        return self.ln_final(self.transformer(embeddings, attn_mask=mask))

    def project(self, x: Tensor) -> Tensor:
        """To the space shared with images: (..., w) -> (..., d)."""
        if self.projection is None:
            return x
        return self.projection(x) if isinstance(self.projection, nn.Linear) else x @ self.projection


def find_text_tower(clip: nn.Module) -> TextTower | None:
    """The text transformer of an open_clip model; None for a tower of another make (Hugging Face, CoCa's).

    Raises:
        ValueError: an image tower on its own.
    """
    if isinstance(clip, ImageOnlyClip):
        raise clip.lacking()
    if isinstance(clip, CLIP):
        owner, pool_type, eos_id = clip, clip.text_pool_type, clip.text_eos_id
    elif isinstance(clip, CustomTextCLIP) and isinstance(clip.text, TextTransformer):
        owner, pool_type, eos_id = clip.text, clip.text.pool_type, clip.text.eos_id
    else:
        return None
    is_plain = getattr(owner, "cls_emb", None) is None and not getattr(owner, "use_pad_mask", False)
    if pool_type not in POOL_TYPES or not is_plain:
        return None
    return TextTower(
        token_embedding=owner.token_embedding,
        positional_embedding=owner.positional_embedding,
        transformer=owner.transformer,
        causal_mask=owner.attn_mask,
        ln_final=owner.ln_final,
        projection=owner.text_projection,
        pool_type=pool_type,
        eos_id=eos_id,
    )


def open_clip_blocks(tower: TextTower) -> tuple[Block, ...]:
    """The blocks of the transformer, in order."""
    return tuple(open_clip_block(block) for block in tower.transformer.resblocks)


def context_length(model: TextModel) -> int:
    """Number of token positions that the model reads, start and end included."""
    tower = find_text_tower(model.clip)
    return model.tokenizer.context_length if tower is None else tower.context_length


def text_tensors(clip: nn.Module) -> dict[str, Tensor]:
    """Everything that the text features depend on: parameters and saved buffers, by name."""
    tensors = {**dict(clip.named_parameters()), **dict(clip.named_buffers())}
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(("visual.", "logit_"))}


def text_settings(clip: nn.Module) -> list[tuple[str, str, dict[str, object]]]:
    """Name, class and plain settings (heads, eps, activation, pooling ...) of every module outside the image tower.

    Two towers with the same weights can differ in these alone, for example GELU and QuickGELU.
    """
    settings = []
    for name, module in clip.named_modules():
        if name.split(".")[0] != "visual":
            plain = {key: value for key, value in sorted(vars(module).items()) if isinstance(value, int | float | str)}
            plain.pop("training", None)
            settings.append((name, type(module).__name__, plain))
    return settings
