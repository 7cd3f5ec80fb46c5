"""What a page sets for itself alone, beside the case that all pages share, and the two together: a view.

@dataclass(frozen=True, slots=True)
class FlipSettings(Settings):
    PAGE = "flip"
    FIELDS = {"ablate": switch("ablate")}           # in the address as flip.ablate
    ablate: bool = False

`dashboard.state` keeps the settings of a session; `state.settings(FlipSettings)` reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self, TypeVar

from dashboard.case import Case
from dashboard.fields import Field


@dataclass(frozen=True, slots=True)
class Settings:
    """A page's own settings: a frozen dataclass whose fields all have defaults.

    Attributes:
        PAGE: name of the page, and the prefix in the address.
        FIELDS: name of a field -> how it stands in the address.
    """

    PAGE: ClassVar[str] = ""
    FIELDS: ClassVar[Mapping[str, Field]] = {}

    def fitted(self, grid: tuple[int, int]) -> Self:
        """Without what has no meaning on a grid of rows and columns of patches."""
        return self

    def of_new_image(self) -> Self:
        """Without what belongs to the image that is leaving."""
        return self


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class View:
    """All that an address says.

    Attributes:
        case: what pages share.
        settings: what pages set for themselves; those at their defaults are left out, the others in order of pages.
    """

    case: Case = field(default_factory=Case)
    settings: tuple[Settings, ...] = ()

    def __post_init__(self) -> None:
        kept = sorted((found for found in self.settings if found != type(found)()), key=lambda found: found.PAGE)
        object.__setattr__(self, "settings", tuple(kept))

    def of(self, kind: type[S]) -> S:
        """The settings of one page."""
        return next((found for found in self.settings if type(found) is kind), kind())

    def having(self, new: Settings) -> "View":
        """The view with other settings of one page."""
        return View(self.case, (*(found for found in self.settings if type(found) is not type(new)), new))
