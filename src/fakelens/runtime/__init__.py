"""Judging pictures with exported files: numpy, Pillow and onnxruntime; never torch, never pydantic."""
