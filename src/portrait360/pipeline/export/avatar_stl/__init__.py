"""An avatar as one closed surface that can be printed."""
