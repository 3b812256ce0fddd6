"""What moves the splats of the page: their bindings to the mesh, and what an open mouth or closed lids show."""
