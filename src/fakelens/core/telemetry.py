"""The usage reports of the libraries beneath fakelens, and how each is switched off: the one place for all of them."""

import os

# Each is read when its library is imported or first used. Lightning, timm, torch, torchvision and scikit-learn report
# nothing; transformers and timm download through huggingface_hub and heed its variable.
TELEMETRY_OFF = {
    # From 1.29 on it looks names up, and keeps a device's identity and a database in the user's cache folder.
    "ORT_DISABLE_TELEMETRY": "1",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    # A convention that further libraries heed.
    "DO_NOT_TRACK": "1",
}


def switch_off_telemetry() -> None:
    """Set the variables for this process and those that it starts, whatever the environment says.

    The page promises its visitors that nothing is sent; a variable left in somebody's shell must not break that.
    """
    os.environ.update(TELEMETRY_OFF)
