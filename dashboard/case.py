"""The case: everything that is chosen, as one frozen value. `dashboard.state` keeps it per session."""

from dataclasses import dataclass, replace

from surgery import CLASSIC, METHODS, TITLES, Method

CUSTOM = "custom"
"""Name of the free method beside those of `surgery.METHODS`."""

METHOD_NAMES = (*METHODS, CUSTOM)

FIRST_IMAGE = "toy-1"
"""What a newcomer sees: its raw map lights up everything but the object, and CLIP Surgery turns it."""

RANDOM = "random"
"""`Case.weights` of an architecture that is wanted with random weights."""

UPLOAD = "sha256:"
"""`Case.image` of an uploaded image is this and the hash of its file."""

STUDY = "study:"
"""`Case.image` of a picture of a study, see `dashboard.studies.picture_name`."""

FIRST_CUSTOM = Method(attention="vv", blocks=5, mlp=False)

TEMPLATES = ("none", "photo", "clip_surgery", "imagenet")
MAX_PINS = 12
MAX_NAME, MAX_NOTE = 60, 280
PLACES = tuple(map(str, range(1, MAX_PINS + 1)))
"""What pins are called by their place in the drawer."""

Patch = tuple[int, int]
"""Row and column of a patch, from 0."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One case kept in the drawer: all that is needed to compute its map again.

    Attributes:
        model, weights, image, size, templates, feature_surgery, fit, region: as in `Case`.
        prompts: all prompts, since feature surgery depends on the company a prompt is in.
        prompt: index into `prompts`.
        method: name of a preset, or "custom".
        custom: the method behind "custom".
        name, note: what the visitor calls it, and writes to it.
    """

    model: str
    weights: str
    image: str
    size: int | None
    templates: str
    prompts: tuple[str, ...]
    prompt: int
    method: str
    custom: Method
    feature_surgery: bool
    fit: str = "stretch"
    region: str = ""
    name: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """The pinned prompt."""
        return self.prompts[self.prompt]


@dataclass(frozen=True, slots=True)
class Case:
    """What lies on the table and all pages share. Every page reads it; only `dashboard.state` replaces it.

    Attributes:
        model: "toy", an open_clip architecture, or "local:<entry>" of the folder of local checkpoints.
        weights: a tag, "random", or "" where the model carries its own (toy, local).
        image: name of a sample, "sha256:<hash>" of an upload, or "study:<id>:<number>" of a picture of a study.
        prompts: the texts.
        templates: one of `TEMPLATES`.
        caption: the sentence of the Words page; "" for the sample's own, or for the prompts.
        region: "", "object:<phrase>", "mask:<sha256>", "mask:<sha256>#<id>", "box:x0,y0,x1,y1" or
            "polygon:x0,y0,x1,y1,...", in pixels of the image.
        patch: row and column of the chosen patch.
        layer, head: chosen block and head from 0; None for the page's own choice, and for the mean of the heads.
        word: position of the chosen word in the caption: 0 is the start token, 1 the first word, and after the last
            word comes the end token; None for the page's own choice.
        prompt: the text that Flip and Layers examine; "" for the page's own choice, see `examined_prompt`.
        component: label of the chosen component, see `analysis.Component.label`; it counts where it agrees with layer
            and head.
        removed: labels of heads, attention outputs and MLPs that are removed together, see `dashboard.removals`.
        methods: methods shown, in order; names of `surgery.METHODS` or "custom".
        custom: the method behind "custom".
        method_a: the method that pages look at beside CLIP, or alone.
        feature_surgery: whether maps are shown after feature surgery.
        size: side of the model's input in pixels; None for its native size.
        fit: how the image is brought to it, one of `data.geometry.FITS`; what pages show is what the network sees.
        pins: the drawer.
        pair: what the page Compare sets against each other, see `dashboard.pins.slots`.
    """

    model: str = "toy"
    weights: str = ""
    image: str = FIRST_IMAGE
    prompts: tuple[str, ...] = ()
    templates: str = "none"
    caption: str = ""
    region: str = ""
    patch: Patch | None = None
    layer: int | None = None
    head: int | None = None
    word: int | None = None
    prompt: str = ""
    component: str = ""
    removed: tuple[str, ...] = ()
    methods: tuple[str, ...] = (*CLASSIC, CUSTOM)
    custom: Method = FIRST_CUSTOM
    method_a: str = "clip_surgery"
    feature_surgery: bool = False
    size: int | None = None
    fit: str = "stretch"
    pins: tuple[Pin, ...] = ()
    pair: tuple[str, str] = ("", "")

    @property
    def upload(self) -> str | None:
        """The sha256 of the uploaded image; None for a sample."""
        return self.image.removeprefix(UPLOAD) if self.image.startswith(UPLOAD) else None


