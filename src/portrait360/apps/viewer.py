"""`portrait360 view`: shows the views, cameras, proxy and head of a folder in the browser, and compares the head with
any view. The only file that imports viser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from portrait360.geometry.cameras import Camera, look_at
from portrait360.geometry.canonical_frame import RADIUS
from portrait360.geometry.gaussians.projection import rotation_matrices
from portrait360.geometry.gaussians.splats import GaussianSplats
from portrait360.pipeline.export.mesh import pack_glb
from portrait360.pipeline.export.units import METRES
from portrait360.pipeline.export.writer import render_head
from portrait360.pipeline.loaded_head import load_head
from portrait360.pipeline.portrait.portrait import Portrait
from portrait360.pipeline.proxy.proxy import Proxy
from portrait360.pipeline.reconstruction import RESULTS
from portrait360.pipeline.reconstruction.head import Head, head_folder
from portrait360.pipeline.run import SPLATS
from portrait360.pipeline.views.proxy_views import load_folder_views, render_proxy_views
from portrait360.pipeline.views.view_set import View, ViewSet
from portrait360.utils.array_types import Bytes, Floats
from portrait360.utils.errors import UserError
from portrait360.utils.images import over_grey, to_uint8
from portrait360.utils.local_server import HOST, free_port

if TYPE_CHECKING:
    import viser


FRUSTUM = 0.12  # depth of a camera frustum in canonical units
OUTSIDE = 1.6  # distance of a viewer outside the ring of cameras, in camera radii
THUMBNAIL_SIZE = 96  # pixels: side of the picture in a frustum
COMPARE_SIZE = 192  # pixels: side of each picture in a comparison
DIFFERENCE_GAIN = 3.0


@dataclass(frozen=True, eq=False)
class FolderContents:
    """The views, proxy and head of a folder; None for each that it lacks."""

    view_set: ViewSet | None
    proxy: Proxy | None
    head: Head | None

    @classmethod
    def load(cls, path: Path) -> FolderContents:
        """Load everything in a folder, or the head in a file."""
        path = Path(path)
        if not path.exists():
            raise UserError(f"There is no file or folder {path}.")
        view_set = proxy = None
        if path.is_dir():
            proxy = Proxy.load(path / "proxy") if (path / "proxy" / "proxy.npz").is_file() else None
            view_set = load_folder_views(path)
            if view_set is None and proxy is not None:
                view_set = render_proxy_views(Portrait.load(path / "portrait"), proxy)
        head = _load_results(path) if _has_head(path) else None
        if not (view_set or proxy or head):
            raise UserError(
                f"{path} has no views, proxy or head to show; choose a folder that `portrait360 make` wrote."
            )
        return cls(view_set, proxy, head)


def _has_head(path: Path) -> bool:
    folders = (path, head_folder(path) or path)
    files = [*(f / f"{name}.safetensors" for f in folders for name in RESULTS), *(path / name for name in SPLATS)]
    return path.is_file() or any(file.is_file() for file in files)


def _load_results(path: Path) -> Head:
    loaded = load_head(path)
    return Head(loaded.field, loaded.splats, loaded.mesh)


def compare_views(view: View, head: Head, size: int = COMPARE_SIZE) -> Bytes:
    """Return the view, the head from its camera, and three times their difference, side by side over grey."""
    target = _thumbnail(view, size)
    rendered = over_grey(*render_head(head, view.camera, size))
    return to_uint8(np.concatenate([target, rendered, (DIFFERENCE_GAIN * np.abs(rendered - target)).clip(0, 1)], 1))


def _thumbnail(view: View, size: int) -> Floats:
    grey = over_grey(view.rgb, view.alpha)
    return np.asarray(cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def show(contents: FolderContents, port: int = 8080) -> viser.ViserServer:
    """Start a server that shows the contents, and return it."""
    try:
        import viser
    except ImportError as error:
        raise UserError("`portrait360 view` needs viser; install it with: pip install 'portrait360[view]'") from error
    server = viser.ViserServer(host=HOST, port=free_port(port), label="portrait360", verbose=False)
    server.scene.set_up_direction("+y")
    camera = server.initial_camera
    camera.position, camera.look_at, camera.up = look_at(0.0)[:3, 3], np.zeros(3), np.array([0.0, 1.0, 0.0])
    camera.fov = float(np.radians(25))
    camera.near = 2 * FRUSTUM  # clips the frustum of the camera that the viewer looks through
    with server.gui.add_folder("Show"):
        for name, node in _add_nodes(server, contents).items():
            _add_checkbox(server, name, node)
    if contents.view_set is not None:
        _add_cameras(server, contents.view_set, visible=not (contents.head or contents.proxy))
        if contents.head is not None:
            _add_comparison(server, contents.view_set, contents.head)
    return server


def _add_nodes(server: viser.ViserServer, contents: FolderContents) -> dict[str, viser.SceneNodeHandle]:
    """Add splats, mesh and proxy in the middle of the scene; only the best of them is visible at first."""
    nodes: dict[str, viser.SceneNodeHandle] = {}
    head, proxy = contents.head, contents.proxy
    if head and head.splats:
        nodes["splats"] = _add_splats(server, head.splats)
    if head and head.mesh:
        data = pack_glb(head.mesh, "jpeg")
        nodes["mesh"] = server.scene.add_glb("/mesh", data, scale=1 / METRES, visible=not nodes)
    if proxy:
        data = pack_glb(proxy.as_mesh(), "jpeg")
        nodes["proxy"] = server.scene.add_glb("/proxy", data, scale=1 / METRES, visible=not nodes)
    return nodes


def _add_splats(server: viser.ViserServer, splats: GaussianSplats) -> viser.SceneNodeHandle:
    axes = rotation_matrices(torch.from_numpy(splats.rotations)).numpy() * splats.scales[:, None, :]
    return server.scene.add_gaussian_splats(
        "/splats",
        centers=splats.means,
        covariances=axes @ axes.transpose(0, 2, 1),
        rgbs=splats.without_slopes().colours,
        opacities=splats.opacities[:, None],
    )


def _add_checkbox(server: viser.ViserServer, name: str, node: viser.SceneNodeHandle) -> None:
    box = server.gui.add_checkbox(name, node.visible)

    @box.on_update
    def _(_: object) -> None:
        node.visible = box.value


def _add_cameras(server: viser.ViserServer, view_set: ViewSet, visible: bool) -> None:
    """Add a frustum with its picture for every view; a click on a frustum looks through its camera."""
    from viser.transforms import SO3

    with server.gui.add_folder("Views"):
        box = server.gui.add_checkbox("cameras", visible)
    nodes = []
    for i, view in enumerate(view_set.all):
        node = server.scene.add_camera_frustum(
            f"/cameras/{i}",
            fov=_fov(view.camera),
            aspect=1.0,
            scale=FRUSTUM,
            image=to_uint8(_thumbnail(view, THUMBNAIL_SIZE)),
            wxyz=SO3.from_matrix(view.camera.cam2world[:3, :3]).wxyz,
            position=view.camera.position,
            visible=visible,
            color=(230, 120, 40) if view is view_set.reference else (60, 90, 140),
        )
        nodes.append(node)

        @node.on_click
        def _(event: viser.SceneNodePointerEvent[viser.CameraFrustumHandle], camera: Camera = view.camera) -> None:
            _look_through(event.client, camera)

    @box.on_update
    def _(_: object) -> None:
        for node in nodes:
            node.visible = box.value
        for client in server.get_clients().values():
            _step_back(client)


def _step_back(client: viser.ClientHandle) -> None:
    """Move the viewer outside the ring of cameras, whose pictures would hide the head."""
    position = np.asarray(client.camera.position, np.float64)
    distance = float(np.linalg.norm(position))
    if 0 < distance < OUTSIDE * RADIUS:
        client.camera.position = tuple(position * (OUTSIDE * RADIUS / distance))


def _look_through(client: viser.ClientHandle, camera: Camera) -> None:
    with client.atomic():
        client.camera.up_direction = tuple(-camera.cam2world[:3, 1])
        client.camera.position = tuple(camera.position)
        client.camera.look_at = tuple(camera.position + camera.cam2world[:3, 2] * min(camera.radius, 2 * RADIUS))
        client.camera.fov = _fov(camera)


def _fov(camera: Camera) -> float:
    return 2 * float(np.arctan(0.5 / camera.focal))


def _add_comparison(server: viser.ViserServer, view_set: ViewSet, head: Head) -> None:
    """Add a slider for the view, and a picture of the view, the head from its camera, and their difference."""
    views = view_set.all
    first = len(views) - 1 if view_set.reference is not None else 0
    with server.gui.add_folder("Compare"):
        note = " The last view is the photo." if first else ""
        server.gui.add_markdown(
            f"From left to right: the view, the head from the same camera, and {DIFFERENCE_GAIN:.0f} × their "
            f"difference.{note}"
        )
        slider = server.gui.add_slider("view", 0, len(views) - 1, 1, first)
        picture = server.gui.add_image(compare_views(views[first], head), format="png")
        button = server.gui.add_button("Look through this camera")

    @slider.on_update
    def _(_: object) -> None:
        picture.image = compare_views(views[slider.value], head)

    @button.on_click
    def _(event: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
        if event.client is not None:
            _look_through(event.client, views[slider.value].camera)
