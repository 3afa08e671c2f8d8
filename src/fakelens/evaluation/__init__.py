"""The evaluation of one trained detector: scores, metrics, calibration, thresholds, robustness and figures."""
