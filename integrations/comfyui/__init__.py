"""portrait360 for ComfyUI: a portrait becomes a head, and the head views, a mesh, splats and videos."""

from __future__ import annotations

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
