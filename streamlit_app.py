"""The dashboard's entry: `clip-theatre app`, or `streamlit run streamlit_app.py`."""

import importlib
import sys

import streamlit as st

st.set_page_config(
    page_title="CLIP Theatre", page_icon=":material/theater_comedy:", layout="wide", initial_sidebar_state=270
)
if "dashboard.app" not in sys.modules:
    with st.spinner("Starting CLIP Theatre: loading PyTorch and open_clip …", show_time=True):
        importlib.import_module("dashboard.app")
sys.modules["dashboard.app"].run()
