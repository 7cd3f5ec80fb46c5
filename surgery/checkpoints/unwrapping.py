"""Wrappers and prefixes taken off, until the names are those of a CLIP."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from surgery.checkpoints.contents import CheckpointError, Tensors

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "weights", "params", "net", "clip")
"""Keys under which training scripts keep the weights, in order of preference."""

INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "module.")
"""Components that wrappers put anywhere into a name: torch.compile, FSDP, activation checkpoints, DataParallel."""

TOWERS = ("visual", "vision_model", "image_encoder")
"""Components that begin the image tower of open_clip, of Hugging Face and of MobileCLIP; the prefix is before them."""

BARE_ANCHORS = (
    "embeddings.class_embedding",
    "class_embedding",
    "attnpool.positional_embedding",
    "head.probe",
    "trunk.pos_embed",
    "trunk.norm.weight",
)
"""Names in an image tower that was saved on its own, without "visual."."""

TEXT_ANCHORS = ("text_model.embeddings.token_embedding.weight", "token_embedding.weight")
_LORA = ("lora_a", "lora_b", "lora_down", "lora_up", "lora_embedding")


def find_state(content: object, name: str) -> Tensors:
    """The dict of tensors inside what was saved.

    Raises:
        CheckpointError: there is none; the message names what there is instead.
    """
    tensors, keys, current = {}, [], content
    while isinstance(current, Mapping):
        found = {str(key): value for key, value in current.items() if isinstance(value, Tensor)}
        if len(found) >= len(tensors):
            tensors, keys = found, list(current)
        current = next((current[key] for key in WRAPPERS if isinstance(current.get(key), Mapping)), None)
    if not tensors:
        shown = f"only: {', '.join(map(str, keys[:6]))}" if keys else f"an object of type {type(content).__name__}"
        raise CheckpointError(f"Expected {name} to hold weights, but found no tensors in it, {shown}")
    return tensors


def strip_prefixes(state: Tensors, name: str) -> tuple[Tensors, tuple[str, ...]]:
    """The tensors of the one CLIP in a state dict without their prefix, and the names of what is outside of it.

    Raises:
        CheckpointError: two CLIPs, such as a teacher and a student; an adapter that was not merged.
    """
    _refuse_adapters(state, name)
    state = {_without_inner(key): tensor for key, tensor in state.items()}
    prefixes = sorted(set(_prefixes(state)))
    if len(prefixes) > 1:
        shown = " and ".join(repr(prefix) for prefix in prefixes)
        raise CheckpointError(
            f"Expected {name} to hold one CLIP, but got {len(prefixes)}, with names that begin with {shown}; "
            "save the state_dict of the one that is meant"
        )
    prefix = prefixes[0] if prefixes else ""
    kept = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    return kept, tuple(key for key in state if not key.startswith(prefix))


def _without_inner(key: str) -> str:
    for part in INNER:
        while key.startswith(part) or f".{part}" in key:
            key = key.removeprefix(part) if key.startswith(part) else key.replace(f".{part}", ".")
    return key


def _prefixes(state: Tensors) -> Iterator[str]:
    """What comes before the image tower; where there is none, before a bare tower, then before a text tower."""
    towers = [_before_tower(key) for key in state]
    if any(prefix is not None for prefix in towers):
        yield from (prefix for prefix in towers if prefix is not None)
        return
    for anchors in (BARE_ANCHORS, TEXT_ANCHORS):
        ends = [(key, next((end for end in anchors if f".{key}".endswith(f".{end}")), "")) for key in state]
        if any(end for _, end in ends):
            yield from (key.removesuffix(end) for key, end in ends if end)
            return


def _before_tower(key: str) -> str | None:
    parts = key.split(".")
    first = next((i for i, part in enumerate(parts[:-1]) if part in TOWERS), None)
    return None if first is None else "".join(f"{part}." for part in parts[:first])


def _refuse_adapters(state: Tensors, name: str) -> None:
    low_rank = [key for key in state if any(part in key.lower() for part in _LORA)]
    if low_rank:
        raise CheckpointError(
            f"Expected {name} to hold whole weights, but got {len(low_rank)} tensors of a LoRA adapter "
            f"({low_rank[0]}); merge it where it was trained (with peft: model.merge_and_unload()) and save the "
            "state_dict of the result"
        )
