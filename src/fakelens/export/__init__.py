"""From a checkpoint to verified ONNX files."""
