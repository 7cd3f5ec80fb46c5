"""Masks of the Maps page as lines of Python."""

from dashboard.case import Case
from dashboard.pages.maps.settings import WALKER, MapsSettings
from dashboard.snippets import Script, import_methods, join, python_case, python_empty, python_method


def python_masks(case: Case, own: MapsSettings, prompt: str) -> str:
    """`found`, candidates of every object, the best first; `found[0].best` is (H, W) bool."""
    imports = ["import numpy as np", "from surgery import encode_dense, feature_surgery"]
    imports += import_methods([case.method_a])
    redundant = ", redundant=empty" if len(case.prompts) == 1 else ""
    body = [
        *python_empty(case),
        f"features = encode_dense(model, pixels, {python_method(case, case.method_a)})",
        f"maps = feature_surgery(features, text{redundant}).patches[0].float().cpu().numpy()  # (gh, gw, t)",
        f"rgb, map_ = np.asarray(image), maps[..., {case.prompts.index(prompt)}]",
    ]
    segmenter = "None"
    if own.mask_with != WALKER:
        imports.append("from analysis.segment_anything import load_segment_anything")
        body.append(f"segmenter = load_segment_anything({own.mask_with!r}, model.device, download=True)")
        segmenter = "segmenter"
    if own.mask_points or own.mask_box:
        drawn = _python_drawn(own, segmenter)
        imports += drawn.imports
        body += drawn.body
    else:
        imports.append("from analysis.masks import masks_of_map")
        given = f"{own.mask_cut:g}, floor={own.threshold!r}, segmenter={segmenter}, boxes=True"
        body.append(f"found = masks_of_map(rgb, map_, {given})")
    body.append("for one in found:")
    body.append('    print(one.source, one.scores.round(2), f"{one.best.mean():.1%} of the image")')
    return join(python_case(case, "text", "pixels"), imports, body)


def _python_drawn(own: MapsSettings, segmenter: str) -> Script:
    """The object of points and a box that were set by hand; the walker takes a missing side from the map."""
    points, imports, body, walks = "None", [], [], segmenter == "None"
    if own.mask_points:
        rows = [list(point) for point in own.mask_points]
        imports.append("from surgery import PromptPoints")
        body.append(f"rows = np.array({rows!r})  # x, y, and 1 on the object or 0 off it")
        body.append("points = PromptPoints(rows[:, :2], rows[:, 2])")
        points = "points"
        if walks and own.mask_box is None:
            imports.append("from analysis.masks import complete_points")
            given = f"{own.mask_cut:g}, {own.threshold!r}"
            points = f"complete_points(points, map_, rgb.shape[:2], {given})"
    if walks:
        imports.append("from analysis.masks import random_walker_masks")
    call = "random_walker_masks" if walks else f"{segmenter}.masks"
    body.append(f"found = [{call}(rgb, {points}, {own.mask_box!r})]")
    return Script(tuple(imports), tuple(body))
