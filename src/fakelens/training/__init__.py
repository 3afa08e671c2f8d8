"""Training on Lightning's engine: phases, module, callbacks and the stage itself."""
