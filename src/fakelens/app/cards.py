"""Contents of the tabs: the verdicts of all detectors on one picture, or one detector's with reasons and figures."""

import base64
import io
from collections.abc import Mapping, Sequence

import streamlit as st
from PIL import Image

from fakelens.app import heatmap, view, wording
from fakelens.core.scoring import Verdict, capital
from fakelens.core.table import harmless
from fakelens.runtime.answers import answers_csv, answers_json
from fakelens.runtime.bundle import Bundle, BundledModel
from fakelens.runtime.cautions import DEMO
from fakelens.runtime.judgement import Answer, Assessment, Judgement, Picture, Refusal

Pictures = dict[str, Picture | Refusal]
Assessments = dict[tuple[str, str], Assessment]
"""By model and picture."""
_THUMBNAIL_PX = 96
_PROBABILITY_PX = 175  # three of them beside picture, verdict and name fit the page
_SHOWN = "shown"  # key of the pictures of the last run
_CLOSER = "closer"  # key of the picture that is looked at


def show_overview(bundle: Bundle, pictures: Pictures, choice: str) -> None:
    """All detectors on the pictures: one in full, several as a table before it."""
    if not pictures:
        st.markdown(wording.INTRO)
        return
    assessments = assess_all(bundle, bundle.models, pictures)
    answers = {
        key: [
            view.answer(picture, assessments.get((model.name, key)), model.name, wording.threshold_of(model, choice))
            for model in bundle.models
        ]
        for key, picture in pictures.items()
    }
    if len(pictures) > 1:
        show_table(bundle.models, pictures, answers)
    key = choose_picture(pictures)
    show_together(bundle.models, pictures[key], answers[key])


def show_together(models: Sequence[BundledModel], picture: Picture | Refusal, answers: Sequence[Answer]) -> None:
    """One picture with its combined verdict, and a line for each detector."""
    judgements = [answer for answer in answers if isinstance(answer, Judgement)]
    if isinstance(picture, Refusal) or not judgements:
        st.text(picture.name)
        show_refusal(answers[0])
        return
    st.subheader(f"{view.combined([one.verdict for one in judgements])}.", anchor=False)
    show_marks(judgements[0])
    left, right = st.columns([2, 3])
    left.image(picture.preview, width="stretch", alt=f"The picture {picture.name}")
    with right:
        for model, answer in zip(models, answers, strict=True):
            if isinstance(answer, Judgement):
                st.html(view.row_html(model.display_name, answer))
            else:
                show_refusal(answer)
        show_cautions(judgements)
        st.text(picture.name)
        st.caption(view.caption(judgements[0]))
    if len(judgements) > 1:
        st.caption("Detectors were trained on the same pictures, so they can be wrong together: agreement is no proof.")


def show_detector(bundle: Bundle, model: BundledModel, pictures: Pictures, choice: str) -> None:
    """One detector's verdict on one picture, where it looked, and how good it is."""
    bundle.detector(model.name)  # also with no picture: a damaged model should say so at once
    if pictures:
        key = choose_picture(pictures)
        picture = pictures[key]
        assessment = assess_all(bundle, [model], {key: picture}).get((model.name, key))
        show_card(model, picture, assessment, choice)
    st.markdown(wording.as_text(model.summary))
    with st.expander("How good is this detector, and where is it blind?"):
        show_figures(model)


def show_card(model: BundledModel, picture: Picture | Refusal, assessment: Assessment | None, choice: str) -> None:
    """One picture under one detector; a file's name is shown as plain text, never read as markup."""
    shown = view.answer(picture, assessment, model.name, wording.threshold_of(model, choice))
    if isinstance(picture, Refusal) or isinstance(shown, Refusal) or assessment is None:
        st.text(shown.name)
        show_refusal(shown)
        return
    st.subheader(f"{capital(shown.words)}.", anchor=False)
    show_marks(shown)
    left, right = st.columns([2, 3])
    with left:
        mapped = st.toggle("Show the heat-map", key="heatmap", help=wording.MAP_HELP, bind="query-params")
        data = view.with_heatmap(picture, assessment, model.stored_px) if mapped else picture.preview
        manner = " with the heat-map over it" if mapped else ""
        st.image(data, width="stretch", alt=f"The picture {picture.name}{manner}")
        if mapped:
            st.html(heatmap.legend_html())
            if heatmap.is_faint(assessment.heatmap):
                st.caption("No region of this picture moved the score by much.")
    with right:
        st.html(view.bar_html(shown.probability, shown.threshold, shown.verdict))
        st.markdown(shown.sentence)
        show_cautions([shown])
        st.text(shown.name)
        measured = wording.measured_words(model, choice)
        st.caption(f"{view.caption(shown)} {wording.as_text(measured)}")


def assess_all(
    bundle: Bundle, models: Sequence[BundledModel], pictures: Mapping[str, Picture | Refusal]
) -> Assessments:
    """Assessments of the pictures by the models; none is made twice while its picture stays."""
    known: Assessments = st.session_state.setdefault("assessments", {})
    wanted = [
        (model, key, picture)
        for key, picture in pictures.items()
        for model in models
        if isinstance(picture, Picture) and (model.name, key) not in known
    ]
    bar = st.progress(0.0, "Looking at the pictures …") if len(wanted) > len(models) else None
    for number, (model, key, picture) in enumerate(wanted, start=1):
        assessment = view.assess(bundle.detector(model.name), picture)
        if assessment is not None:
            known[model.name, key] = assessment
        if bar:
            bar.progress(number / len(wanted), f"{number} of {len(wanted)} verdicts")
    if bar:
        bar.empty()
    return known


