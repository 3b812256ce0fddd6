"""The renderer: buffers, shading, shadows, compositing, backgrounds."""
