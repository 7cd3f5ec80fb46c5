"""Which protocol the measure "segmentation" follows, by name."""

from analysis.evaluation.presets import PROTOCOLS, class_texts
from analysis.evaluation.protocols import ClassTexts, Protocol

MAPS = "maps"
"""The study's own maps at its own input size, one pass for all measures."""


def study_protocol(name: str) -> Protocol | None:
    """The protocol of a name such as "common:voc20", a preset's method and data set; None for "maps".

    Raises:
        ValueError: no such preset.
    """
    if name == MAPS:
        return None
    method, _, data_set = name.partition(":")
    if (method, data_set) not in PROTOCOLS:
        methods, sets = (dict.fromkeys(key[place] for key in PROTOCOLS) for place in (0, 1))
        raise ValueError(
            f"Expected protocol to be {MAPS} or METHOD:SET with a method of {', '.join(methods)} and a set of "
            f"{', '.join(sets)}, but got {name!r}"
        )
    return PROTOCOLS[method, data_set]


def study_texts(name: str, data_set: str) -> ClassTexts | None:
    """The class file that belongs to a protocol, where the study is on its own data set; None elsewhere.

    Args:
        name: of the protocol.
        data_set: name of the data set, such as "voc20".
    """
    method, _, own = name.partition(":")
    return class_texts(method, own) if own and own == data_set else None