def forget(pictures: Pictures) -> None:
    """Drop the assessments of pictures that are no longer there."""
    known: Assessments = st.session_state.setdefault("assessments", {})
    for stale in [key for key in known if key[1] not in pictures]:
        del known[stale]


def choose_picture(pictures: Mapping[str, Picture | Refusal]) -> str:
    """The id of the picture to look at more closely, the same in every tab."""
    keys = list(pictures)
    if new := [key for key in keys if key not in st.session_state.get(_SHOWN, ())]:
        st.session_state[_CLOSER] = new[0]  # what has just come is what the visitor waits for
    st.session_state[_SHOWN] = keys
    if len(keys) == 1:
        return keys[0]
    names = {key: f"{number}. {pictures[key].name}" for number, key in enumerate(keys, start=1)}
    return st.selectbox("Look closer at", keys, format_func=names.__getitem__, key=_CLOSER)


def show_table(models: Sequence[BundledModel], pictures: Pictures, answers: Mapping[str, Sequence[Answer]]) -> None:
    """All pictures under all detectors: a table to sort, whose rows open, and files to keep."""
    table = [_table_row(models, pictures[key], answers[key]) for key in pictures]
    probability = st.column_config.ProgressColumn(
        width=_PROBABILITY_PX,
        help="Probability that it is AI-generated",
        format="%.1f %%",
        min_value=0,
        max_value=100,
        color=view.COLOURS[Verdict.UNCERTAIN],  # one for all, which says nothing of the verdict
    )

    def open_row() -> None:
        if rows := st.session_state["table"].selection.rows:
            st.session_state[_CLOSER] = list(pictures)[rows[0]]

    st.dataframe(
        table,
        hide_index=True,
        key="table",
        on_select=open_row,
        selection_mode="single-row",
        column_config={
            "Picture": st.column_config.ImageColumn(width=60),
            "Verdict": st.column_config.TextColumn(width=190),
            "File": st.column_config.TextColumn(width=130),
            **{model.display_name: probability for model in models},
        },
    )
    st.caption("Tick a row to look closer at its picture.")
    for picture in pictures.values():
        if isinstance(picture, Refusal):
            st.caption(wording.as_text(f"{picture.name} cannot be judged: {picture.error}."))
    rows = [answer for own in answers.values() for answer in own]
    with st.container(horizontal=True):
        for kind, data in (("CSV", answers_csv(rows)), ("JSON", answers_json(rows))):
            st.download_button(
                f"Download as {kind}",
                data,
                f"fakelens.{kind.lower()}",
                on_click="ignore",
                key=f"download-{kind}",
                icon=":material/download:",
            )


def _table_row(
    models: Sequence[BundledModel], picture: Picture | Refusal, answers: Sequence[Answer]
) -> dict[str, object]:
    judgements = [answer for answer in answers if isinstance(answer, Judgement)]
    remarks = dict.fromkeys(words for answer in answers for words in answer.remarks if words != DEMO.words)
    return {
        "Picture": thumbnail_url(picture),
        "Verdict": view.combined_briefly([one.verdict for one in judgements]) if judgements else "Not judged",
        "File": harmless(picture.name),  # the table has a download of its own
        **{
            model.display_name: 100 * answer.probability if isinstance(answer, Judgement) else None
            for model, answer in zip(models, answers, strict=True)
        },
        "Remarks": " ".join(remarks),
    }


def show_refusal(shown: Answer) -> None:
    """The reason why a file has no verdict."""
    words = f"This file cannot be judged: {' '.join(shown.remarks)}."
    st.error(wording.as_text(words), icon=":material/broken_image:")


def show_marks(shown: Judgement) -> None:
    """The marks in the file: before the score, and no part of it."""
    if shown.marks:
        marks = "; ".join(mark.words for mark in shown.marks)
        st.info(f"**{wording.as_text(marks)}.** {wording.NOT_VERIFIED}", icon=":material/badge:")


def show_cautions(judgements: Sequence[Judgement]) -> None:
    """Reasons for care, each once."""
    cautions = dict.fromkeys(caution for one in judgements for caution in one.cautions if caution != DEMO)
    for words in (caution.words for caution in cautions):  # the page says above that it is a demonstration
        st.warning(wording.as_text(words), icon=":material/warning:")


def thumbnail_url(picture: Picture | Refusal) -> str:
    """A small picture as a data URL, for a table's cell, which stays empty where there is none."""
    if not isinstance(picture, Picture):
        return ""
    with Image.open(io.BytesIO(picture.preview)) as image:
        image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BILINEAR)
        return "data:image/jpeg;base64," + base64.b64encode(heatmap.as_jpeg(image)).decode()


def show_figures(model: BundledModel) -> None:
    """The model's own test figures, in as many lines as the screen needs, and its card in a few sentences."""
    with st.container(horizontal=True, gap="medium"):
        for label, value, meaning in wording.figure_rows(model):
            st.metric(label, value, help=meaning, width=130)  # four columns, two on a telephone
    st.markdown("\n".join(f"- {wording.as_text(fact)}" for fact in model.facts))
