"""Writing the deployment folder."""
