"""Train the toy CLIP from scratch: `python -m data.toy.train` writes the files of data/toy/model.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, figure 3. Unlike
there, a caption that is true of another scene of the batch does not count as that scene's negative: a short caption
such as "a red circle" often is.

Training stops early, without lowering the rate: the maps of CLIP itself are turned over most between 100 and 150 steps
and recover afterwards (MODEL.md), and a laboratory for that effect should have it.
"""

import argparse
import gzip
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import default_bpe
from PIL import Image
from safetensors.torch import save
from tqdm import tqdm

from data.toy.captions import Caption, draw_caption, select_merges, toy_words
from data.toy.scenes import plan_scene, render_plan

MODEL_DIR = Path(__file__).parent / "model"
IMAGE_SIZE = 112
CONTEXT_LENGTH = 32
BYTE_TOKENS, SPECIAL_TOKENS = 512, 2  # of open_clip's SimpleTokenizer
CONFIG_FILE, WEIGHTS_FILE, MERGES_FILE = "open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz"

FIRST_TRAINING_SEED = 1_000_000_000  # scenes for training have seeds from here on; use smaller ones for evaluation
WARMUP_STEPS = 40
MAX_LOGIT_SCALE = math.log(100)


@dataclass(frozen=True, slots=True)
class TrainingScenes:
    """Rendered scenes.

    Attributes:
        pixels: uint8 (n, 3, IMAGE_SIZE, IMAGE_SIZE).
        phrases: the objects of each scene.
        backgrounds: the background of each scene.
    """

    pixels: torch.Tensor
    phrases: list[tuple[str, ...]]
    backgrounds: list[str]


def toy_config(vocab_size: int) -> dict:
    """The content of open_clip_config.json."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {"image_size": IMAGE_SIZE, "layers": 6, "width": 128, "head_width": 64, "patch_size": 8},
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": vocab_size,
                "width": 128,
                "heads": 4,
                "layers": 3,
                "tokenizer_kwargs": {"bpe_path": MERGES_FILE},
            },
        },
        "preprocess_cfg": {"size": IMAGE_SIZE, "mode": "RGB", "interpolation": "bicubic", "resize_mode": "squash"},
    }


def write_model_folder(folder: Path) -> None:
    """Write merges and config, all that open_clip needs to build the model and its tokenizer."""
    lines = gzip.decompress(Path(default_bpe()).read_bytes()).decode().splitlines()
    # CLIP uses the first 48,894 lines after the header (SimpleTokenizer.__init__).
    merges = select_merges([tuple(line.split()) for line in lines[1:48895]], toy_words())
    text = "\n".join([lines[0], *map(" ".join, merges)])
    config = toy_config(BYTE_TOKENS + len(merges) + SPECIAL_TOKENS)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / MERGES_FILE, gzip.compress(text.encode(), mtime=0))
    _write(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())


def build_model(folder: Path) -> tuple[torch.nn.Module, open_clip.SimpleTokenizer]:
    """Create the untrained model of a folder, and its tokenizer."""
    model_cfg = json.loads((folder / CONFIG_FILE).read_text())["model_cfg"]
    model = open_clip.CLIP(**model_cfg)
    tokenizer = open_clip.SimpleTokenizer(str(folder / MERGES_FILE), context_length=CONTEXT_LENGTH)
    return model, tokenizer


def render_scenes(count: int, seed: int, processes: int) -> TrainingScenes:
    """Render the training scenes of a seed at the model's size."""
    render = partial(_render_small, FIRST_TRAINING_SEED + seed)
    with ProcessPoolExecutor(processes) as pool:
        rendered = pool.map(render, range(count), chunksize=64)
        pixels, phrases, backgrounds = zip(*tqdm(rendered, total=count, desc="render", unit="scene"), strict=True)
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()  # (n, h, w, 3) -> (n, 3, h, w)
    return TrainingScenes(stacked, list(phrases), list(backgrounds))


