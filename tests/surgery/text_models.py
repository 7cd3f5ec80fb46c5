"""Small models with every kind of text tower, as far as the text side of `surgery` looks at a model."""

from functools import cache
from types import SimpleNamespace

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer

VISION = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
KINDS = {
    "clip": {},
    "custom": {"custom": True},
    "linear": {"custom": True, "proj_bias": True, "pool_type": "eos", "eos_id": 49407},
    "no projection": {"custom": True, "proj_type": "none", "width": 24},
    "first": {"custom": True, "pool_type": "first"},
    "bidirectional": {"no_causal_mask": True},
    "siglip": {"custom": True, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
    "coca": {"custom": True, "embed_cls": True},
}
"""The last three cannot be cut; the last one has a class token and is none of `surgery.text_tower`'s."""
CUTTABLE = ("clip", "custom", "linear", "no projection", "first")


@cache
def shared_tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer(context_length=TEXT["context_length"])


def text_model(kind: str = "clip", seed: int = 0, dtype: torch.dtype = torch.float32) -> SimpleNamespace:
    """A fresh model whose text tower is one of `KINDS`, with weights large enough that all of it matters."""
    config = dict(KINDS[kind])
    make = open_clip.model.CustomTextCLIP if config.pop("custom", False) else open_clip.model.CLIP
    torch.manual_seed(seed)
    clip = make(24, VISION, {**TEXT, **config}).eval()
    with torch.no_grad():
        for parameter in clip.parameters():
            if parameter.ndim >= 1:
                parameter += 0.2 * torch.randn_like(parameter)
    device = torch.device("cpu")
    return SimpleNamespace(name=kind, clip=clip.to(dtype), tokenizer=shared_tokenizer(), device=device, dtype=dtype)


class WordTokenizer:
    """What open_clip's HFTokenizer offers, with a vocabulary of one number a word: start 1, end 2, padding 0."""

    context_length = 24
    tokenizer_mode = ""
    strip_sep_token = False

    def __init__(self) -> None:
        self.tokenizer = self
        self.words: dict[str, int] = {}

    @staticmethod
    def clean_fn(text: str) -> str:
        return " ".join(text.split())

    def get_vocab(self) -> dict[str, int]:
        return {"word": 3}

    def decode(self, ids: torch.Tensor, skip_special_tokens: bool) -> str:
        names = {number: word for word, number in self.words.items()}
        return " ".join(names[int(id)] for id in ids if int(id) > 2 or not skip_special_tokens)

    def __call__(self, text, context_length=None, add_special_tokens=True, verbose=True):
        if isinstance(text, str):
            ids = [self.words.setdefault(word, 3 + len(self.words)) for word in text.split()]
            return SimpleNamespace(input_ids=[1, *ids, 2] if add_special_tokens else ids)
        rows = [self(one).input_ids for one in text]
        rows = [row if len(row) <= context_length else [*row[: context_length - 1], 2] for row in rows]
        return torch.tensor([row + [0] * (context_length - len(row)) for row in rows])
