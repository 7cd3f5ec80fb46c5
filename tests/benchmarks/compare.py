"""What got slower between two runs: `python -m tests.benchmarks.compare OLD.json NEW.json` (`make bench-compare`)."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

TOLERANCE = 0.1
"""A figure that grew by less than this part of itself is noise."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line that both runs have.

    Attributes:
        what: what was measured.
        old, new: its figures; lower is better.
    """

    what: str
    old: float
    new: float

    @property
    def factor(self) -> float:
        """New over old."""
        return self.new / self.old if self.old else float("inf")


def read(path: Path) -> dict[str, float]:
    """Figures of a run by what was measured.

    Raises:
        ValueError: the file is not what the benchmarks write.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return {row["what"]: float(row["value"]) for row in rows if row["value"] is not None}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"Expected {path} to be a file of the benchmarks, but got {error!r}") from error


def changes(old: dict[str, float], new: dict[str, float], tolerance: float = TOLERANCE) -> list[Change]:
    """The lines that got slower by more than the tolerance, worst first."""
    both = [Change(what, old[what], new[what]) for what in old if what in new]
    return sorted((c for c in both if c.factor > 1 + tolerance), key=lambda change: -change.factor)


def main() -> int:
    """Prints what got slower and what only one run has; 1 if anything got slower."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="part of a figure (default: %(default)s)")
    options = parser.parse_args()
    old, new = read(options.old), read(options.new)
    slower = changes(old, new, options.tolerance)
    for change in slower:
        print(f"slower by {change.factor:.2f}: {change.what} ({change.old:.3g} -> {change.new:.3g})")
    for what in sorted(set(old) ^ set(new)):
        print(f"only in {options.old if what in old else options.new}: {what}")
    print(f"{len(slower)} of {len(set(old) & set(new))} lines got slower by more than {options.tolerance:.0%}")
    return bool(slower)


if __name__ == "__main__":
    raise SystemExit(main())