def _render_small(seed: int, index: int) -> tuple[np.ndarray, tuple[str, ...], str]:
    scene = render_plan(plan_scene(seed, index))
    small = scene.image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(small), tuple(item.phrase for item in scene.objects), scene.background


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, also_true: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross-entropy over a batch.

    Args:
        images: (b, d), unit norm.
        texts: (b, d), unit norm; texts[i] describes images[i].
        also_true: bool (b, b), [i, j] whether text j is true of image i; these pairs are no negatives.
        scale: factor of the cosines.

    Returns:
        Scalar loss.
    """
    target = torch.arange(len(images))
    excluded = also_true & ~torch.eye(len(images), dtype=torch.bool)
    logits = (scale * images @ texts.T).masked_fill(excluded, -torch.inf)  # (b, b)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def train(scenes: TrainingScenes, folder: Path, steps: int, batch: int, seed: int, rate: float) -> torch.nn.Module:
    """Train the model of a folder; returns it in evaluation mode."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, tokenizer = build_model(folder)
    optimizer = _make_optimizer(model, rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARMUP_STEPS))
    progress = tqdm(range(steps), desc="train", unit="step")
    for _ in progress:
        loss = _batch_loss(model, tokenizer, scenes, rng, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        progress.set_postfix(loss=f"{loss.item():.3f}", scale=f"{model.logit_scale.exp().item():.0f}", refresh=False)
    return model.eval()


def _make_optimizer(model: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW, with decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def _batch_loss(
    model: torch.nn.Module,
    tokenizer: open_clip.SimpleTokenizer,
    scenes: TrainingScenes,
    rng: np.random.Generator,
    batch: int,
) -> torch.Tensor:
    picked = rng.choice(len(scenes.phrases), batch, replace=False)
    captions = [draw_caption(rng, scenes.phrases[i], scenes.backgrounds[i]) for i in picked]
    pixels = normalise_pixels(scenes.pixels[picked])
    mirrored = torch.from_numpy(rng.random(batch) < 0.5)
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
    with torch.autocast("cpu", torch.bfloat16):
        images = model.encode_image(pixels)
        texts = model.encode_text(tokenizer([caption.text for caption in captions]))
    images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
    return contrastive_loss(images, texts, _also_true(scenes, picked, captions), model.logit_scale.exp())


def normalise_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes (n, 3, h, w) to the network's input, as open_clip's own preprocessing scales them."""
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    return (pixels / 255 - mean) / std


def _also_true(scenes: TrainingScenes, picked: np.ndarray, captions: list[Caption]) -> torch.Tensor:
    contents = [(frozenset(scenes.phrases[i]), scenes.backgrounds[i]) for i in picked]
    return torch.tensor([[caption.is_true_of(*content) for caption in captions] for content in contents])


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Write the weights in half precision: half the size, and the maps stay the same to three digits."""
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    _write(path, save(weights))


def _write(path: Path, content: bytes) -> None:
    """Write through a neighbour, so that an interruption leaves the old file or the new one."""
    partial_path = path.with_suffix(".partial")
    partial_path.write_bytes(content)
    os.replace(partial_path, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the options, render, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=_at_least_one, default=149, help="optimiser steps (default %(default)s)")
    parser.add_argument("--batch", type=_at_least_one, default=96, help="scenes a step (default %(default)s)")
    parser.add_argument("--scenes", type=_at_least_one, default=12_000, help="distinct scenes (default %(default)s)")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of scenes, captions and weights (default %(default)s)")
    parser.add_argument("--threads", type=_at_least_one, default=os.cpu_count(), help="default: all, %(default)s")
    parser.add_argument("--out", type=Path, default=MODEL_DIR, help="folder to write (default %(default)s)")
    options = parser.parse_args(arguments)
    if options.batch > options.scenes:
        parser.error(f"Expected --batch to be <= --scenes ({options.scenes}), but got {options.batch}")

    torch.set_num_threads(options.threads)
    write_model_folder(options.out)
    scenes = render_scenes(options.scenes, options.seed, options.threads)
    model = train(scenes, options.out, options.steps, options.batch, options.seed, options.rate)
    save_weights(model, options.out / WEIGHTS_FILE)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"Expected a whole number >= 1, but got {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
