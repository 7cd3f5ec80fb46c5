"""The dashboard around the pages: address, sidebar, navigation."""

import streamlit as st

from dashboard import state
from dashboard.jobs import freeze_imports
from dashboard.pages import PAGES
from dashboard.panels.sidebar import opening_case, render_sidebar

freeze_imports()

# More room for plots than Streamlit leaves, and in a narrow window columns below each other instead of cut titles; a
# photograph stays beside what it is linked to. No visitor's text in it.
COMPACT = """<style>
[data-testid="stMainBlockContainer"] { padding: 4.4rem 1.8rem 2rem; }
[data-testid="stSidebarHeader"] { height: 2.2rem; margin-bottom: 0; }
[data-testid="stSidebarUserContent"] { padding-bottom: 2rem; }
@media (max-width: 1100px) {
  [data-testid="stColumn"]:has([data-testid="stBidiComponentIsolated"]) { min-width: 17rem; }
  [data-testid="stColumn"]:has([data-testid="stDataFrame"]) { min-width: 18rem; }
  [data-testid="stColumn"]:has([data-testid="stPlotlyChart"]):not(:has([class*="photo"])) { min-width: 20rem; }
}
</style>"""


def run() -> None:
    """One run of the script for one visitor."""
    st.html(COMPACT)
    state.start(opening_case)
    state.write_address()
    pages = [
        st.Page(page.script, title=page.title, icon=page.icon, default=index == 0) for index, page in enumerate(PAGES)
    ]
    chosen = st.navigation(pages, position="top")
    render_sidebar(state.case())
    chosen.run()
