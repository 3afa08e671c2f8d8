"""What a tab draws: verdicts on pictures, one by one or as a table, and several detectors side by side."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st
from PIL import Image

from fakelens.app import batch, heatmap, view, wording
from fakelens.app.view import Examined, Judged, Refused, Taken
from fakelens.core.scoring import VERDICT_WORDS, Threshold
from fakelens.runtime.bundle import Bundle, BundledModel

Pictures = dict[str, Taken | Refused]
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
    examined = examine_all(bundle, [model], pictures)
    shown = {key: judge(taken, examined.get((model.name, key)), model, settings) for key, taken in pictures.items()}
    if len(pictures) > 1:
        show_table(model, pictures, shown, detector.stored_px)
    keys = list(pictures) if len(pictures) <= _MAX_CARDS else [choose_picture(pictures)]
    for key in keys:
        show_card(model, pictures[key], examined.get((model.name, key)), shown[key], settings)
    with st.expander("How good is this detector, and where is it blind?", expanded=not pictures):
        show_figures(model)


def show_comparison(bundle: Bundle, pictures: Pictures, settings: Settings) -> None:
    """All detectors on one picture."""
    judged_ones = {key: taken for key, taken in pictures.items() if isinstance(taken, Taken)}
    if not judged_ones:
        st.info("Give it a picture, and all detectors judge it here, side by side.", icon=":material/compare:")
        return
    key = choose_picture(judged_ones)
    taken = pictures[key]
    examined = examine_all(bundle, bundle.models, {key: taken})
    shown = [(m, e := examined.get((m.name, key)), judge(taken, e, m, settings)) for m in bundle.models]
    verdicts = [answer.verdict for _, _, answer in shown if isinstance(answer, Judged)]
    if verdicts:
        st.subheader(view.agreement(verdicts), anchor=False)
    for column, (model, found, answer) in zip(st.columns(len(shown)), shown, strict=True):
        with column.container(border=True):
            st.markdown(f"**{wording.as_text(model.display_name)}**")
            show_answer(model, taken, found, answer, settings)
    st.html(heatmap.legend_html())
    st.caption("Detectors were trained on the same pictures, so they can be wrong together: agreement is no proof.")


def examine_all(bundle: Bundle, models: Sequence[BundledModel], pictures: Pictures) -> dict[tuple[str, str], Examined]:
    """What the models say of the pictures, by model and picture; none is asked twice while its picture stays."""
    known: dict[tuple[str, str], Examined] = st.session_state.setdefault("examined", {})
    if len(models) == 1:
        for stale in [key for key in known if key[1] not in pictures]:
            del known[stale]
    wanted = [
        (model, key, taken)
        for model in models
        for key, taken in pictures.items()
        if isinstance(taken, Taken) and (model.name, key) not in known
    ]
    bar = st.progress(0.0, "Looking at the pictures …") if len(wanted) > 1 else None
    for number, (model, key, taken) in enumerate(wanted, start=1):
        answer = view.examine(bundle.detector(model.name), taken)
        if isinstance(answer, Examined):
            known[model.name, key] = answer
        if bar:
            bar.progress(number / len(wanted), f"Looked at {number} of {len(wanted)}")
    if bar:
        bar.empty()
    return known


def judge(
    taken: Taken | Refused, examined: Examined | None, model: BundledModel, settings: Settings
) -> Judged | Refused:
    """The answer to show for one picture."""
    if isinstance(taken, Refused):
        return taken
    if examined is None:
        return Refused(taken.name, view.FORGOTTEN)
    return view.judged(taken, examined, settings.threshold_of(model))


def choose_picture(pictures: Mapping[str, Taken | Refused]) -> str:
    """The id of the picture to look at more closely."""
    keys = list(pictures)
    if len(keys) == 1:
        return keys[0]
    names = {key: f"{number}. {pictures[key].name}" for number, key in enumerate(keys, start=1)}
    return st.selectbox("Look closer at", keys, format_func=names.__getitem__, key="closer")


def show_table(model: BundledModel, pictures: Pictures, shown: dict[str, Judged | Refused], side_px: int) -> None:
    """All pictures as a table to sort, and as files to keep."""
    rows = [batch.row(model.name, answer) for answer in shown.values()]
    table = [
        {
            "Picture": thumbnail_url(taken, side_px),
            "File": batch.harmless(row.path),  # the table has a download of its own
            "Verdict": VERDICT_WORDS[answer.verdict] if isinstance(answer, Judged) else "not judged",
            "Probability": row.probability,
            "Remarks": row.error or " ".join((*row.statements, *row.cautions)),
        }
        for taken, answer, row in zip(pictures.values(), shown.values(), rows, strict=True)
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
        for kind, data in (("CSV", batch.as_csv(rows)), ("JSON", batch.as_json(rows))):
            st.download_button(
                f"Download as {kind}",
                data,
                f"fakelens-{model.name}.{kind.lower()}",
                on_click="ignore",
                key=f"download-{kind}",
                icon=":material/download:",
            )


def show_card(
    model: BundledModel, taken: Taken | Refused, examined: Examined | None, shown: Judged | Refused, settings: Settings
) -> None:
    """One picture; a file's name is shown as plain text, never read as markup."""
    with st.container(border=True):
        if isinstance(taken, Refused) or isinstance(shown, Refused):
            st.text(shown.name)
            st.error(wording.as_text(getattr(shown, "message", "")), icon=":material/broken_image:")
            return
        left, right = st.columns([2, 3])
        with left:
            show_picture(model, taken, examined, settings)
            if settings.opacity:
                st.html(heatmap.legend_html())
        with right:
            show_words(shown)
            st.text(shown.name)
            measured = wording.measured_words(model, settings.threshold)
            st.caption(f"{shown.caption} {wording.as_text(measured)}")


