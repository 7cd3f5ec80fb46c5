"""What can be taken away from the Words page: maps of all words, the numbers, every array."""

import io
import json
from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis.text_gradients import TokenGradients
from dashboard import services
from dashboard.case import Case, describe_image, describe_model, method_title
from dashboard.overview import overview_png
from dashboard.pages.words.results import STEPS, WordValues, caption_of, token_problem
from dashboard.pages.words.settings import WordsSettings
from dashboard.panels.page import Exports, File
from dashboard.snippets import import_methods, join, python_case, python_method
from data.store import to_csv

KINDS = {"left_out": "cosine lost without the word", "tokens": "feature surgery", "cosine": "cosine"}


def words_exports(
    case: Case, own: WordsSettings, values: WordValues, left_out: WordValues, gradients: TokenGradients | None
) -> Exports:
    """The exports of the page; files are made when they are asked for."""
    photo = services.image(case).rgb
    return Exports(
        python=python_words(case, values.measure, caption_of(case), gradients is not None and not token_problem(case)),
        files={
            "PNG, the map of every word": File("words.png", lambda: words_png(case, values, photo)),
            "CSV, a row a patch": File("words.csv", lambda: to_csv(words_table(values))),
            "NPZ, all arrays": File("words.npz", lambda: words_npz(values, left_out, gradients)),
            "JSON, settings and words": File("words.json", lambda: words_json(case, own, values, left_out, gradients)),
        },
    )


def known_units(values: WordValues) -> list[int]:
    """Positions of the units that the measure gives a value."""
    return np.flatnonzero(np.isfinite(values.image)).tolist()


def words_png(case: Case, values: WordValues, photo: np.ndarray) -> bytes:
    """The maps of all units on one scale, a row a unit."""
    kept = known_units(values)
    return overview_png(
        photo,
        np.moveaxis(values.patches[..., kept], -1, 0)[None],  # (1, u, gh, gw)
        [values.units[index] for index in kept],
        [method_title(case.method_a)],
        title=f"{describe_model(case.model, case.weights)} · {describe_image(case.image)[:20]}",
        unit="cosine",
        settings=f"{KINDS[values.measure]}; {values.caption.text}",
    )


def words_table(values: WordValues) -> pd.DataFrame:
    """One row per unit and patch: position, unit, row, column, value."""
    rows, columns = np.indices(values.patches.shape[:2]).reshape(2, -1)
    frames = [
        pd.DataFrame(
            {
                "position": index,
                "unit": values.units[index],
                "row": rows,
                "column": columns,
                "value": values.patches[..., index].ravel(),
            }
        )
        for index in known_units(values)
    ]
    return pd.concat(frames, ignore_index=True)


def words_npz(values: WordValues, left_out: WordValues, gradients: TokenGradients | None) -> bytes:
    """Units, image (u,), patches (gh, gw, u) of the measure shown; what leaving out and gradients say of the image."""
    arrays = {"units": np.array(values.units), "image": values.image, "patches": values.patches}
    arrays |= {"left_out_image": left_out.image, "left_out_patches": left_out.patches}
    if gradients is not None:
        arrays["gradients"] = gradients.words
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def words_json(
    case: Case, own: WordsSettings, values: WordValues, left_out: WordValues, gradients: TokenGradients | None
) -> bytes:
    """Every setting, and per unit its relevance to the image under each measure that was computed."""
    inner = {} if gradients is None else dict(enumerate(gradients.words.tolist(), start=1))
    units = [
        {
            "position": index,
            "unit": name,
            KINDS[values.measure]: _number(values.image[index]),
            KINDS["left_out"]: _number(left_out.image[index]),
            "integrated gradients": inner.get(index),
        }
        for index, name in enumerate(values.units)
    ]
    content: dict[str, object] = {"case": asdict(case), "settings": asdict(own)}
    content |= {"caption": values.caption.text, "units": units}
    if gradients is not None:
        content |= {"value": gradients.value, "baseline": gradients.baseline, "completeness_gap": gradients.gap}
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def python_words(case: Case, measure: str, caption: str, gradients: bool) -> str:
    """`relevance` (w,) of the words under the measure shown, and integrated gradients where they are shown."""
    imports = ["from surgery import encode_dense", *import_methods([case.method_a])]
    body = [
        f"caption = {caption!r}",
        f"method = {python_method(case, case.method_a)}",
        "features = encode_dense(model, pixels, method)",
    ]
    place = "" if case.patch is None else f", {case.patch[0]}, {case.patch[1]}"
    if measure == "left_out":
        imports.append("from analysis import leave_one_word_out")
        body.append("found = leave_one_word_out(model, features, caption)  # .cls_drop (1, w), .patch_drop")
        relevance = f"found.{'patch' if place else 'cls'}_drop[0{place}]"
    else:
        imports.append("from analysis import compute_token_relevance")
        removal = measure == "tokens"
        body.append(f"found = compute_token_relevance(model, features, caption, remove_redundancy={removal})")
        relevance = f"found.caption.per_word(found.{'patches' if place else 'cls'}[0{place}])"
    where = f"patch row {case.patch[0]}, column {case.patch[1]}" if place else "the whole image"
    body += [
        "words = [word.text for word in found.caption.words]",
        f"relevance = {relevance}  # (w,) to {where}",
        'print(*(f"{word} {value:+.4f}" for word, value in zip(words, relevance, strict=True)), sep="\\n")',
    ]
    if gradients:
        imports.append("from analysis import integrated_gradients")
        body.append(f"gradients = integrated_gradients(model, features, caption, steps={STEPS})  # .words (w,), .gap")
        body.append('print("gradients", gradients.words.round(3), f"completeness gap {gradients.gap:+.1e}")')
    return join(python_case(case, "pixels"), imports, body)
