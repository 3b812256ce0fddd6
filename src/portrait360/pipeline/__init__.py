"""One photo in, a 3D head out: the stages in the order of the data, and the run that caches them."""