def method_of(case: Case | Pin, name: str) -> Method:
    """The method called `name` in this case.

    Raises:
        ValueError: there is none.
    """
    if name == CUSTOM:
        return case.custom
    if name not in METHODS:
        raise ValueError(f"Expected method to be one of {', '.join(METHOD_NAMES)}, but got {name!r}")
    return METHODS[name]


def method_title(name: str) -> str:
    """How a method is written on every page."""
    return TITLES.get(name, name)


def examinable_prompts(case: Case) -> tuple[str, ...]:
    """The texts that can be examined: the phrase of an object region first, then the prompts."""
    kind, _, phrase = case.region.partition(":")
    return tuple(dict.fromkeys(((phrase,) if kind == "object" else ()) + case.prompts))


def examined_prompt(case: Case) -> str:
    """The text under examination: the chosen one, else the region's own phrase, else the first prompt.

    Raises:
        ValueError: there is neither a prompt nor an object region.
    """
    choices = examinable_prompts(case)
    if not choices:
        raise ValueError("Expected prompts to hold at least one text, but got none")
    return case.prompt if case.prompt in choices else choices[0]


def is_judged(case: Case, prompt: str) -> bool:
    """Whether the region says where the map of this prompt should light up.

    An object's region speaks of its own phrase only, where that is among the prompts; a drawn one of every prompt.
    """
    kind, _, phrase = case.region.partition(":")
    return kind != "object" or phrase not in case.prompts or phrase == prompt


def describe_method(method: Method) -> str:
    """The five numbers of a method in words: "vv · 5 blocks · residual 1 · alpha 1 · no MLP"."""
    blocks = f"{method.blocks} block{'s' if method.blocks > 1 else ''}"
    mlp = "MLP" if method.mlp else "no MLP"
    return f"{method.attention} · {blocks} · residual {method.residual:g} · alpha {method.alpha:g} · {mlp}"


def describe_region(region: str) -> str:
    """A region in words; user text in it is not escaped."""
    kind, _, value = region.partition(":")
    if kind == "object":
        return value
    if kind == "mask":
        identifier = value.partition("#")[2]
        return f"mask, id {identifier}" if identifier else "mask"
    return {"box": "a drawn box", "polygon": "a drawn outline"}.get(kind, "")


def describe_model(model: str, weights: str) -> str:
    """A model in words: "toy", "ViT-B-16 openai", "ViT-B-16 with random weights"."""
    name = model.removeprefix("local:")
    if weights == RANDOM:
        return f"{name} with random weights"
    return f"{name} {weights}".strip()


def describe_image(image: str) -> str:
    """A sample in words: "scene 3", "china", "picture 17"."""
    if image.startswith(STUDY):
        return f"picture {image.rpartition(':')[2]}"
    return image.replace("toy-", "scene ")


def pin_of(case: Case, prompt: int, method: str, region: str | None = None) -> Pin:
    """The pin of one map of a case.

    Args:
        case: any case.
        prompt: index of one of its prompts.
        method: name of the method.
        region: what this prompt should light up; None for the case's own region.
    """
    return Pin(
        case.model,
        case.weights,
        case.image,
        case.size,
        case.templates,
        case.prompts,
        prompt,
        method,
        case.custom,
        case.feature_surgery,
        case.fit,
        case.region if region is None else region,
    )


def case_of_pin(pin: Pin) -> Case:
    """A case that computes the pinned map."""
    return Case(
        model=pin.model,
        weights=pin.weights,
        image=pin.image,
        size=pin.size,
        fit=pin.fit,
        templates=pin.templates,
        prompts=pin.prompts,
        prompt=pin.text,
        region=pin.region,
        methods=(pin.method,),
        custom=pin.custom,
        feature_surgery=pin.feature_surgery,
    )


def fit_case(
    case: Case,
    *,
    grid: tuple[int, int],
    depth: int,
    heads: int,
    patch_px: tuple[int, int],
    kinds: tuple[str, ...] | None,
) -> Case:
    """Drops what has no meaning for the model and image at hand.

    Args:
        case: any case.
        grid: rows and columns of patches.
        depth: number of blocks.
        heads: number of heads per block.
        patch_px: height and width of a patch in pixels.
        kinds: the attention kinds the tower knows; None for all.

    Returns:
        The case itself where everything fits.
    """
    changes: dict[str, object] = {}
    if case.patch is not None and not (0 <= case.patch[0] < grid[0] and 0 <= case.patch[1] < grid[1]):
        changes["patch"] = None
    if case.layer is not None and not 0 <= case.layer < depth:
        changes["layer"] = None
    if case.head is not None and not 0 <= case.head < heads:
        changes["head"] = None
    if case.size is not None and (case.size < 1 or any(case.size % side for side in patch_px)):
        changes["size"] = None
    custom = case.custom
    if custom.blocks > depth:
        custom = replace(custom, blocks=depth)
    if kinds is not None and custom.attention not in kinds:
        custom = replace(custom, attention=kinds[0])
    if custom != case.custom:
        changes["custom"] = custom
    return replace(case, **changes) if changes else case
