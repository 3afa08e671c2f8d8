"""Any system on a labelled folder of images: side by side, with tests of significance."""
