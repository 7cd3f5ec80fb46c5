"""`make soak`: the whole plan, and the table of the documentation. `--seconds 300` and others shorten it."""

import argparse
import tempfile
from pathlib import Path

from analysis.tables import replace_section
from tests.soak.run import Found, Plan, soak

MARK = "soak"


def main() -> int:
    """Runs the plan; 1 where something was found that must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (
        ("clients", int),
        ("seconds", float),
        ("pause-s", float),
        ("interactions", int),
        ("addresses", int),
        ("files", int),
        ("kills", int),
    ):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Plan(), name.replace("-", "_")))
    parser.add_argument("--write", type=Path, help="document whose table is replaced, docs/serving.md")
    chosen = parser.parse_args()
    plan = Plan(**{name: value for name, value in vars(chosen).items() if name != "write"})
    with tempfile.TemporaryDirectory() as folder:
        found = soak(plan, Path(folder), lambda line: print(line, flush=True))
    lines = table(plan, found)
    print("\n".join(lines))
    for problem in [*found.exceptions[:5], *found.errors[:5], *found.wrong[:5]]:
        print(problem)
    if chosen.write:
        replace_section(chosen.write, MARK, "\n".join(lines))
    return 0 if all(line.endswith("| met |") for line in lines[4:]) else 1


def table(plan: Plan, found: Found) -> list[str]:
    """The findings as Markdown."""
    rows = [
        (
            f"light interactions of {plan.clients - 1} visitors, one more running heavy passes",
            len(found.light_s),
            f">= {plan.interactions}",
            len(found.light_s) >= plan.interactions,
        ),
        ("answers that differ from those of a fresh process", len(found.wrong), "0", not found.wrong),
        ("95th percentile of light interactions", f"{found.p95_s:.1f} s", "< 3 s", found.p95_s < 3),
        ("growth of the server's memory after warm-up", f"{found.growth:+.1%}", "< 5 %", found.growth < 0.05),
        (
            f"{found.addresses} hostile addresses and all visits: exceptions shown",
            len(found.exceptions),
            "0",
            not found.exceptions,
        ),
        ("stacks in the server's log", found.tracebacks, "0", not found.tracebacks),
        (f"{found.files} hostile files, runs without an end: errors", len(found.errors), "0", not found.errors),
        (f"{found.kills} kills of a command: half files", len(found.half_files), "0", not found.half_files),
    ]
    head = [
        f"Visitors for {plan.seconds:.0f} s, two models, loopback only; between an answer and the next question "
        f"{plan.pause_s:g} s on average:",
        "",
        "| what | found | target | verdict |",
        "| --- | --- | --- | --- |",
    ]
    return [
        *head,
        *(f"| {what} | {value} | {target} | {'met' if met else 'MISSED'} |" for what, value, target, met in rows),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
