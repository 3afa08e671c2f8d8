"""What every other package stands on, and the bundle takes along: the standard library, numpy and Pillow."""
