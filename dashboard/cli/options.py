"""Options that several commands share, and what they mean."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dashboard.cli.console import UsageError, bar, say, usage_errors
from data.texts import check_unicode

if TYPE_CHECKING:
    from torch import Tensor

    from data.images import LoadedImage
    from surgery import Method, Model
    from surgery.towers import Tower
    from surgery.words import PromptCut

RANDOM_SEED = 0
IMAGE_PANEL = "Image and methods"
REGION_PANEL = "Region that should light up"

OneImage = Annotated[str, typer.Argument(metavar="IMAGE", help="A file, or a sample: toy-0 to toy-11, china, flower.")]
OnePrompt = Annotated[str, typer.Option("--text", "-t", help="The prompt, taken as it is.", rich_help_panel="Prompts")]
MaskFile = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        dir_okay=False,
        help="PNG of the image's size: 0 background, 255 unknown.",
        rich_help_panel=REGION_PANEL,
    ),
]
ClassId = Annotated[
    int | None,
    typer.Option("--class", min=0, max=65535, help="Id in a mask of classes.", rich_help_panel=REGION_PANEL),
]
RegionBox = Annotated[
    str | None,
    typer.Option("--box", metavar="X0,Y0,X1,Y1", help="In pixels of the image.", rich_help_panel=REGION_PANEL),
]

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="toy (embedded, no download), an open_clip name, hf-hub:org/repo or local-dir:folder.",
        rich_help_panel="Model",
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--pretrained",
        metavar="TAG|FILE",
        help="Tag of open_clip (openai, ...; clip-theatre models lists them), or a .safetensors or .pt file.",
        rich_help_panel="Model",
    ),
]
RandomWeights = Annotated[
    bool,
    typer.Option(
        "--random-weights",
        help=f"Run the architecture without weights (seed {RANDOM_SEED}): tries the plumbing, knows nothing.",
        rich_help_panel="Model",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel="Model")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32, fp16, bf16 or fp64.", rich_help_panel="Model")]
Texts = Annotated[
    list[str],
    typer.Option(
        "--text",
        "-t",
        help="Prompts, separated by commas; repeatable. A prompt with commas goes in double quotes.",
        rich_help_panel="Prompts",
    ),
]
Templates = Annotated[
    str,
    typer.Option(
        "--templates",
        help="Sentences around each prompt: none, photo, imagenet or clip_surgery.",
        rich_help_panel="Prompts",
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        "-s",
        metavar="N|HxW",
        help="Input in pixels, a multiple of the patch, stretched to it; default: what the model was trained on.",
        rich_help_panel=IMAGE_PANEL,
    ),
]

Fit = Annotated[
    str,
    typer.Option(
        "--fit",
        metavar="stretch|crop|letterbox",
        help="stretch the image over the input, crop its middle (as most CLIPs were trained), or keep its shape on a "
        "grid of its own, --size then being the longer side.",
        rich_help_panel=IMAGE_PANEL,
    ),
]

MethodNames = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="clip, maskclip, clip_surgery, sclip, gem, naclip or clearclip, repeatable; default: all of these that "
        "have a meaning for the model. Also cliptrase, tagclip, itaclip, resclip, sc_clip. Variants: clearclip:alpha=2 "
        "(fields: attention, blocks, residual, alpha, mlp, position_interpolation, steps).",
        rich_help_panel=IMAGE_PANEL,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", file_okay=False, help="Folder for the files.", rich_help_panel="Output")
]


def carries_weights(name: str) -> bool:
    """Whether a model name says itself where the weights are."""
    return name == "toy" or name.startswith(("hf-hub:", "local-dir:"))


def load_chosen(name: str, pretrained: str | None, random_weights: bool, device: str, precision: str) -> "Model":
    """Loads what the options name.

    Raises:
        UsageError: they contradict each other, or name nothing that can be loaded.
        OSError: weights are missing and cannot be downloaded.
    """
    with bar(f"Loading {name}"), usage_errors():
        import torch

        from surgery import load_model

        check_weights(name, pretrained, random_weights)
        weights = "random" if random_weights else pretrained
        download = _download_note(name, weights)
        if download is None:
            torch.manual_seed(RANDOM_SEED)
            with _missing_weights():
                return load_model(name, weights, device=device, precision=precision)
    say(download)  # outside of the bar: the download draws its own
    with usage_errors(), _missing_weights():
        return load_model(name, weights, device=device, precision=precision)


@contextmanager
def _missing_weights() -> Iterator[None]:
    """What the package says of weights that cannot be had, in the words of the command line."""
    from surgery import WeightsNotFound

    try:
        yield
    except WeightsNotFound as error:
        instead = "--model local-dir:FOLDER"
        if error.architecture is not None:
            instead = f"--model {error.architecture} --pretrained FILE"
        raise FileNotFoundError(
            f"Expected {error.what} to be here or to be downloaded, but got: {error.reason}. "
            f"With a copy of the weights on this machine: {instead}"
        ) from error


def check_weights(name: str, pretrained: str | None, random_weights: bool) -> None:
    """Refuses options that contradict each other, or an architecture without a word on weights, as a wrong command."""
    if random_weights and (pretrained is not None or carries_weights(name)):
        other = f"--pretrained {pretrained}" if pretrained is not None else f"{name}, which carries its weights"
        raise UsageError(f"Expected --random-weights without other weights, but got {other}")
    if random_weights or pretrained is not None or carries_weights(name):
        return
    from surgery.catalog import describe

    info = describe(name.replace("/", "-"))
    if not info.supported:
        raise UsageError(f"Expected a model that can be operated on, but got {name}: {info.reason}")
    tags = ", ".join(tag.tag + (" (here)" if tag.cached else "") for tag in info.tags) or "it has none"
    raise UsageError(
        f"Expected --pretrained TAG ({tags}), a file, or --random-weights for {name}, but got none of them"
    )


def _download_note(name: str, pretrained: str | None) -> str | None:
    """What to say before a download; None where there is none to expect, or where loading will say what is wrong."""
    from surgery.catalog import describe

    if pretrained is None or carries_weights(name) or Path(pretrained).is_file():
        return None
    try:
        tags = {tag.tag: tag for tag in describe(name.replace("/", "-")).tags}
    except ValueError:
        return None
    tag = tags.get(pretrained)
    if tag is None or tag.cached:
        return None
    size = "" if tag.download_mb is None else f", about {tag.download_mb} MB"
    return f"Note: the weights {pretrained} of {name} are not on this machine and will be downloaded{size}"


def describe_weights(model: "Model") -> str:
    """The model's weights in words."""
    if model.pretrained is None:
        return f"random, seed {RANDOM_SEED}"
    return "embedded" if model.name == "toy" else str(model.pretrained)


