"""The theatre: linked pages on one case. Only this package (and `streamlit_app.py`) imports Streamlit and Plotly."""
