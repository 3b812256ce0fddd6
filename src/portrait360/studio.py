"""`portrait360 view`: what a folder holds (views and their cameras, proxy, head) in the browser, and the head beside
any of its views. The only file that knows viser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from portrait360.cameras import RADIUS, Camera, look_at
from portrait360.errors import UserError
from portrait360.export.head import open_head, seen
from portrait360.export.mesh import packed_glb
from portrait360.export.units import METRES
from portrait360.geometry.splat_project import matrices
from portrait360.geometry.splats import Splats
from portrait360.head import NAMES, Head, head_folder
from portrait360.images import eight_bits, over_grey
from portrait360.local import HOST, free_port
from portrait360.portrait import Portrait
from portrait360.proxy import Proxy
from portrait360.view_sheet import View, ViewSheet
from portrait360.views import own_views, proxy_views

if TYPE_CHECKING:
    import viser

Floats = NDArray[np.floating]
Bytes = NDArray[np.uint8]

FRUSTUM = 0.12  # canonical: depth of a camera's pyramid
OUTSIDE = 1.6  # times the cameras' distance
THUMB = 96  # pixels of the picture in it
COMPARED = 192  # pixels of each of the pictures that are compared
LOUDER = 3.0  # so much are differences made larger


@dataclass(frozen=True, eq=False)
class Exhibit:
    """What there is to be seen."""

    sheet: ViewSheet | None
    proxy: Proxy | None
    head: Head | None

    @classmethod
    def find(cls, place: Path) -> Exhibit:
        """All that lies in a folder, or the head in a file."""
        place = Path(place)
        if not place.exists():
            raise UserError(f"There is no {place}.")
        sheet = proxy = None
        if place.is_dir():
            proxy = Proxy.load(place / "proxy") if (place / "proxy" / "proxy.npz").is_file() else None
            sheet = own_views(place) or (proxy_views(Portrait.load(place / "portrait"), proxy) if proxy else None)
        head = open_head(place) if _has_head(place) else None
        if not (sheet or proxy or head):
            raise UserError(f"{place} holds neither views nor a proxy nor a head; begin with `portrait360 proxy`.")
        return cls(sheet, proxy, head)


def _has_head(place: Path) -> bool:
    folders = (place, head_folder(place) or place)
    return place.is_file() or any((f / f"{name}.safetensors").is_file() for f in folders for name in NAMES)


def compared(view: View, head: Head, size: int = COMPARED) -> Bytes:
    """The view, the head from its camera, and three times their difference, side by side over grey."""
    given = _small(view, size)
    own = over_grey(*seen(head, view.camera, size))
    return eight_bits(np.concatenate([given, own, (LOUDER * np.abs(own - given)).clip(0, 1)], 1))


def _small(view: View, size: int) -> Floats:
    grey = over_grey(view.rgb, view.alpha)
    return np.asarray(cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def show(exhibit: Exhibit, port: int = 8080) -> viser.ViserServer:
    """A server with everything in its scene, already running."""
    try:
        import viser
    except ImportError as error:
        raise UserError("`portrait360 view` needs viser; install it with: pip install 'portrait360[view]'") from error
    server = viser.ViserServer(host=HOST, port=free_port(port), label="portrait360", verbose=False)
    server.scene.set_up_direction("+y")
    camera = server.initial_camera
    camera.position, camera.look_at, camera.up = look_at(0.0)[:3, 3], np.zeros(3), np.array([0.0, 1.0, 0.0])
    camera.fov = float(np.radians(25))
    camera.near = 2 * FRUSTUM  # who looks through a camera does not see its picture
    with server.gui.add_folder("Show"):
        for name, node in _nodes(server, exhibit).items():
            _switch(server, name, node)
    if exhibit.sheet is not None:
        _cameras(server, exhibit.sheet, visible=not (exhibit.head or exhibit.proxy))
        if exhibit.head is not None:
            _comparison(server, exhibit.sheet, exhibit.head)
    return server


def _nodes(server: viser.ViserServer, exhibit: Exhibit) -> dict[str, viser.SceneNodeHandle]:
    """What stands in the middle: the best is seen first, the others when they are asked for."""
    nodes: dict[str, viser.SceneNodeHandle] = {}
    head, proxy = exhibit.head, exhibit.proxy
    if head and head.splats:
        nodes["splats"] = _splats(server, head.splats)
    if head and head.mesh:
        data = packed_glb(head.mesh, "jpeg")
        nodes["mesh"] = server.scene.add_glb("/mesh", data, scale=1 / METRES, visible=not nodes)
    if proxy:
        data = packed_glb(proxy.textured(), "jpeg")
        nodes["proxy"] = server.scene.add_glb("/proxy", data, scale=1 / METRES, visible=not nodes)
    return nodes


def _splats(server: viser.ViserServer, splats: Splats) -> viser.SceneNodeHandle:
    axes = matrices(torch.from_numpy(splats.rotations)).numpy() * splats.scales[:, None, :]
    return server.scene.add_gaussian_splats(
        "/splats",
        centers=splats.means,
        covariances=axes @ axes.transpose(0, 2, 1),
        rgbs=splats.colours,
        opacities=splats.opacities[:, None],
    )


def _switch(server: viser.ViserServer, name: str, node: viser.SceneNodeHandle) -> None:
    box = server.gui.add_checkbox(name, node.visible)

    @box.on_update
    def _(_: object) -> None:
        node.visible = box.value


def _cameras(server: viser.ViserServer, sheet: ViewSheet, visible: bool) -> None:
    """A pyramid with its picture for every view; a click on one looks through it."""
    from viser.transforms import SO3

    with server.gui.add_folder("Views"):
        box = server.gui.add_checkbox("cameras", visible)
    nodes = []
    for i, view in enumerate(sheet.all):
        node = server.scene.add_camera_frustum(
            f"/cameras/{i}",
            fov=_fov(view.camera),
            aspect=1.0,
            scale=FRUSTUM,
            image=eight_bits(_small(view, THUMB)),
            wxyz=SO3.from_matrix(view.camera.cam2world[:3, :3]).wxyz,
            position=view.camera.position,
            visible=visible,
            color=(230, 120, 40) if view is sheet.reference else (60, 90, 140),
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
    """Outside of the ring of cameras, whose pictures would hide the head."""
    place = np.asarray(client.camera.position, np.float64)
    away = float(np.linalg.norm(place))
    if 0 < away < OUTSIDE * RADIUS:
        client.camera.position = tuple(place * (OUTSIDE * RADIUS / away))


def _look_through(client: viser.ClientHandle, camera: Camera) -> None:
    with client.atomic():
        client.camera.up_direction = tuple(-camera.cam2world[:3, 1])
        client.camera.position = tuple(camera.position)
        client.camera.look_at = tuple(camera.position + camera.cam2world[:3, 2] * min(camera.radius, 2 * RADIUS))
        client.camera.fov = _fov(camera)


def _fov(camera: Camera) -> float:
    return 2 * float(np.arctan(0.5 / camera.focal))


def _comparison(server: viser.ViserServer, sheet: ViewSheet, head: Head) -> None:
    """The chosen view, the head from there, and how they differ."""
    views = sheet.all
    first = len(views) - 1 if sheet.reference is not None else 0
    with server.gui.add_folder("Compare"):
        note = "; the last is the photo" if first else ""
        server.gui.add_markdown(f"The view, the head from there, {LOUDER:.0f} × their difference{note}.")
        slider = server.gui.add_slider("view", 0, len(views) - 1, 1, first)
        picture = server.gui.add_image(compared(views[first], head), format="png")
        button = server.gui.add_button("Look from there")

    @slider.on_update
    def _(_: object) -> None:
        picture.image = compared(views[slider.value], head)

    @button.on_click
    def _(event: viser.GuiEvent[viser.GuiButtonHandle]) -> None:
        if event.client is not None:
            _look_through(event.client, views[slider.value].camera)
