"""The page itself: Streamlit widgets around `fakelens.app.view`; runs anew after every interaction."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from fakelens.app import cards, limits, view, wording
from fakelens.app.cards import Pictures
from fakelens.app.endpoint import open_own
from fakelens.app.uploads import DESK, let_go, refusal
from fakelens.core.imaging import format_words
from fakelens.core.run_folder import EXAMPLES
from fakelens.core.scoring import capital
from fakelens.runtime.bundle import Bundle
from fakelens.runtime.cautions import DEMO
from fakelens.runtime.judgement import Picture

OVERVIEW = "Overview"
# Streamlit leaves 96 px empty above the title: on a telephone the verdict would begin lower by as much.
# A tall picture would push the verdicts out of sight. Why a file was refused stands in words for screen readers alone.
# Streamlit's own list of endings says again what stands above it. The table of several pictures needs more width than
# lines of text; a telephone's would cut the last tabs.
_STYLE = """<style>
[data-testid=stMainBlockContainer] { padding-top: 2.5rem; max-width: 68rem }
[data-testid=stMarkdownContainer] :is(p, li) { max-width: 44rem }
[data-testid=stFileChip] [role=alert] {
  position: static !important; width: auto !important; height: auto !important; clip: auto !important;
  white-space: normal !important; font-size: .85rem
}
[data-testid=stFileUploaderDropzoneInstructions] { display: none }
[data-testid=stImage] img {
  max-height: 55vh; object-fit: contain; object-position: left top; border-radius: 0
}
@media (max-width: 640px) {
  [data-testid=stImage] img { max-height: 30vh }
  [data-testid=stTabs] [role=tablist] { flex-wrap: wrap; row-gap: 0 }
  [data-testid=stAlertContainer] { padding: .6rem .75rem }
}
</style>"""
_EXAMPLE_PX = 150  # two in a row on a telephone
# Streamlit runs a script once: each of them has a number of its own.
_TO_THE_VERDICT = "<script>/* {number} */ document.querySelector('[data-testid=stMain]').scrollTo(0, 0)</script>"


class Arrival(NamedTuple):
    """A picture that somebody has just given."""

    key: str
    name: str
    read: Callable[[], bytes]


def main() -> None:
    """Draw the page once."""
    st.set_page_config(page_title="fakelens", page_icon="🔎", layout="centered")
    st.html(_STYLE)
    st.title("fakelens", anchor=False)
    # The verdict stands first, whatever has to run before it.
    notice_place, verdict_place, entry_place, settings_place = (st.container() for _ in range(4))
    try:
        bundle = open_own()
        if words := refusal():
            st.toast(f"A file was not taken. {words}", icon=":material/hourglass_top:", duration="infinite")
        with entry_place:
            pictures, num_left_out = take_pictures(bundle)
        if num_left_out:
            notice_place.warning(
                f"{num_left_out} more {'picture was' if num_left_out == 1 else 'pictures were'} not looked at: at most "
                f"{limits.MAX_PICTURES} at a time.",
                icon=":material/filter_list:",
            )
        with settings_place:
            choice = choose_threshold(bundle)
            show_limits(bundle)
        with verdict_place:
            if bundle.demo:
                st.warning(DEMO.words, icon=":material/science:")
            show_tabs(bundle, pictures, choice)
    except ValueError as error:
        st.error(f"The app cannot go on. {wording.as_text(str(error))}", icon=":material/error:")
        st.stop()


def take_pictures(bundle: Bundle) -> tuple[Pictures, int]:
    """The pictures on the page: those of the drop zone, and those given in other ways. Each is decoded once.

    And how many there is no room for.
    """
    uploads = st.file_uploader(
        f"Drop pictures here or upload them ({format_words()})",
        type=limits.FILE_TYPES,
        accept_multiple_files=True,
        max_upload_size=limits.MAX_FILE_MB,
        key="pictures",
    )
    known: Pictures = st.session_state.setdefault("taken", {})
    others: Pictures = st.session_state.setdefault("others", {})
    with st.expander("Paste a picture, use the camera, or try an example", key="more", on_change="rerun") as more:
        arrivals = list(other_arrivals(bundle)) if more.open else []
    if example := st.session_state.pop("example", None):
        arrivals.append(example)
    new = [arrival for arrival in arrivals if arrival.key not in others]
    taken = new[: limits.MAX_PICTURES - len(others)]
    if taken:
        number = st.session_state["num_arrivals"] = st.session_state.get("num_arrivals", 0) + 1
        st.html(_TO_THE_VERDICT.format(number=number), unsafe_allow_javascript=True)
    st.caption(wording.LIMITS)
    present = {upload.file_id for upload in uploads}
    for key in known.keys() - present:
        del known[key]
    take_in(bundle, taken, others)
    room = limits.MAX_PICTURES - len(others)
    dropped = [Arrival(upload.file_id, upload.name, partial(read, upload, "pictures")) for upload in uploads[:room]]
    take_in(bundle, [arrival for arrival in dropped if arrival.key not in known], known)
    if others:
        st.button("Remove the pasted, camera and example pictures", on_click=remove_others, icon=":material/delete:")
    num_left_out = len(uploads) - len(dropped) + len(new) - len(taken)
    return {**{arrival.key: known[arrival.key] for arrival in dropped}, **others}, num_left_out


def other_arrivals(bundle: Bundle) -> Iterator[Arrival]:
    """Pictures pasted, photographed or chosen since the page last ran; a photograph as long as it is shown."""
    pasted = st.chat_input(
        "Paste a picture here, press Enter",
        accept_file="multiple",
        file_type=limits.FILE_TYPES,
        max_upload_size=limits.MAX_FILE_MB,
        key="paste",
    )
    for upload in pasted.files if pasted else ():
        yield Arrival(upload.file_id, upload.name, partial(read, upload, "paste"))
    if st.toggle("Use the camera", key="camera_on"):
        shot = st.camera_input("Take a picture", key="camera", resolution="1080p")
        if shot:
            yield Arrival(shot.file_id, "Camera picture", partial(read, shot, "camera"))
    examples = sorted(name for name in bundle.info.files if name.startswith(f"{EXAMPLES}/"))
    if examples:
        st.markdown("Examples, made by a program: to see how the page works, not how well a detector does.")
    with st.container(horizontal=True):
        for name in examples:
            path, label = bundle.folder / name, " ".join(Path(name).stem.rsplit("-", 1))
            with st.container(width=_EXAMPLE_PX):
                st.image(path, width="stretch", alt=f"Example picture: {label}")
                st.button(
                    capital(label),
                    key=name,
                    width="stretch",
                    on_click=choose_example,
                    args=(path, name, capital(label)),
                )


def take_in(bundle: Bundle, arrivals: list[Arrival], kept: Pictures) -> None:
    """Decode the new pictures into `kept`; a file that cannot be judged is kept as its reason."""
    sides_px = {model.stored_px for model in bundle.models}
    bar = st.progress(0.0, "Opening the pictures …") if len(arrivals) > 1 else None
    for number, arrival in enumerate(arrivals, start=1):
        picture = kept[arrival.key] = view.take(arrival.name, arrival.read(), sides_px)
        if isinstance(picture, Picture):
            DESK.add(picture)
        if bar:
            bar.progress(number / len(arrivals), f"Opened {number} of {len(arrivals)} pictures")
    if bar:
        bar.empty()


def read(upload: UploadedFile, widget: str) -> bytes:
    """The bytes of a file that the widget with this key received, which the server then lets go."""
    data = upload.getvalue()
    let_go(upload, widget)
    return data


def choose_example(path: Path, key: str, name: str) -> None:
    """Take an example and close what it was chosen in, so that the verdict is not far above it."""
    st.session_state["example"] = Arrival(key, name, path.read_bytes)
    st.session_state["more"] = False


def remove_others() -> None:
    """Forget what was pasted, photographed and chosen; a camera left on would give its picture again."""
    st.session_state["others"] = {}
    st.session_state["camera_on"] = False


def choose_threshold(bundle: Bundle) -> str:
    """One of `wording.threshold_choices` for all tabs; the address holds it, so that a link carries it."""
    choices = wording.threshold_choices(bundle.models)
    if len(choices) == 1:
        return choices[0]
    with st.expander("Settings"):
        return st.selectbox(
            "How sure must a detector be before it says AI-generated?",
            choices,
            help=wording.THRESHOLD_HELP,
            key="threshold",
            bind="query-params",
        )


def show_tabs(bundle: Bundle, pictures: Pictures, choice: str) -> None:
    """One tab for all detectors and one for each; only the open one runs."""
    cards.forget(pictures)
    labels = [model.display_name for model in bundle.models]
    overview, *tabs = st.tabs([OVERVIEW, *labels], key="detector", on_change="rerun", bind="query-params")
    if overview.open:
        with overview:
            cards.show_overview(bundle, pictures, choice)
    for tab, model in zip(tabs, bundle.models, strict=True):
        if tab.open:
            with tab:
                cards.show_detector(bundle, model, pictures, choice)


def show_limits(bundle: Bundle) -> None:
    """Limits that a reader must know, whatever the verdict."""
    st.subheader("What a verdict cannot tell", anchor=False)
    st.markdown("\n".join(f"- {sentence}" for sentence in wording.CANNOT_TELL))
    st.caption(wording.NOTHING_STORED)
    about = bundle.info.data
    st.caption(wording.as_text(f"Training data: {about.description}. Licence: {about.licence}."))


main()
