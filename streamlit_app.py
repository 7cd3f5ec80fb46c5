"""The dashboard's entry: `clip-theatre app`, or `streamlit run streamlit_app.py`."""

import importlib.util
import sys
from pathlib import Path

import streamlit as st

# A file of ours: a material icon or an emoji would be fetched from another host.
ICON = Path(importlib.util.find_spec("dashboard").origin).with_name("components") / "icon.png"

st.set_page_config(page_title="CLIP Theatre", page_icon=str(ICON), layout="wide", initial_sidebar_state=270)
# `run` is the last name of the module: another session, or the command, may still be importing it.
if not hasattr(sys.modules.get("dashboard.app"), "run"):
    with st.spinner("Starting CLIP Theatre: loading PyTorch and open_clip …", show_time=True):
        importlib.import_module("dashboard.app")
sys.modules["dashboard.app"].run()