def show_answer(
    model: BundledModel, taken: Taken | Refused, examined: Examined | None, shown: Judged | Refused, settings: Settings
) -> None:
    """One detector's part of a comparison."""
    if isinstance(taken, Refused) or isinstance(shown, Refused):
        st.error(wording.as_text(getattr(shown, "message", "")))
        return
    show_picture(model, taken, examined, settings)
    show_words(shown)


def show_picture(model: BundledModel, taken: Taken, examined: Examined | None, settings: Settings) -> None:
    """The picture under its heat-map, as long as it is there."""
    picture = taken.pictures.get(model.stored_px)
    if picture is None:
        st.caption(view.FORGOTTEN)
        return
    said = "with the heat-map over it" if settings.opacity else "as it was given"
    data = view.shown_jpeg(picture, examined, settings.opacity)
    st.image(data, width="stretch", alt=f"The picture {taken.name}, {said}")


def show_words(shown: Judged) -> None:
    """Verdict, bar, reasons for care, and what the file says of itself."""
    st.subheader(shown.words, anchor=False)
    st.html(shown.bar_html)
    st.markdown(shown.sentence)
    for caution in shown.cautions:
        st.warning(wording.as_text(caution.words), icon=":material/warning:")
    if shown.statements:
        said = "; ".join(f"{statement.origin}: {statement.says}" for statement in shown.statements)
        st.info(f"**{wording.as_text(said)}.** {wording.NOT_VERIFIED}", icon=":material/badge:")


def thumbnail_url(taken: Taken | Refused, side_px: int) -> str | None:
    """A small picture inside the table itself."""
    picture = taken.pictures.get(side_px) if isinstance(taken, Taken) else None
    if picture is None:
        return None
    small = picture.copy()
    small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.BILINEAR)
    return "data:image/jpeg;base64," + base64.b64encode(heatmap.as_jpeg(small)).decode()


def show_figures(model: BundledModel) -> None:
    """The model's own test figures, in as many lines as the screen needs, and its card in a few sentences."""
    with st.container(horizontal=True, gap="medium"):
        for label, value, meaning in wording.figure_rows(model):
            st.metric(label, value, help=meaning, width=150)  # four columns, two on a telephone
    st.markdown("\n".join(f"- {wording.as_text(fact)}" for fact in model.facts))
