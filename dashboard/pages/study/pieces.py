"""A plot or table of the page as what can be taken away: its figure, its numbers, the Python that gives the same."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One plot or table.

    Attributes:
        name: of its file.
        title: for people.
        table: gives its numbers; it runs outside of the session.
        python: lines that make the same table under the name `name` with _ for -; what all share stands before them.
        figure: gives the plot, for the report; None for a table.
    """

    name: str
    title: str
    table: Callable[[], pd.DataFrame]
    python: tuple[str, ...]
    figure: Callable[[], go.Figure] | None = None

    @property
    def variable(self) -> str:
        """The name of the table in Python."""
        return self.name.replace("-", "_")
