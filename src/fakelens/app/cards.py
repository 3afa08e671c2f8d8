"""What a tab draws: verdicts on pictures, one by one or as a table, and several detectors side by side."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st
from PIL import Image

from fakelens.app import batch, heatmap, view, wording
from fakelens.core.scoring import Threshold
from fakelens.runtime.bundle import Bundle, BundledModel
from fakelens.runtime.judgement import Answer, Assessment, Judgement, Picture, Refusal

Pictures = dict[str, Picture | Refusal]
_MAX_CARDS = 3  # with more pictures a table comes first, and one card at a time
_THUMBNAIL_PX = 96


@dataclass(frozen=True)
class Settings:
    """What the visitor chose for all tabs."""

    threshold: str
    """One of `wording.threshold_choices`."""
    opacity: float
    """Of the heat-map, 0 to 1."""

    def threshold_of(self, model: BundledModel) -> Threshold:
        """The model's thresholds of that name; its own default where it has none of it."""
        return wording.threshold_choices(model).get(self.threshold, model.threshold)


def show_detector(bundle: Bundle, model: BundledModel, pictures: Pictures, settings: Settings) -> None:
    """One detector's verdicts, and how good it is."""
    detector = bundle.detector(model.name)  # also with no picture: a damaged model should say so at once
    st.markdown(wording.as_text(model.summary))
    assessments = assess_all(bundle, [model], pictures)
    threshold = settings.threshold_of(model)
    shown = {
        key: view.answer(picture, assessments.get((model.name, key)), model.name, threshold)
        for key, picture in pictures.items()
    }
    if len(pictures) > 1:
        show_table(model, pictures, shown, detector.stored_px)
    keys = list(pictures) if len(pictures) <= _MAX_CARDS else [choose_picture(pictures)]
    for key in keys:
        show_card(model, pictures[key], assessments.get((model.name, key)), shown[key], settings)
    with st.expander("How good is this detector, and where is it blind?", expanded=not pictures):
        show_figures(model)


def show_comparison(bundle: Bundle, pictures: Pictures, settings: Settings) -> None:
    """All detectors on one picture."""
    decoded = {key: picture for key, picture in pictures.items() if isinstance(picture, Picture)}
    if not decoded:
        st.info("Give it a picture, and all detectors judge it here, side by side.", icon=":material/compare:")
        return
    key = choose_picture(decoded)
    picture = decoded[key]
    assessments = assess_all(bundle, bundle.models, {key: picture})
    columns = []
    for model in bundle.models:
        assessment = assessments.get((model.name, key))
        answer = view.answer(picture, assessment, model.name, settings.threshold_of(model))
        columns.append((model, assessment, answer))
    verdicts = [answer.verdict for _, _, answer in columns if isinstance(answer, Judgement)]
    if verdicts:
        st.subheader(view.agreement(verdicts), anchor=False)
    for column, (model, assessment, answer) in zip(st.columns(len(columns)), columns, strict=True):
        with column.container(border=True):
            st.markdown(f"**{wording.as_text(model.display_name)}**")
            show_answer(model, picture, assessment, answer, settings)
    st.html(heatmap.legend_html())
    st.caption("Detectors were trained on the same pictures, so they can be wrong together: agreement is no proof.")


def assess_all(
    bundle: Bundle, models: Sequence[BundledModel], pictures: Mapping[str, Picture | Refusal]
) -> dict[tuple[str, str], Assessment]:
    """What the models say of the pictures, by model and picture; none is asked twice while its picture stays."""
    known: dict[tuple[str, str], Assessment] = st.session_state.setdefault("assessments", {})
    if len(models) == 1:
        for stale in [key for key in known if key[1] not in pictures]:
            del known[stale]
    wanted = [
        (model, key, picture)
        for model in models
        for key, picture in pictures.items()
        if isinstance(picture, Picture) and (model.name, key) not in known
    ]
    bar = st.progress(0.0, "Looking at the pictures …") if len(wanted) > 1 else None
    for number, (model, key, picture) in enumerate(wanted, start=1):
        assessment = view.assess(bundle.detector(model.name), picture)
        if assessment is not None:
            known[model.name, key] = assessment
        if bar:
            bar.progress(number / len(wanted), f"Looked at {number} of {len(wanted)}")
    if bar:
        bar.empty()
    return known


def choose_picture(pictures: Mapping[str, Picture | Refusal]) -> str:
    """The id of the picture to look at more closely."""
    keys = list(pictures)
    if len(keys) == 1:
        return keys[0]
    names = {key: f"{number}. {pictures[key].name}" for number, key in enumerate(keys, start=1)}
    return st.selectbox("Look closer at", keys, format_func=names.__getitem__, key="closer")


