"""What the frame and the navigation know of a page."""

from dataclasses import dataclass

from dashboard.settings import Settings


@dataclass(frozen=True, slots=True)
class PageInfo:
    """A page.

    Attributes:
        name: of its folder, and of the script in it, without ".py"; also its address.
        title: as in the navigation.
        icon: a Material symbol.
        question: what it answers.
        look_for: one or two sentences on what to look for, and on what a click does.
        settings: the page's own settings; `Settings` itself for none.
        has_headline: whether the body writes a headline of figures in the place of `look_for`, which stands behind it.
        examines_case: whether the page needs the pass of the case's image.
    """

    name: str
    title: str
    icon: str
    question: str
    look_for: str
    settings: type[Settings] = Settings
    has_headline: bool = False
    examines_case: bool = True

    @property
    def script(self) -> str:
        """Path of the page's script from the root of the project."""
        return f"dashboard/pages/{self.name}/{self.name}.py"
