"""fakelens: train, judge, export and deploy detectors of AI-generated images."""

__version__ = "0.1.0"
