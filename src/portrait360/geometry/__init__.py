"""What any 3D project needs: cameras, rasteriser, warping, and representations with their renderers."""
