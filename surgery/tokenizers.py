"""The tokenizer of a model: open_clip's own byte pairs, or one of Hugging Face from the cache or a folder."""

from pathlib import Path
from typing import Any

import open_clip
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer

from surgery import downloads
from surgery.checkpoints.hf_config import CLIP_VOCABULARY
from surgery.weights import folder_of, recipe_of


def create_tokenizer(name: str) -> Any:
    """The tokenizer of a model of this name, as open_clip chooses it; nothing is fetched that is cached.

    A relative `bpe_path` in a folder's configuration is relative to the folder. The byte pairs of a CLIPModel with
    CLIP's own vocabulary are open_clip's.

    A name that is none of open_clip's, as a user gives to a module of his own, gets open_clip's byte pairs.

    Raises:
        FileNotFoundError: a Hugging Face tokenizer that is neither here nor to be downloaded.
    """
    architecture = name.replace("/", "-")
    if name != "toy" and ":" not in name and architecture not in open_clip.list_models():
        return SimpleTokenizer()
    if ":" not in name:
        name = architecture
    recipe = recipe_of(name)
    text = recipe.model_cfg["text_cfg"]
    length = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    options = dict(text.get("tokenizer_kwargs") or {})
    is_local = name == "toy" or name.startswith("local-dir:")
    if recipe.is_transformers:
        if text["vocab_size"] == CLIP_VOCABULARY and not text.get("no_causal_mask"):
            return SimpleTokenizer(context_length=length)
        repository = name.removeprefix("hf-hub:")
        folder = folder_of(name) if is_local else downloads.fetch_tokenizer(repository)
        return HFTokenizer(str(folder), context_length=length)
    source = text.get("hf_tokenizer_name")
    if source:
        own = Path(source).is_dir()
        folder = folder_of(name) if is_local else Path(source) if own else downloads.fetch_tokenizer(source)
        return HFTokenizer(str(folder), context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **options)
    if is_local and "bpe_path" in options:
        options["bpe_path"] = str(folder_of(name) / options["bpe_path"])
    return SimpleTokenizer(context_length=length, **options)
