"""What was read from a checkpoint, and the errors and warnings about one."""

from dataclasses import dataclass

from torch import Tensor

GELU, QUICK_GELU = "gelu", "quick_gelu"
ACTIVATIONS = (GELU, QUICK_GELU)
BOTH_TOWERS, IMAGE_TOWER = "both towers", "image tower"

Tensors = dict[str, Tensor]


class CheckpointError(ValueError):
    """A file that holds something else than weights of the model that was asked for."""


class CheckpointWarning(UserWarning):
    """Something about a checkpoint that cannot be read from the file and may be wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """What a file holds before any name is looked at.

    Attributes:
        content: nested dicts and lists with tensors in them.
        kind: what the file is, in words, such as "a safetensors file".
        activation: one of `ACTIVATIONS` where the file tells, else None.
    """

    content: object
    kind: str
    activation: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Weights in the names of open_clip.

    Attributes:
        name: of the file or folder, for messages.
        kind: what the file is, in words.
        tensors: by name; those of the text tower under the names of `open_clip.CLIP` (no "text.").
        holds: `BOTH_TOWERS` or `IMAGE_TOWER`.
        origin: whose names the file has, such as "Hugging Face CLIPModel".
        activation: one of `ACTIVATIONS` where the file tells, else None.
        left_out: names of tensors that belong to no CLIP, such as a classifier's.
    """

    name: str
    kind: str
    tensors: Tensors
    holds: str
    origin: str
    activation: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """What the file holds, in a few words."""
        return f"{self.kind} with {self.origin}, {len(self.tensors)} tensors, {_millions(self.tensors)}"


def _millions(tensors: Tensors) -> str:
    return f"{sum(tensor.numel() for tensor in tensors.values()) / 1e6:.3g} M numbers"
