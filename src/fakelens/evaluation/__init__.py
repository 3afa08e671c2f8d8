"""From scores to judgement: metrics, calibration, plots and the report."""
