"""Controls and floors: predictors that ignore the image or read it linearly, and an oracle that sees the depth."""
