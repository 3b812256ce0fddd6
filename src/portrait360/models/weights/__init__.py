"""Published weight files: identify, check, convert and store them."""
