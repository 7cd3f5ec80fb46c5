"""What the Study page hands out: tables, one HTML file with the plots, and the lines that make the study again."""

import html
from functools import partial

import numpy as np
import pandas as pd

from analysis.studies import StudyFolder
from dashboard.case import method_title
from dashboard.figures import study as figures
from dashboard.pages.study import plots, results
from dashboard.pages.study.results import Key, Overview
from dashboard.pages.study.settings import StudySettings
from dashboard.panels.page import Exports, File
from data.store import to_csv

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 15px/1.5 sans-serif; max-width: 1100px; margin: 2rem auto; color: #1b2228; }}
pre {{ background: #f3f5f7; padding: 1rem; overflow: auto; }} table {{ border-collapse: collapse; }}
td, th {{ padding: .2rem .8rem; border-bottom: 1px solid #ccd; text-align: right; }}</style>
<h1>{title}</h1><p>{words}</p>{figures}<h2>Classes</h2>{table}<h2>How to make it again</h2><pre>{python}</pre></html>
"""


def study_exports(folder: StudyFolder, key: Key, seen: Overview, settings: StudySettings) -> Exports:
    """Tables of the chosen maps, and the report."""
    python = python_of(folder, settings)
    blamed = results.split(key, "blame", "", results.filters_of(settings))
    files = {
        "Maps (CSV)": File("study-maps.csv", partial(maps_csv, seen, settings)),
        "Classes (CSV)": File("study-classes.csv", lambda: to_csv(plots.class_table(seen, settings))),
        "Report (HTML)": File("study-report.html", partial(report, folder, seen, settings, blamed, python)),
    }
    if blamed.labels:
        files["Blame (CSV)"] = File("study-blame.csv", partial(blame_csv, blamed))
    return Exports(python, files)


def python_of(folder: StudyFolder, settings: StudySettings) -> str:
    """The study again, and the figures of the page from it."""
    study = folder.study
    data = study.data if study.data.startswith("toy") else f"path/to/{folder.request['data set']}"
    given = f", pretrained={study.pretrained!r}" if study.pretrained else ""
    return "\n".join(
        [
            "from analysis.studies import Study, open_study, run_study, summarise_study",
            "",
            f"study = Study(model={study.model!r}{given}, data={data!r}, seed={study.seed},",
            f"              methods={study.methods!r},",
            f"              measures={study.measures!r})",
            'run_study(study, "out/study")  # goes on where it was stopped',
            'print(summarise_study("out/study")["maps"])',
            'rows = open_study("out/study").table("maps", ["index", "text", "method", "flip_auc"])',
            f'rows = rows[rows["method"] == {settings.method!r}].sort_values("flip_auc")  # most flipped first',
            "print(rows.head(24))",
        ]
    )


def maps_table(seen: Overview, settings: StudySettings) -> pd.DataFrame:
    """A row a chosen map: picture, class, figures of every method, size and place of its object. Pure."""
    kept = results.chosen_rows(seen, settings)
    table = {"picture": [seen.names.get(int(n), str(n)) for n in seen.index[kept]], "class": seen.text[kept]}
    for figure in results.FIGURES:
        table |= {f"{figure} {name}": seen.figure(figure, name)[kept] for name in seen.methods}
    return pd.DataFrame(table | {name: values[kept] for name, values in seen.places.items()})


def maps_csv(seen: Overview, settings: StudySettings) -> bytes:
    """`maps_table` as a file."""
    return to_csv(maps_table(seen, settings))


def blame_csv(found: results.Split) -> bytes:
    """Mean blame with intervals over flipped maps and over the others, and how often each component is the worst."""
    table = {"component": found.labels, "worst in share of flipped maps": found.worst}
    for name, group in (("flipped", found.flipped), ("not flipped", found.others)):
        if group is not None:
            table |= {f"{name} mean": group.mean, f"{name} low": group.low, f"{name} high": group.high}
    return to_csv(pd.DataFrame(table))


def report(folder: StudyFolder, seen: Overview, settings: StudySettings, blamed: results.Split, python: str) -> bytes:
    """One HTML file that needs no network."""
    kept = results.chosen_rows(seen, settings)
    auc = seen.figure("flip_auc", settings.method)
    titles = {name: method_title(name) for name in seen.methods}
    drawn = [
        figures.plot_auc_histogram({n: seen.figure("flip_auc", n) for n in seen.methods}, kept, settings.method, titles)
    ]
    other = seen.figure("flip_auc", settings.other)
    axes = (titles[settings.method], titles[settings.other])
    words = [f"{seen.names.get(int(n), n)}: {text}" for n, text in zip(seen.index, seen.text, strict=True)]
    drawn.append(figures.plot_pairs(auc, other, kept, auc < 0.5, words, "Flip AUC, a dot a map", axes, True)[0])
    if blamed.labels and blamed.flipped is not None:
        group = blamed.flipped
        title = f"Blame over {group.rows:,} flipped maps"
        drawn.append(
            figures.plot_components(blamed.labels, group.mean, group.low, group.high, blamed.worst, "", title)[0]
        )
    parts = [figure.to_html(full_html=False, include_plotlyjs=place == 0) for place, figure in enumerate(drawn)]
    share = float(np.mean(auc[kept] < 0.5)) if kept.any() else 0.0
    said = f"{kept.sum():,} maps, {share:.0%} of them flipped by {titles[settings.method]}. {folder.state}."
    title = f"{folder.request['data set']} · {folder.study.model} {folder.study.pretrained or ''}"
    table = plots.class_table(seen, settings).round(3).to_html(index=False)
    escaped = {"title": html.escape(title), "words": html.escape(said), "python": html.escape(python)}
    return PAGE.format(**escaped, figures="".join(parts), table=table).encode()
