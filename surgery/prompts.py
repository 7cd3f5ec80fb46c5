"""Prompt templates, label sets, and prompts as people type them."""

import difflib
import re
from collections.abc import Sequence

from open_clip import OPENAI_IMAGENET_TEMPLATES

SLOT = "{}"
IMAGENET_TEMPLATES: tuple[str, ...] = tuple(template(SLOT) for template in OPENAI_IMAGENET_TEMPLATES)
SCENE_TEMPLATES: tuple[str, ...] = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)

TEMPLATE_SETS: dict[str, tuple[str, ...]] = {
    "none": (SLOT,),
    "photo": ("a photo of a {}.",),
    # Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020
    "imagenet": IMAGENET_TEMPLATES,
    # Li et al. 2023, "CLIP Surgery", arXiv 2304.05653; the last five are those of ViLD, Gu et al. 2022
    "clip_surgery": IMAGENET_TEMPLATES + SCENE_TEMPLATES,
}

_VOC20 = (
    "aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse, motorbike, person, "
    "potted plant, sheep, sofa, train, tv monitor"
)
_CONTEXT59 = (
    "aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car, cat, "
    "ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, ground, horse, "
    "keyboard, light, motorbike, mountain, mouse, person, plate, platform, potted plant, road, rock, sheep, shelves, "
    "sidewalk, sign, sky, snow, sofa, table, track, train, tree, truck, tv monitor, wall, water, window, wood"
)
_COCO80 = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)
_CITYSCAPES19 = (
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, "
    "rider, car, truck, bus, train, motorcycle, bicycle"
)

LABEL_SETS: dict[str, tuple[str, ...]] = {
    "voc20": tuple(_VOC20.split(", ")),
    "voc21": ("background", *_VOC20.split(", ")),
    "context59": tuple(_CONTEXT59.split(", ")),
    "coco80": tuple(_COCO80.split(", ")),
    "cityscapes19": tuple(_CITYSCAPES19.split(", ")),
}
"""Class names in the data sets' own order, run-together names written as words: PASCAL VOC 2012 without and with the
background, PASCAL Context (the 59 frequent classes), COCO's 80 things, the 19 evaluated classes of Cityscapes."""

# One prompt and its separator: quoted (commas allowed, "" is a quote), or up to the next comma.
_ITEM = re.compile(r'\s*+(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>(?!")[^,]*))\s*(?P<separator>,|\Z)')


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """The template strings that are meant, each with one "{}" where the text goes.

    Args:
        templates: the name of a set in `TEMPLATE_SETS`, or a list of strings with exactly one "{}" each.

    Raises:
        ValueError: an unknown name, an empty list, or a template without exactly one "{}".
        TypeError: a template that is not a string.

    >>> resolve_templates("photo")
    ('a photo of a {}.',)
    """
    if isinstance(templates, str):
        return _template_set(templates)
    templates = tuple(templates)
    if not templates:
        raise ValueError("Expected templates to hold at least one template, but got none")
    for template in templates:
        if not isinstance(template, str):
            raise TypeError(f"Expected every template to be a string, but got {template!r}")
        if template.count(SLOT) != 1:
            raise ValueError(f'Expected every template to hold exactly one "{SLOT}", but got {template!r}')
    return templates


def _template_set(name: str) -> tuple[str, ...]:
    if name in TEMPLATE_SETS:
        return TEMPLATE_SETS[name]
    near = difflib.get_close_matches(name.lower(), TEMPLATE_SETS, n=1)
    hint = f" (nearest: {near[0]})" if near else ""
    raise ValueError(
        f'Expected templates to be one of {", ".join(TEMPLATE_SETS)}, or a list of strings with one "{SLOT}" each, '
        f"but got {name!r}{hint}"
    )


def fill_template(template: str, text: str) -> str:
    """The template with the text in its slot; braces in the text have no meaning."""
    return template.replace(SLOT, text)


def split_prompts(text: str) -> tuple[str, ...]:
    """Prompts from one line, separated by commas; a prompt with commas of its own goes in double quotes.

    Args:
        text: for example 'a red circle, grass, "a cat, asleep"'.

    Returns:
        The prompts without surrounding spaces, in order, each once.

    Raises:
        ValueError: an empty prompt, or a quote that is not closed.

    >>> split_prompts('a red circle, "a cat, asleep", grass, grass')
    ('a red circle', 'a cat, asleep', 'grass')
    """
    prompts: dict[str, None] = {}
    position = 0
    while True:
        item = _ITEM.match(text, position)
        if item is None:
            raise ValueError(
                f"Expected a quoted prompt to end with a quote and a comma, but got {text[position:].strip()!r}"
            )
        quoted = item["quoted"]
        prompt = (item["plain"] if quoted is None else quoted.replace('""', '"')).strip()
        if not prompt:
            raise ValueError(f"Expected every prompt to be non-empty text, but got {item[0].strip()!r} in {text!r}")
        prompts[prompt] = None
        if not item["separator"]:
            return tuple(prompts)
        position = item.end()
