"""Figures of one design: a title that says what is shown; beneath it whose figures these are and how to read them."""

import warnings
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from fakelens.core.artifacts import atomic_path

# Colours that remain apart for the colour-blind (Okabe & Ito 2008), and that lighten to grey in this order.
RIGHT, WRONG = "#0072B2", "#D55E00"
_COLOURS = (RIGHT, WRONG, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DESCRIPTION = "Description"
"""The PNG file's own field for what it shows and how to read it."""
_QUIET = "0.45"
_DPI = 120
_CHARACTERS_PER_INCH = 15.0  # of the note beneath a figure, at 8.5 points


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure of so many inches and its axes; needs no display."""
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {
        "axes.prop_cycle": cycler(color=_COLOURS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.edgecolor": _QUIET,
        "axes.titlesize": 10,
        "axes.labelsize": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
    }
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns)


def save_figure(path: Path, figure: Any, title: str, subject: str, reading: str) -> Path:
    """Write a figure as PNG, atomically; returns `path`.

    Args:
        path: of the file.
        figure: of `new_figure`.
        title: what is shown.
        subject: whose figures these are: a detector, a data set.
        reading: one sentence on how to read it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image, PngImagePlugin

    size = max(9.5, figure.get_figwidth())  # a wide figure is shown smaller
    width = int(figure.get_figwidth() * _CHARACTERS_PER_INCH * 8.5 / size)
    note = "\n".join(fill(line, width) for line in (subject, reading))
    figure.suptitle(title, x=0.01, ha="left", fontsize=size + 3, fontweight="bold")
    figure.supxlabel(note, x=0.01, ha="left", fontsize=size, color=_QUIET)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # A folder may be named in a script that the font lacks: the plot then shows boxes, the tables the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        # Not by `savefig`, which draws everything twice.
        figure.set_dpi(_DPI)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        # In words too, for who cannot see it: the report tells them.
        words = PngImagePlugin.PngInfo()
        words.add_text(DESCRIPTION, f"{title}. {reading}")
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        image.save(temporary, "PNG", dpi=(_DPI, _DPI), pnginfo=words)
    return path
