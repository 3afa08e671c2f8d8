"""The app that `streamlit run` starts: the page, the upload budget in front of it and the endpoints beside it."""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

import fakelens.app
from fakelens.app.endpoint import routes
from fakelens.app.server import bounded_shutdown, forget_external_address
from fakelens.app.uploads import UploadBudget
from fakelens.core.machine import share_arenas

share_arenas()
forget_external_address()

# `streamlit run` finds this name by reading the file, and serves it instead of running the file as a page.
app = st.App(
    Path(fakelens.app.__file__).with_name("page.py"),
    middleware=[Middleware(UploadBudget)],
    routes=routes(),
    lifespan=bounded_shutdown,
)
