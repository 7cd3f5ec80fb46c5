"""Text features on disk, one small file a text, so that a new class in a label set costs only itself.

The key is (text tower, tokenizer, precision, device; templates; text): a model with other weights never reads them. A
file is the digest of key and bytes, then the bytes: what is damaged, or not finite, is computed anew.
Files are replaced atomically, so any number of processes may read and write at once.
"""

import hashlib
import json
import threading
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data.store import cache_folder, write_bytes
from surgery.text_tower import TextModel, context_length, text_settings, text_tensors

FORMAT = 1
DIGEST_BYTES = 32

_FINGERPRINTS: weakref.WeakKeyDictionary[nn.Module, tuple[object, str]] = weakref.WeakKeyDictionary()
_FINGERPRINT_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class TextCache:
    """The cached features of one model and one set of templates.

    Attributes:
        folder: the model's folder.
        prefix: JSON of everything in the key but the text.
        dtype: float32 or float64.
    """

    folder: Path
    prefix: str
    dtype: np.dtype

    def path(self, text: str) -> Path:
        """Where the feature of a text is kept."""
        name = hashlib.sha256(self._key(text)).hexdigest()
        return self.folder / name[:2] / name

    def load(self, text: str) -> np.ndarray | None:
        """The feature (d,) of a text; None if it is not there, damaged, or not finite."""
        try:
            path = self.path(text)
            if not path.is_file():  # a pipe would be waited for
                return None
            content = path.read_bytes()
        except OSError:
            return None
        digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if not payload or digest != self._digest(text, payload):
            return None
        return np.frombuffer(payload, dtype=self.dtype).copy()

    def save(self, features: Mapping[str, np.ndarray]) -> None:
        """Keeps the feature (d,) of each text, unless it is not finite. A disk that refuses is a warning."""
        try:
            for text, feature in features.items():
                if np.isfinite(feature).all():
                    payload = feature.astype(self.dtype).tobytes()
                    write_bytes(self.path(text), self._digest(text, payload) + payload)
        except OSError as error:
            warnings.warn(f"Text features could not be cached in {self.folder}: {error}", RuntimeWarning, stacklevel=4)

    def _key(self, text: str) -> bytes:
        return json.dumps([self.prefix, text]).encode()

    def _digest(self, text: str, payload: bytes) -> bytes:
        return hashlib.sha256(self._key(text) + payload).digest()


def open_text_cache(model: TextModel, templates: Sequence[str]) -> TextCache | None:
    """The cache of a model and templates; None where the environment variable CLIP_THEATRE_CACHE is "off"."""
    root = cache_folder()
    if root is None:
        return None
    fingerprint = text_fingerprint(model)
    dtype = np.dtype("<f8" if model.dtype == torch.float64 else "<f4")
    prefix = json.dumps([FORMAT, fingerprint, dtype.str, list(templates)])
    return TextCache(root / "text" / fingerprint[:32], prefix, dtype)


def text_fingerprint(model: TextModel) -> str:
    """Identity of everything that a text feature depends on: weights and settings of the text tower, precision, device
    kind, context length and tokenizer. Computed once per model, and again if its weights were changed in place."""
    tensors = text_tensors(model.clip)
    state = (id(model.tokenizer), *((tensor.data_ptr(), _version(tensor)) for tensor in tensors.values()))
    with _FINGERPRINT_LOCK:
        known = _FINGERPRINTS.get(model.clip)
        if known is None or known[0] != state:
            known = (state, _compute_fingerprint(model, tensors))
            _FINGERPRINTS[model.clip] = known
        return known[1]


def _version(tensor: Tensor) -> int:
    """PyTorch's count of in-place changes, which tensors made in inference mode do not have."""
    return 0 if tensor.is_inference() else tensor._version


def _compute_fingerprint(model: TextModel, tensors: Mapping[str, Tensor]) -> str:
    head = [text_settings(model.clip), str(model.dtype), model.device.type, context_length(model)]
    digest = hashlib.sha256(json.dumps([*head, _tokenizer_identity(model.tokenizer)]).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _tokenizer_identity(tokenizer: object) -> list[object]:
    """Vocabulary, merges and cleaning of either kind of open_clip tokenizer."""
    names = ("clean_fn", "reduction_fn")
    functions = [getattr(getattr(tokenizer, name, None), "__qualname__", None) for name in names]
    modes = [getattr(tokenizer, name, None) for name in ("strip_sep_token", "tokenizer_mode")]
    vocabulary = tokenizer.encoder if hasattr(tokenizer, "encoder") else tokenizer.tokenizer.get_vocab()
    merges = sorted(getattr(tokenizer, "bpe_ranks", {}).items(), key=lambda item: item[1])
    return [type(tokenizer).__name__, functions, modes, sorted(vocabulary.items()), merges]
