"""What every other package stands on: stdlib, numpy and Pillow; `config` alone adds pydantic."""
