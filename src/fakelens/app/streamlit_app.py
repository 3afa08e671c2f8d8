"""The page itself: Streamlit widgets around `fakelens.app.view`, on the bundle beside this file."""

import os
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from fakelens.app import view
from fakelens.core.scoring import Threshold
from fakelens.runtime.bundle import FILE_NAME, Bundle, BundledModel
from fakelens.runtime.detector import OnnxDetector


def main() -> None:
    """Draw the page once; Streamlit calls it again after every interaction."""
    st.set_page_config(page_title="fakelens", page_icon="🔎", layout="centered")
    st.title("fakelens", anchor=False)
    st.markdown("Was this picture taken by a camera, or made by an AI? Choose a detector and give it pictures.")
    try:
        bundle = open_bundle(bundle_folder())
        if bundle.demo:
            st.warning(view.DEMO_NOTICE, icon=":material/science:")
        show_tabs(bundle)
    except ValueError as error:
        st.error(f"The app cannot go on. {error}", icon=":material/error:")
        st.stop()


def bundle_folder() -> Path:
    """The folder of this file when it holds a bundle, else the one that FAKELENS_BUNDLE names."""
    own = Path(__file__).resolve().parent
    if (own / FILE_NAME).is_file():
        return own
    if "FAKELENS_BUNDLE" not in os.environ:
        raise ValueError("There is no bundle: set FAKELENS_BUNDLE to the folder that `fakelens bundle` wrote.")
    return Path(os.environ["FAKELENS_BUNDLE"])


@st.cache_resource(show_spinner=False)
def open_bundle(folder: Path) -> Bundle:
    """One bundle, and so one copy of every model, for all visitors."""
    return Bundle.open(folder)


def show_tabs(bundle: Bundle) -> None:
    """One tab a detector; only the open one runs, so an unused model is never loaded."""
    tabs = st.tabs([model.display_name for model in bundle.models], key="detector", on_change="rerun")
    for tab, model in zip(tabs, bundle.models, strict=True):
        if tab.open:
            with tab:
                show_detector(bundle, model)


def show_detector(bundle: Bundle, model: BundledModel) -> None:
    """What one tab holds."""
    detector = bundle.detector(model.name)
    st.markdown(model.summary)
    # The same key in every tab: the pictures stay when another detector is chosen.
    uploads = st.file_uploader(
        "Pictures to judge (JPEG, PNG or WebP)",
        type=view.FILE_TYPES,
        accept_multiple_files=True,
        max_upload_size=view.MAX_FILE_MB,
        key="pictures",
    )
    st.caption(view.NOTHING_STORED)
    if len(uploads) > view.MAX_PICTURES:
        st.info(f"Only the first {view.MAX_PICTURES} of {len(uploads)} pictures are judged: remove some.")
    choices = view.threshold_choices(detector)
    chosen = st.selectbox(
        "How sure must it be before it says AI-generated?",
        list(choices),
        help="Thresholds chosen on validation photographs; between its two thresholds a picture is uncertain.",
        key=f"threshold-{model.name}",
    )
    show_pictures(detector, uploads[: view.MAX_PICTURES], choices[chosen])
    st.subheader("How good is this detector?", anchor=False)
    show_figures(model)
    st.markdown("\n".join(f"- {view.as_text(fact)}" for fact in model.facts))
    st.subheader("What a verdict cannot tell", anchor=False)
    st.markdown("\n".join(f"- {sentence}" for sentence in view.CANNOT_TELL))
    st.caption(f"Training data: {bundle.info.data.description}. Licence: {bundle.info.data.licence}.")


def show_pictures(detector: OnnxDetector, uploads: list[UploadedFile], threshold: Threshold) -> None:
    """The verdicts, each as soon as it is there; none is made twice while its picture stays."""
    known = st.session_state.get("views", {})
    present = {upload.file_id for upload in uploads}
    views = st.session_state["views"] = {key: shown for key, shown in known.items() if key[1] in present}
    for upload in uploads:
        key = (detector.name, upload.file_id, threshold)
        if key not in views:
            with st.spinner("Looking at the picture …"):
                views[key] = view.judge(detector, upload.name, upload.getvalue(), threshold)
        show_picture(views[key])


def show_picture(shown: view.PictureView | view.RefusedView) -> None:
    """One card; a file's name is shown as plain text, never read as markup."""
    with st.container(border=True):
        if isinstance(shown, view.RefusedView):
            st.text(shown.name)
            st.error(shown.message, icon=":material/broken_image:")
            return
        left, right = st.columns([2, 3], vertical_alignment="center")
        left.image(shown.thumbnail_png, width="stretch", alt="The uploaded picture")
        with right:
            st.subheader(shown.words, anchor=False)
            st.html(shown.bar_html)
            st.markdown(shown.sentence)
            st.text(shown.name)
            st.caption(shown.caption)


def show_figures(model: BundledModel) -> None:
    """The model's own test figures, in as many lines as the screen needs."""
    with st.container(horizontal=True, gap="medium"):
        for label, value, meaning in view.figure_rows(model):
            st.metric(label, value, help=meaning, width=150)  # four columns, two on a telephone


main()
