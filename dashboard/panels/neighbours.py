"""From a picture of a study to its neighbours in the list it was chosen from, and back to the list."""

import streamlit as st

from dashboard import services, state
from dashboard.case import Case

Entry = tuple[str, str]
"""Name of a picture, see `dashboard.studies.picture_name`, and the class that is examined."""


def show_picture(entry: Entry, model: dict[str, str]) -> None:
    """Puts a picture of a study on the table: its class first among the prompts, its object as the region.

    Args:
        entry: picture and class; "" for the first of its classes.
        model: fields of the case that name the study's model; empty leaves the case's own.
    """
    name, text = entry
    sample = services.sample_named(name)
    prompts = tuple(dict.fromkeys((*([text] if text else []), *sample.prompts)))
    text = text or next(iter(sample.masks), "")
    region = f"object:{text}" if text in sample.masks else ""
    state.update(image=name, prompts=prompts, prompt="", region=region, patch=None, word=None, caption="", **model)


def render_neighbours(case: Case) -> None:
    """Where the picture stands in its list; nothing for any other picture."""
    entries, model = state.recall("neighbours", ((), {}))
    phrase = case.region.removeprefix("object:")
    places = [place for place, (name, _) in enumerate(entries) if name == case.image]
    if not places:
        return
    place = next((place for place in places if entries[place][1] == phrase), places[0])
    for key, icon, step, help in (
        ("earlier-picture", "chevron_left", -1, "P: the picture before it in the list of the Study page"),
        ("later-picture", "chevron_right", 1, "N: the next picture in the list of the Study page"),
    ):
        near = place + step
        st.button(
            "Earlier" if step < 0 else "Later",
            key=key,
            icon=f":material/{icon}:",
            type="tertiary",
            disabled=not 0 <= near < len(entries),
            on_click=lambda near=near: show_picture(entries[near], model),
            help=help,
        )
    st.page_link("dashboard/pages/study/study.py", label="Back to Study", icon=":material/photo_library:")