def show_table(model: BundledModel, pictures: Pictures, shown: dict[str, Answer], side_px: int) -> None:
    """All pictures as a table to sort, and as files to keep."""
    answers = list(shown.values())
    table = [
        {
            "Picture": thumbnail_url(picture, side_px),
            "File": batch.harmless(answer.name),  # the table has a download of its own
            "Verdict": answer.words if isinstance(answer, Judgement) else "not judged",
            "Probability": answer.probability if isinstance(answer, Judgement) else None,
            "Remarks": " ".join(answer.remarks),
        }
        for picture, answer in zip(pictures.values(), answers, strict=True)
    ]
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "Picture": st.column_config.ImageColumn(width="small"),
            "Probability": st.column_config.ProgressColumn(
                help="That it is AI-generated", format="percent", min_value=0, max_value=1
            ),
        },
    )
    with st.container(horizontal=True):
        for kind, data in (("CSV", batch.as_csv(answers)), ("JSON", batch.as_json(answers))):
            st.download_button(
                f"Download as {kind}",
                data,
                f"fakelens-{model.name}.{kind.lower()}",
                on_click="ignore",
                key=f"download-{kind}",
                icon=":material/download:",
            )


def show_card(
    model: BundledModel, picture: Picture | Refusal, assessment: Assessment | None, shown: Answer, settings: Settings
) -> None:
    """One picture; a file's name is shown as plain text, never read as markup."""
    with st.container(border=True):
        if isinstance(picture, Refusal) or isinstance(shown, Refusal):
            st.text(shown.name)
            show_refusal(shown)
            return
        left, right = st.columns([2, 3])
        with left:
            show_picture(model, picture, assessment, settings)
            if settings.opacity:
                st.html(heatmap.legend_html())
        with right:
            show_words(shown)
            st.text(shown.name)
            measured = wording.measured_words(model, settings.threshold)
            st.caption(f"{view.caption(shown)} {wording.as_text(measured)}")


def show_answer(
    model: BundledModel, picture: Picture, assessment: Assessment | None, shown: Answer, settings: Settings
) -> None:
    """One detector's part of a comparison."""
    if isinstance(shown, Refusal):
        show_refusal(shown)
        return
    show_picture(model, picture, assessment, settings)
    show_words(shown)


def show_refusal(shown: Answer) -> None:
    """Why a file has no verdict."""
    words = f"This file cannot be judged: {' '.join(shown.remarks)}."
    st.error(wording.as_text(words), icon=":material/broken_image:")


def show_picture(model: BundledModel, picture: Picture, assessment: Assessment | None, settings: Settings) -> None:
    """The picture under its heat-map, as long as it is there."""
    image = picture.images.get(model.stored_px)
    if image is None:
        st.caption(f"{wording.capital(view.FORGOTTEN)}.")
        return
    manner = "with the heat-map over it" if settings.opacity else "as it was given"
    data = view.shown_jpeg(image, assessment, settings.opacity)
    st.image(data, width="stretch", alt=f"The picture {picture.name}, {manner}")


def show_words(shown: Judgement) -> None:
    """Verdict, bar, reasons for care, and the marks in the file."""
    st.subheader(wording.capital(shown.words), anchor=False)
    st.html(view.bar_html(shown.probability, shown.threshold, shown.verdict))
    st.markdown(shown.sentence)
    for caution in shown.cautions:
        st.warning(wording.as_text(caution.words), icon=":material/warning:")
    if shown.marks:
        marks = "; ".join(mark.words for mark in shown.marks)
        st.info(f"**{wording.as_text(marks)}.** {wording.NOT_VERIFIED}", icon=":material/badge:")


def thumbnail_url(picture: Picture | Refusal, side_px: int) -> str | None:
    """A small picture inside the table itself."""
    image = picture.images.get(side_px) if isinstance(picture, Picture) else None
    if image is None:
        return None
    small = image.copy()
    small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BILINEAR)
    return "data:image/jpeg;base64," + base64.b64encode(heatmap.as_jpeg(small)).decode()


def show_figures(model: BundledModel) -> None:
    """The model's own test figures, in as many lines as the screen needs, and its card in a few sentences."""
    with st.container(horizontal=True, gap="medium"):
        for label, value, meaning in wording.figure_rows(model):
            st.metric(label, value, help=meaning, width=150)  # four columns, two on a telephone
    st.markdown("\n".join(f"- {wording.as_text(fact)}" for fact in model.facts))
