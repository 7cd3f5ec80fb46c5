"""What a form gives when it is loaded: python -m tests.checkpoints.measure writes the tables of docs/checkpoints.md."""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import normalize

from surgery import METHODS, Model, encode_dense, load_model
from tests.checkpoints.forms import FORMS, Form
from tests.checkpoints.refusals import REFUSALS, Refusal
from tests.checkpoints.sources import TEXTS, pixels, register, siglip_ids, siglip_model

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


@dataclass(frozen=True, slots=True)
class Difference:
    """Largest difference of unit features to the source model; `text` None for an image tower."""

    image: float
    text: float | None


def load(form: Form, folder: Path) -> Model:
    register()
    name, pretrained = form.make(folder)
    return load_model(name, pretrained, device="cpu", **form.options)


@torch.inference_mode()
def difference(model: Model, form: Form) -> Difference:
    """Compares the loaded model with the source, both through their own code."""
    source = form.of()
    given = pixels(source.size_px)
    image = normalize(model.clip.encode_image(given), dim=-1)
    traced = normalize(encode_dense(model, given, METHODS["clip"]).cls, dim=-1)
    worst = max(float((one - source.image).abs().max()) for one in (image, traced))
    if form.image_only:
        return Difference(worst, None)
    if form.of is siglip_model:
        text = normalize(model.clip.encode_text(siglip_ids()), dim=-1)
    else:
        text = model.encode_text(list(TEXTS))
    return Difference(worst, float((text - source.text).abs().max()))


def refusal_of(refusal: Refusal, folder: Path) -> str:
    """The error, in full."""
    register()
    name, pretrained = refusal.make(folder)
    try:
        load_model(name, pretrained, device="cpu", activation=None if pretrained is None else "gelu")
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    raise AssertionError(f"{refusal.title} was loaded")


def tables() -> str:
    rows = ["| form | loads | image | text | |", "|---|---|---|---|---|"]
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = difference(load(form, Path(folder)), form)
        text = "none" if found.text is None else f"{found.text:.0e}"
        rows.append(f"| {form.title} | yes | {found.image:.0e} | {text} | {form.note} |")
    rows += ["", "| form | refused: what the error says or advises |", "|---|---|"]
    for refusal in REFUSALS:
        with tempfile.TemporaryDirectory() as folder:
            refusal_of(refusal, Path(folder))
        rows.append(f"| {refusal.title} | {refusal.advice} |")
    return "\n".join(rows)


if __name__ == "__main__":
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}", encoding="utf-8")
    print(f"wrote the tables of {DOCUMENT}")
