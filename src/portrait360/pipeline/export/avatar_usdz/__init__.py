"""An avatar as .usdz, the format of AR Quick Look."""
