"""The page: `view` decides what it shows, `streamlit_app` draws it; never torch, never pydantic."""
