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
[data-testid="stMainBlockContainer"] { padding: 3.75rem 1.8rem 1rem; }
[data-testid="stMainBlockContainer"] > [data-testid="stVerticalBlock"] { gap: 0.35rem; }
.st-key-frame { position: fixed; top: 0; right: 2.9rem; height: 3.7rem; width: auto; z-index: 999991; gap: 0.75rem; }
.st-key-frame h1 { font-size: 1rem; padding: 0; }
.st-key-frame button { padding: 0 0.15rem; min-height: 1.6rem; }
.st-key-frame [data-testid="stPopover"] button [data-testid="stIconMaterial"] { display: none; }
.st-key-case-line button { min-height: 1.4rem; padding: 0 0.2rem; }
.st-key-case-line > div:has([data-testid="stBidiComponentIsolated"]) { flex: 0 0 0; min-width: 0; }
.st-key-badges button { background: #b4530933; border-radius: 0.7rem; padding: 0 0.6rem; }
[data-testid="stPopoverBody"]:has(.st-key-drawer-body) { width: 50rem; max-width: 96vw; max-height: 82vh; }
.st-key-compare-table table { width: 100%; font-variant-numeric: tabular-nums; }
.st-key-compare-table :is(td, th) { padding: 0.1rem 0.5rem; font-size: 0.85rem; }
.st-key-drawer-body .thumbnail { display: flex; align-items: center; gap: 0.4rem; width: 6.2rem; }
.st-key-drawer-body .thumbnail img { max-width: 72px; max-height: 54px; }
.st-key-drawer-body [class*="st-key-pin-buttons"] button { padding: 0 0.3rem; min-height: 1.7rem; }
.st-key-headline h2 { padding: 0; font-size: 1.05rem; line-height: 1.3; }
.st-key-headline [data-testid="stMarkdown"]:has(h2) [data-testid="stMarkdownContainer"] { margin-bottom: 0; }
.st-key-headline [data-testid="stPopover"] button { min-height: 1.6rem; padding: 0 0.3rem; }
.st-key-headline [data-testid="stSelectbox"] div:has(> input) { min-height: 2rem; }
[data-testid="stCaptionContainer"] { color: inherit !important; opacity: 0.85; }
[data-testid="stCaptionContainer"] * { color: inherit !important; }
[data-testid="stMultiSelect"] span:has(> span[title]) { background-color: #0b6e99 !important; color: #ffffff; }
[data-testid="stMarkdown"] h2 { font-size: 1.05rem; padding: 0; }
[class*="st-key-window-"] { height: clamp(520px, calc(100vh - 10.4rem), 780px) !important; flex: none; gap: 0.3rem; }
[class*="st-key-window-under-"] { height: clamp(470px, calc(100vh - 13.4rem), 734px) !important; }
[class*="st-key-window-"].st-key-window-rest { height: auto !important; flex: 1 1 0; min-height: 0; }
[class*="st-key-window-"] > div:has(> .st-key-window-rest) { flex: 1 1 0; min-height: 0; }
[class*="st-key-window-"] > div:has([data-testid="stPlotlyChart"]) { flex: 1 1 0; min-height: 0; }
[class*="st-key-framed-"] > div:has([data-testid="stPlotlyChart"]) { flex: 1 1 0; min-height: 0; }
[data-testid="stPlotlyChart"] :is([class*="tick"] text, [class*="title"], .legendtext, .annotation-text, .colorbar text,
  .textpoint text:not([style*="rgb(255, 255, 255)"])) { fill: currentColor !important; }
@media (max-width: 1500px) { [data-testid="stTopNavLink"] [data-testid="stIconMaterial"] { display: none; } }
@media (max-width: 1640px) { .st-key-frame .st-key-question { display: none; } }
@media (max-width: 1400px) {
  .st-key-frame h1 { position: absolute; width: 1px; overflow: hidden; clip-path: inset(50%); }
}
@media (max-width: 1270px) { .st-key-frame { position: static; height: auto; } }
[data-testid="stSidebarHeader"] { height: 2.2rem; margin-bottom: 0; }
[data-testid="stSidebarUserContent"] { padding-bottom: 2rem; }
@media (max-width: 1100px) {
  [data-testid="stButtonGroup"] [role="radiogroup"] { flex-wrap: wrap; }
  .st-key-filters [data-testid="stColumn"] { min-width: 11rem; }
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
