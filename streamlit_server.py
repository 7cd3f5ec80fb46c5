"""The dashboard with what hardens it in front: what `clip-theatre app` serves."""

import streamlit as st
from starlette.middleware import Middleware

from dashboard.hardening import Hardened

app = st.App("streamlit_app.py", middleware=[Middleware(Hardened)])
