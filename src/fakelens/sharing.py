"""Bundles by their place: a folder of this machine, or a repository of the Hugging Face hub."""

from pathlib import Path

from fakelens.runtime.bundle import Bundle


def open_bundle(place: str | Path) -> Bundle:
    """The bundle in a folder; no model is loaded yet.

    Its detectors use one thread a picture, as in `fakelens predict`: lists of pictures are judged on all CPUs, and a
    picture's probability is the same alone and among others.

    Raises:
        FakelensError: when it is no bundle, naming the remedy.
    """
    return Bundle.open(Path(place), num_threads=1)
