"""Every dense-inference method of the CLIP family as one point in a small space of numbers.

A method walks the last `blocks` blocks of the recorded original path (open_clip, pre-norm):

    acc = x_{L-n}
    for l in L-n+1 .. L:
        acc = residual * acc + alpha * Attn_l[attention](ln_1(x_{l-1}))
        if mlp: acc = acc + MLP_l(ln_2(acc))
    dense features = read-out(acc)

`surgery.dense` carries this out; here are only the numbers and where they were published.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from surgery.mixtures import parse_mixture, reach
from surgery.steps import Steps, parse_steps

PositionInterpolation = Literal["bicubic", "bilinear", "bicubic_antialias", "bicubic_size"]
POSITION_INTERPOLATIONS: tuple[str, ...] = get_args(PositionInterpolation)


@dataclass(frozen=True, slots=True)
class Method:
    """One way of reading dense features out of a recorded pass. Use `dataclasses.replace` for variants.

    Attributes:
        attention: kind of attention, see `surgery.attention.parse_kind`: "qk", "vv", "qq", "kk", "identity"
            (value only), "gem", or a sum of softmaxes such as "qq+kk", with an optional "+gaussian"; or a mixture of
            several kinds and blocks such as "0.5*qq + 0.5*qq@-6..-3", see `surgery.mixtures`.
        blocks: number n >= 1 of last blocks that are walked again.
        residual: factor of the running sum at every walked block; 1 keeps the residual, 0 drops it.
        alpha: factor of the attention output (ClearCLIP, section 3: X_sum = X_res + alpha * X_attn).
        mlp: whether each walked block adds its MLP.
        position_interpolation: how the position embedding is brought to another grid than the native one.
        steps: what is done around one attention among patches, see `surgery.steps`; "" for nothing. Needs 1 block,
            residual 0 and no MLP.

    Raises:
        ValueError: a field is out of range; the message names it, its value and the valid choices.
    """

    attention: str = "qk"
    blocks: int = 1
    residual: float = 1.0
    alpha: float = 1.0
    mlp: bool = True
    position_interpolation: PositionInterpolation = "bicubic"
    steps: str = ""

    def __post_init__(self) -> None:
        parse_mixture(self.attention)
        if isinstance(self.blocks, bool) or not isinstance(self.blocks, int) or self.blocks < 1:
            raise ValueError(f"Expected blocks to be a whole number of at least 1, but got {self.blocks!r}")
        for name in ("residual", "alpha"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"Expected {name} to be a finite number, but got {value!r}")
        if not isinstance(self.mlp, bool):
            raise ValueError(f"Expected mlp to be True or False, but got {self.mlp!r}")
        if self.position_interpolation not in POSITION_INTERPOLATIONS:
            raise ValueError(
                f"Expected position_interpolation to be one of {', '.join(POSITION_INTERPOLATIONS)}, "
                f"but got {self.position_interpolation!r}"
            )
        if parse_steps(self.steps) is not None and (self.blocks != 1 or self.residual or self.mlp):
            raise ValueError(
                f"Expected blocks 1, residual 0 and mlp False for a method with steps, but got blocks {self.blocks}, "
                f"residual {self.residual:g} and mlp {self.mlp}"
            )

    @property
    def parsed_steps(self) -> Steps | None:
        """What is done around the attention, None for nothing."""
        return parse_steps(self.steps)

    @property
    def follows_original(self) -> bool:
        """Whether the walk retraces the original path, so that its end is the recorded x_L itself."""
        return self.attention == "qk" and self.residual == 1 and self.alpha == 1 and self.mlp

    @property
    def reach(self) -> int:
        """How many last blocks of a recorded pass it needs."""
        steps = self.parsed_steps
        return max(self.blocks, reach(parse_mixture(self.attention)), 0 if steps is None else steps.reach)


METHODS: dict[str, Method] = {
    # Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020
    "clip": Method(),
    # Zhou et al. 2022, "Extract Free Dense Labels from CLIP", arXiv 2112.01071
    "maskclip": Method(attention="identity"),
    # Li et al. 2023, "CLIP Surgery", arXiv 2304.05653: "CLIP Surgery for Better Explainability with Enhancement in
    # Open-Vocabulary Tasks" (version 1, 2023), "A Closer Look at the Explainability of Contrastive Language-Image
    # Pre-training" (version 2, 2024). Here its parts are cited by subject, not by the numbers of one version.
    "clip_surgery": Method(attention="vv", blocks=6, mlp=False, position_interpolation="bilinear"),
    # Wang et al. 2023, "SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference", arXiv 2312.01597
    "sclip": Method(attention="qq+kk"),
    # Bousselham et al. 2023, "Grounding Everything: Emerging Localization Properties in VLMs", arXiv 2312.00878
    "gem": Method(attention="gem", blocks=6, mlp=False, position_interpolation="bicubic_antialias"),
    # Hajimiri et al. 2024, "Pay Attention to Your Neighbours", arXiv 2404.08181
    "naclip": Method(attention="kk+gaussian", residual=0.0, mlp=False),
    # Lan et al. 2024, "ClearCLIP: Decomposing CLIP Representations for Dense Inference", arXiv 2407.12442
    "clearclip": Method(attention="qq", residual=0.0, mlp=False),
    # Shao et al. 2024, "Explore the Potential of CLIP for Training-Free Open Vocabulary Semantic Segmentation"
    # (CLIPtrase), arXiv 2407.08268: its features, without the clustering
    "cliptrase": Method(attention="qq+kk+vv"),
    # Lin et al. 2024, "TagCLIP", arXiv 2312.12828: its features, without the refinement by affinity
    "tagclip": Method(attention="identity", position_interpolation="bilinear"),
    # Aydin et al. 2025, "ITACLIP", arXiv 2411.12044: the image encoder, blocks 7, 8 and 10 of 12 beside the last; its
    # code keeps the residual and drops the MLP
    "itaclip": Method(attention="0.5*qq+kk + 0.5*qq+kk@-6..-5|-3", mlp=False),
    # Yang et al. 2025, "ResCLIP", arXiv 2411.15851: RCS (temperature 2, weight 0.3) on NACLIP, blocks 6 to 9
    # of 12
    "resclip": Method(attention="1.4*kk+gaussian + 0.6*qk@-7..-4", residual=0.0, mlp=False),
    # Bai et al. 2024, "Self-Calibrated CLIP", arXiv 2411.15869: blocks 4, 9 and 4 to 10 of 12
    "sc_clip": Method(
        attention="0.5*sim@-4 + 0.5*kk",
        residual=0.0,
        mlp=False,
        steps="repair + before@-4 + levels@-9..-3 + cls*0.3 + after@-9",
    ),
}

CLASSIC: tuple[str, ...] = ("clip", "maskclip", "clip_surgery", "sclip", "gem", "naclip", "clearclip")
"""The seven that are shown and compared unless others are chosen."""

TITLES: dict[str, str] = {
    "clip": "CLIP",
    "maskclip": "MaskCLIP",
    "clip_surgery": "CLIP Surgery",
    "sclip": "SCLIP",
    "gem": "GEM",
    "naclip": "NACLIP",
    "clearclip": "ClearCLIP",
    "cliptrase": "CLIPtrase",
    "tagclip": "TagCLIP",
    "itaclip": "ITACLIP",
    "resclip": "ResCLIP",
    "sc_clip": "SC-CLIP",
}
"""How the papers write the names of `METHODS`."""


def get_method(method: Method | str) -> Method:
    """The preset of a name; a `Method` is returned as it is.

    Raises:
        ValueError: there is no preset of this name; the message lists the valid ones.
        TypeError: neither a method nor a name.
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        raise TypeError(f"Expected method to be a Method or one of {', '.join(METHODS)}, but got {method!r}")
    if method not in METHODS:
        raise ValueError(f"Expected method to be one of {', '.join(METHODS)}, but got {method!r}")
    return METHODS[method]
