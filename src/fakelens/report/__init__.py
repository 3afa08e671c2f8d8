"""The documents of a run: report and model cards, from the records of its stages."""