def split_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """All prompts of all --text options, in order, each once.

    Raises:
        UsageError: an empty prompt, or a quote that is not closed.
    """
    from surgery.prompts import split_prompts

    with usage_errors():
        return tuple(dict.fromkeys(prompt for text in texts for prompt in split_prompts(check_unicode(text, "--text"))))


def announce_cuts(model: "Model", prompts: Sequence[str], templates: str) -> tuple["PromptCut", ...]:
    """The prompts that are longer than the model reads, each of which is announced."""
    from surgery.words import PromptCutWarning, prompt_cut

    warnings.simplefilter("ignore", PromptCutWarning)  # said here, once and on one line
    cuts = tuple(cut for prompt in prompts if (cut := prompt_cut(model, prompt, templates)) is not None)
    for cut in cuts:
        say(f"Note: {cut}")
    return cuts


def announce_limits(model: str, prompts: Sequence[str], images: Sequence[str]) -> None:
    """Says what of these prompts, and that these images, the toy has never seen, where it is the model."""
    from data.toy import describe_limits

    note = describe_limits(prompts, images) if model == "toy" else None
    if note is not None:
        say(f"Note: {note}")


def encode_prompts(model: "Model", prompts: Sequence[str], templates: str) -> "Tensor":
    """Text features (t, d), with a bar."""
    from surgery.text import encode_text

    with bar("Encoding prompts", total=len(prompts)) as advance:
        return encode_text(model, prompts, templates, progress=lambda done, total: advance(done))


def check_prompt(text: str) -> None:
    """Refuses as a wrong command a prompt that says nothing or is no text."""
    if not text.strip():
        raise UsageError(f"Expected --text to be a non-empty prompt, but got {text!r}")
    with usage_errors():
        check_unicode(text, "--text")


def check_templates(name: str) -> None:
    """Refuses an unknown name as a wrong command."""
    from surgery.prompts import resolve_templates

    with usage_errors():
        resolve_templates(name)


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """A side or (height, width) in pixels; None where nothing was given.

    Raises:
        UsageError: neither a side nor two.

    >>> parse_size("112x224")
    (112, 224)
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})(?:[xX]([0-9]{1,5}))?", text.strip())
    if match is None:
        raise UsageError(f"Expected --size to be a side in pixels or HEIGHTxWIDTH (224, 224x336), but got {text!r}")
    return (int(match[1]), int(match[2])) if match[2] else int(match[1])


def check_size(model: "Model", size: int | tuple[int, int] | None, fit: str) -> None:
    """Refuses as a wrong command a size that is no multiple of the patch or takes more memory than there is, and an
    unknown fit."""
    from surgery.memory import check_fits

    with usage_errors():
        check_fits(model, model.framing((1, 1), size, fit).input_px)


def announce_reduced(image: "LoadedImage") -> None:
    """Says that a very large JPEG was reduced, since boxes and masks are in pixels of what it became."""
    if image.reduced > 1:
        height, width = image.size_px
        say(f"Note: {image.name} was reduced by {image.reduced} to {width} x {height} pixels while it was decoded")


def choose_methods(tower: "Tower", texts: Sequence[str]) -> dict[str, "Method"]:
    """Name -> method, fitted to the tower: the named ones, or the classic presets that have a meaning for it.

    Raises:
        UsageError: a name that is none, a field out of range, or a method without a meaning for the tower.
    """
    from surgery import CLASSIC, TITLES, usable_methods
    from surgery.dense import fit_method
    from surgery.method_names import parse_method

    if not texts:
        usable = usable_methods(tower)
        left_out = [TITLES[name] for name in CLASSIC if name not in usable]
        if left_out:
            say(f"Note: without a meaning for this tower, so left out: {', '.join(left_out)}")
        return {name: fit_method(tower, method) for name, method in usable.items()}
    with usage_errors():
        return {text.strip(): fit_method(tower, parse_method(text)) for text in texts}


def title_of(name: str) -> str:
    """How a method given as `name` is written in pictures.

    >>> title_of("clearclip:alpha=2,residual=1")
    'ClearCLIP, alpha 2, residual 1'
    """
    from surgery import TITLES

    preset, *changes = re.split("[:,]", name)
    return ", ".join([TITLES[preset], *(change.replace("=", " ") for change in changes)])
