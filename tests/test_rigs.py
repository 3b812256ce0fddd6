"""Rigs of real data sets, as look-alikes of synthetic heads: loaded, and brought to the canonical frame."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from portrait360.cameras import RADIUS, Camera, azimuth_between, focal_from_fov, look_at
from portrait360.crop import Square, cut
from portrait360.errors import UserError
from portrait360.evaluate.alignment import nearest_front, to_canonical
from portrait360.evaluate.rigs import Rig, RigShot, nersemble, renderme360
from portrait360.export.video import save_turntable
from portrait360.images import Picture, eight_bits
from portrait360.portrait import Portrait
from portrait360.synth.build import build
from portrait360.synth.prepare import Prepared, prepare
from portrait360.synth.render import render
from portrait360.synth.sample import sample
from tests.scenes import psnr

h5py = pytest.importorskip("h5py")

FOCAL = focal_from_fov(18.8)
WIDE, HIGH, SIZE = 360, 300, 160  # of the photos, and of the canonical pictures
FRONT = 3  # the shot that the portrait is made from
PER_UNIT = 1.7  # of the rig's frame for one of the canonical frame
LENS = np.array([-1.5, 3.0, 0.02, -0.015, 1.0])  # strong, for photos with so narrow a field
WORLD = np.eye(4)  # canonical to the rig's frame, but for the scale
WORLD[:3, :3] = look_at(200, 40, roll=77)[:3, :3]
WORLD[:3, 3] = 12, -5, 30


def places() -> list[Camera]:
    """The canonical cameras of eight shots."""
    turns = [(45.0 * (i - FRONT) + 4, [5, -12, 9][i % 3], [2, -6, 9, 0, 17][i % 5]) for i in range(8)]
    return [Camera(look_at(azimuth, elevation, roll=roll), FOCAL) for azimuth, elevation, roll in turns]


def true_poses(distances: list[float]) -> list[np.ndarray]:
    """Of cameras that look past the head, all at one point beside it which the portrait's shot sees as far away as
    the head itself."""
    beside = places()[FRONT].cam2world[:3, :2] @ [0.11, -0.06]
    out = []
    for camera, distance in zip(places(), distances, strict=True):
        pose = camera.cam2world.copy()
        pose[:3, 3] *= distance / RADIUS
        ahead = beside - pose[:3, 3]
        ahead /= np.linalg.norm(ahead)
        axis = np.cross(pose[:3, 2], ahead)
        turn, _ = cv2.Rodrigues(axis / np.linalg.norm(axis) * np.arcsin(np.linalg.norm(axis)))
        pose[:3, :3] = turn @ pose[:3, :3]
        out.append(pose)
    return out


def in_the_world(pose: np.ndarray) -> np.ndarray:
    out = WORLD @ pose
    out[:3, 3] = WORLD[:3, :3] @ pose[:3, 3] * PER_UNIT + WORLD[:3, 3]
    return out


@pytest.fixture(scope="module")
def head() -> Prepared:
    return prepare(build(sample(12, "human")))


def shots_of(head: Prepared, distances: list[float]) -> Rig:
    """Oblong photos with the principal point off their middle; each camera has its own zoom."""
    shots = []
    for i, (pose, distance) in enumerate(zip(true_poses(distances), distances, strict=True)):
        zoom = [1.15, 0.95, 1.3][i % 3] * distance / RADIUS
        camera = Camera(pose, FOCAL * zoom * 300 / WIDE, (0.47, 0.49))
        seen = render(head, camera, WIDE)
        K = camera.intrinsics(WIDE)
        K[:2, 2] -= 0.5, 40.5  # rows above are cut off; OpenCV counts from the first pixel's centre
        rgb = np.where(seen.alpha[..., None] > 0, seen.rgb, 0.3)[40 : 40 + HIGH]
        picture = Picture(eight_bits(rgb) / np.float32(255), eight_bits(seen.alpha[40 : 40 + HIGH]) / np.float32(255))
        shots.append(RigShot(f"{i:02d}", in_the_world(pose), K, None, partial(same, picture)))
    return Rig("look-alike", tuple(shots))


def same(picture: Picture) -> Picture:
    return picture


@pytest.fixture(scope="module")
def rig(head) -> Rig:
    return shots_of(head, [RADIUS] * 8)


def portrait_of(shot: RigShot, pose: np.ndarray, quarters: int = 0) -> Portrait:
    """With a crop around the head's middle, and the camera that sees it so: nothing is detected."""
    camera, small = places()[FRONT], 1e-4
    around = np.array([[0, 0, 0], *camera.cam2world[:3, :2].T]) * small  # the head's middle, and beside and below it
    seen = ((around - pose[:3, 3]) @ pose[:3, :3]) @ (shot.K + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]).T
    middle, right, below = seen[:, :2] / seen[:, 2:]
    magnified = np.sqrt(np.linalg.det(np.stack([right - middle, below - middle]))) / small
    side = magnified / (camera.focal / RADIUS)
    for i in range(quarters):
        middle = middle[1], (WIDE, HIGH)[i % 2] - middle[0]
        turned = camera.cam2world.copy()
        turned[:3, 0], turned[:3, 1] = camera.cam2world[:3, 1], -camera.cam2world[:3, 0]
        camera = replace(camera, cam2world=turned)
    blank, none = np.zeros((64, 64), np.float32), np.zeros(0)
    corner = middle[0] - side / 2, middle[1] - side / 2
    rgb = np.zeros((64, 64, 3), np.float32)
    return Portrait(rgb, blank, blank, camera, "face", corner, float(side), None, none, none, quarters=quarters)


# the canonical frame


def assert_the_same_cameras(alignment, rig: Rig, distances: list[float]) -> None:
    for shot, true, distance in zip(rig.shots, places(), distances, strict=True):
        camera = alignment.camera(shot)
        np.testing.assert_allclose(camera.cam2world[:3, :3], true.cam2world[:3, :3], atol=1e-3)
        assert abs(azimuth_between(camera.azimuth, true.azimuth)) < 0.1
        assert abs(camera.elevation - true.elevation) < 0.1
        assert camera.radius == pytest.approx(distance, rel=1e-3)
        assert camera.focal / camera.radius == pytest.approx(FOCAL / RADIUS)


def assert_the_same_picture(alignment, shot: RigShot, seen) -> None:
    view = alignment.view(shot, SIZE)
    rgb, alpha, covered = view.rgb, view.alpha, view.known > 0.999
    inside = covered & (cv2.erode((seen.alpha > 0.99).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    assert covered.mean() > 0.5 and inside.mean() > 0.2
    assert psnr(rgb[inside], seen.rgb[inside]) > 33
    assert psnr(alpha[covered], seen.alpha[covered]) > 30


def solid(shot: RigShot) -> RigShot:
    """Opaque as far as its photo goes."""
    return replace(shot, load=partial(same, replace(shot.load(), alpha=np.ones((HIGH, WIDE), np.float32))))


def test_cameras_and_pictures_are_those_of_the_canonical_frame(head, rig):
    alignment = to_canonical(rig, FRONT, portrait_of(rig.shots[FRONT], true_poses([RADIUS] * 8)[FRONT]))
    assert alignment.scale == pytest.approx(1 / PER_UNIT, rel=1e-4)
    np.testing.assert_allclose(alignment.center, WORLD[:3, 3], atol=1e-3)
    assert_the_same_cameras(alignment, rig, [RADIUS] * 8)
    for shot, true in zip(rig.shots, places(), strict=True):
        assert_the_same_picture(alignment, shot, render(head, true, SIZE))


def test_a_picture_keeps_the_perspective_of_its_shot(head):
    distances = [RADIUS * by for by in (0.8, 1.1, 0.9, 0.75, 1.3, 1.0, 0.85, 1.2)]
    rig = shots_of(head, distances)
    alignment = to_canonical(rig, FRONT, portrait_of(rig.shots[FRONT], true_poses(distances)[FRONT]))
    assert_the_same_cameras(alignment, rig, distances)
    for shot in rig.shots[::3]:
        assert_the_same_picture(alignment, shot, render(head, alignment.camera(shot), SIZE))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_it_does_not_matter_how_the_photo_lay(rig, quarters):
    pose = true_poses([RADIUS] * 8)[FRONT]
    straight = to_canonical(rig, FRONT, portrait_of(rig.shots[FRONT], pose))
    turned = to_canonical(rig, FRONT, portrait_of(rig.shots[FRONT], pose, quarters))
    for name in ("center", "turn", "scale"):
        np.testing.assert_allclose(getattr(turned, name), getattr(straight, name), atol=1e-9)


def test_a_turned_photo_has_its_crop_where_the_portrait_says(rig):
    """The look-alike's own idea of quarters, against the one by which pictures are turned."""
    photo = rig.shots[FRONT].load()
    pose = true_poses([RADIUS] * 8)[FRONT]
    for quarters in (1, 2, 3):
        first, then = (portrait_of(rig.shots[FRONT], pose, q) for q in (0, quarters))
        crop = cut(photo.rgb, Square(first.corner, first.side), 64)
        turned = cut(photo.turned(quarters).rgb, Square(then.corner, then.side), 64)
        np.testing.assert_allclose(np.rot90(crop, quarters), turned, atol=0.02)


def test_the_portraits_own_shot_gives_its_crop_back(rig):
    """Where the camera looks at the crop's middle, turning it there does nothing."""
    shot = rig.shots[FRONT]
    ahead = shot.K[:2, 2] + 0.5
    side = 150.0
    portrait = replace(portrait_of(shot, true_poses([RADIUS] * 8)[FRONT]), corner=tuple(ahead - side / 2), side=side)
    view = to_canonical(rig, FRONT, portrait).view(shot, 96)
    photo = shot.load()
    assert psnr(view.rgb, cut(photo.rgb, Square(portrait.corner, side), 96)) > 45
    assert psnr(view.alpha, cut(photo.alpha, Square(portrait.corner, side), 96)) > 45


def test_beyond_the_photo_nothing_is_there(rig):
    portrait = portrait_of(rig.shots[FRONT], true_poses([RADIUS] * 8)[FRONT])
    alignment = replace(to_canonical(rig, FRONT, portrait), focal=FOCAL / 3)  # a wide view
    view = alignment.view(rig.shots[FRONT], SIZE)
    for values in (view.alpha, view.known):
        assert max(values[edge].max() for edge in (np.s_[:8], np.s_[-8:], np.s_[:, :8], np.s_[:, -8:])) == 0
    assert view.known[SIZE // 2 - 10 : SIZE // 2 + 10, SIZE // 2 - 10 : SIZE // 2 + 10].min() > 0.999


def test_a_missing_matte_is_found(rig):
    shot = rig.shots[FRONT]
    alignment = to_canonical(rig, FRONT, portrait_of(shot, true_poses([RADIUS] * 8)[FRONT]))
    bare = replace(shot, load=partial(same, replace(shot.load(), alpha=None)))
    found, given = alignment.view(bare, SIZE).alpha > 0.5, alignment.view(shot, SIZE).alpha > 0.5
    assert (found & given).sum() > 0.9 * (found | given).sum()


def test_a_crop_of_something_else_is_refused(rig):
    portrait = portrait_of(rig.shots[FRONT], true_poses([RADIUS] * 8)[FRONT])
    with pytest.raises(UserError, match="look at"):
        to_canonical(rig, FRONT, replace(portrait, corner=(1e6, 0.0)))


def test_the_portrait_is_made_from_the_front(rig):
    assert nearest_front(rig) == FRONT
    assert nearest_front(Rig("two", (rig.shots[FRONT + 1], rig.shots[FRONT + 4], rig.shots[FRONT]))) == 2
    with pytest.raises(UserError, match="No face"):
        nearest_front(Rig("behind", (rig.shots[(FRONT + 4) % 8],)))


# NeRSemble


def write_nersemble(folder: Path, rig: Rig, size: tuple[int, int] = (550, 802)) -> Path:
    """All shots share one K there, so the films hold any picture."""
    (folder / "017" / "calibration").mkdir(parents=True)
    said = {
        "world_2_cam": {f"2222{shot.name}": np.linalg.inv(shot.cam2world).tolist() for shot in rig.shots},
        "intrinsics": [[8000, 0, 1090.3], [0, 8010, 1600.8], [0, 0, 1]],
    }
    (folder / "017" / "calibration" / "camera_params.json").write_text(json.dumps(said))
    for sequence in ("BACKGROUND", "EMO-1", "EXP-1-head"):
        (folder / "017" / "sequences" / sequence / "images").mkdir(parents=True)
    for shot in rig.shots:
        film = folder / "017" / "sequences" / "EXP-1-head" / "images" / f"cam_2222{shot.name}.mp4"
        bright = cv2.resize(shot.load().rgb, size, interpolation=cv2.INTER_CUBIC)
        save_turntable(film, [bright, bright, 0.5 * bright])
    return folder


@pytest.fixture(scope="module")
def films(rig, tmp_path_factory) -> Path:
    return write_nersemble(tmp_path_factory.mktemp("nersemble"), Rig("few", rig.shots[:4]))


def test_nersemble_gives_back_its_cameras_and_pictures(films, rig):
    (loaded,) = nersemble(films)
    assert loaded.name == "017_EXP-1-head_0" and [shot.name for shot in loaded.shots] == [
        f"2222{i:02d}" for i in range(4)
    ]
    for ours, theirs in zip(rig.shots, loaded.shots, strict=False):
        np.testing.assert_allclose(theirs.cam2world, ours.cam2world, atol=1e-9)
        # a quarter of the size: what lies at an edge of the picture stays there
        np.testing.assert_allclose(theirs.K[[0, 1], [0, 1]], [2000, 2002.5])
        np.testing.assert_allclose(theirs.K[:2, 2] + 0.5, [(1090.3 + 0.5) / 4, (1600.8 + 0.5) / 4])
        picture = theirs.load()
        assert theirs.distortion is None and picture.alpha is None and picture.rgb.shape == (802, 550, 3)
        assert psnr(picture.rgb, cv2.resize(ours.load().rgb, (550, 802), interpolation=cv2.INTER_CUBIC)) > 33


def test_nersemble_takes_the_frame_and_the_sequence_that_are_named(films):
    first, last = (next(nersemble(films, "EXP-1-head", frame)).shots[0].load().rgb for frame in (0, 2))
    assert psnr(0.5 * first, last) > 33
    with pytest.raises(UserError, match="ends before frame 3"):
        next(nersemble(films, frame=3)).shots[0].load()
    with pytest.raises(UserError, match="EMO-1.images holds no films"):
        next(nersemble(films, "EMO-1"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda at: (at / "calibration" / "camera_params.json").unlink(), "no file .*camera_params"),
        (lambda at: (at / "calibration" / "camera_params.json").write_text("{"), "not JSON"),
        (lambda at: (at / "calibration" / "camera_params.json").write_text("[" * 10**5), "not JSON"),
        (lambda at: (at / "calibration" / "camera_params.json").write_text("[]"), "names no cameras"),
        (lambda at: calibration(at, intrinsics=[[1, 2], [3, 4]]), "no intrinsics of 3 x 3"),
        (lambda at: calibration(at, intrinsics=[[-1, 0, 0], [0, 1, 0], [0, 0, 1]]), "no intrinsics of 3 x 3"),
        (lambda at: calibration(at, world_2_cam={"222200": [[10**400]]}), "camera 222200, has no camera pose"),
        (lambda at: calibration(at, world_2_cam={"222200": np.ones((4, 4)).tolist()}), "no rotation"),
        (lambda at: calibration(at, world_2_cam={"9": np.eye(4).tolist()}), "holds no films"),
        (lambda at: film(at).write_bytes(film(at).read_bytes()[:300]), "not a whole film"),
        (lambda at: film(at).write_bytes(b""), "not a whole film"),
        (lambda at: film(at).write_bytes(film(at).read_bytes()[:4000]), "cam_222200.mp4 is not a whole film"),
    ],
)
def test_nersemble_says_what_is_wrong(tmp_path, films, damage, said):
    write_again(films, tmp_path / "017")
    damage(tmp_path / "017")
    with pytest.raises(UserError, match=said) as told:
        next(nersemble(tmp_path)).shots[0].load()
    assert str(tmp_path) in str(told.value) and "\n" not in str(told.value)


def calibration(at: Path, **changes) -> None:
    path = at / "calibration" / "camera_params.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def film(at: Path) -> Path:
    return at / "sequences" / "EXP-1-head" / "images" / "cam_222200.mp4"


def write_again(films: Path, person: Path) -> None:
    """A participant with one camera."""
    for path in (film(films / "017"), films / "017" / "calibration" / "camera_params.json"):
        copy = person / path.relative_to(films / "017")
        copy.parent.mkdir(parents=True)
        copy.write_bytes(path.read_bytes())


@pytest.mark.parametrize("loader", [nersemble, renderme360])
def test_folders_without_anybody(tmp_path, loader):
    with pytest.raises(UserError, match="There is no folder"):
        loader(tmp_path / "nowhere")
    (tmp_path / "raw").mkdir()
    with pytest.raises(UserError, match="holds no (participants|actors)"):
        loader(tmp_path)


# RenderMe-360


def png(values: np.ndarray) -> np.ndarray:
    values = eight_bits(values)
    return cv2.imencode(".png", values[..., ::-1] if values.ndim == 3 else values)[1].reshape(-1)


def write_renderme(folder: Path, rig: Rig, *, part: str = "e0", inverse: bool = False, lens=None) -> Path:
    """With `lens`, the photos are bent as such a lens bends them."""
    lens = np.zeros(5) if lens is None else lens
    for kind in ("raw", "anno"):
        (folder / kind / "0026").mkdir(parents=True, exist_ok=True)
    raw, anno = smc(folder, part)
    with h5py.File(raw, "w") as pictures, h5py.File(anno, "w") as known:
        for shot in rig.shots:
            photo = shot.load()
            for file, kind, values in ((pictures, "color", photo.rgb), (known, "mask", photo.alpha)):
                file[f"Camera/{shot.name}/{kind}/0"] = png(bent(values, shot.K, lens))
            pose = np.linalg.inv(shot.cam2world) if inverse else shot.cam2world
            for name, values in (("K", shot.K), ("D", lens), ("RT", pose)):
                known[f"Calibration/{shot.name}/{name}"] = values
    return folder


def smc(folder: Path, part: str = "e0") -> list[Path]:
    return [folder / kind / "0026" / f"0026_{part}_{kind}.smc" for kind in ("raw", "anno")]


def bent(values: np.ndarray, K: np.ndarray, lens: np.ndarray) -> np.ndarray:
    """What a lens makes of a pinhole's picture: each of its pixels looks up where it would be without."""
    if not lens.any():
        return values
    y, x = np.indices(values.shape[:2], np.float32)
    straight = cv2.undistortPoints(np.stack([x, y], -1).reshape(-1, 1, 2), K, lens, P=K).reshape(*x.shape, 2)
    return cv2.remap(values, straight.astype(np.float32), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("inverse", [False, True])
def test_renderme_gives_back_its_cameras_and_pictures(tmp_path, rig, inverse):
    """Whether RT is cam2world, as is said, or world2cam."""
    (loaded,) = renderme360(write_renderme(tmp_path, rig, inverse=inverse))
    assert loaded.name == "0026_e0_0" and len(loaded.shots) == 8
    for ours, theirs in zip(rig.shots, loaded.shots, strict=True):
        assert theirs.name == ours.name
        np.testing.assert_allclose(theirs.cam2world, ours.cam2world, atol=1e-9)
        np.testing.assert_array_equal(theirs.K, ours.K)
        np.testing.assert_allclose(theirs.load().rgb, ours.load().rgb, atol=1e-6)
        np.testing.assert_allclose(theirs.load().alpha, ours.load().alpha, atol=1e-6)


def test_poses_are_read_the_right_way_where_the_head_is_the_origin(tmp_path, rig):
    """Read the wrong way, all cameras then stand at one point."""
    centred = tuple(replace(s, cam2world=c.cam2world) for s, c in zip(rig.shots, places(), strict=True))
    for inverse in (False, True):
        (loaded,) = renderme360(write_renderme(tmp_path / str(inverse), Rig("", centred), inverse=inverse))
        for shot, camera in zip(loaded.shots, places(), strict=True):
            np.testing.assert_allclose(shot.cam2world, camera.cam2world, atol=1e-9)


def test_the_lens_is_taken_out(tmp_path, rig):
    shot = rig.shots[FRONT]
    folder = write_renderme(tmp_path, rig, lens=LENS)
    photo, head = shot.load(), shot.load().alpha > 0.5
    assert psnr(bent(photo.rgb, shot.K, LENS)[head], photo.rgb[head]) < 30  # the lens does bend
    loaded = next(renderme360(folder)).shots[FRONT]
    np.testing.assert_array_equal(loaded.distortion, LENS)
    assert psnr(loaded.load().rgb[head], photo.rgb[head]) > 33
    assert psnr(loaded.load().alpha[20:-20, 20:-20], photo.alpha[20:-20, 20:-20]) > 33


def test_the_first_expression_is_taken(tmp_path, rig):
    few = Rig("few", rig.shots[:4])
    for part in ("h1", "e2"):
        write_renderme(tmp_path, few, part=part)
    assert next(renderme360(tmp_path)).name == "0026_e2_0"
    assert next(renderme360(tmp_path, "h1")).name == "0026_h1_0"
    write_renderme(tmp_path, few)
    assert next(renderme360(tmp_path)).name == "0026_e0_0"


def change(path: Path, key: str, value) -> None:
    with h5py.File(path, "a") as file:
        del file[key]
        if value is not None:
            file[key] = value


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw, anno: anno.unlink(), "no file .*_anno.smc"),
        (lambda raw, anno: anno.write_bytes(b"PK"), "_anno.smc is not a whole .smc"),
        (lambda raw, anno: raw.write_bytes(raw.read_bytes()[:5000]), "_raw.smc is not a whole .smc"),
        (lambda raw, anno: change(raw, "Camera", None), "_raw.smc holds no pictures of frame 0"),
        (lambda raw, anno: change(anno, "Calibration/01/K", None), "_anno.smc holds no Calibration/01/K"),
        (lambda raw, anno: change(anno, "Calibration/01/K", "text"), "_anno.smc, camera 01 has no intrinsics"),
        (lambda raw, anno: change(anno, "Calibration/01/RT", np.ones((4, 4))), "camera 01, has a camera pose that"),
        (lambda raw, anno: change(anno, "Calibration/01/D", np.ones(3)), "camera 01 has a lens"),
        (lambda raw, anno: change(anno, "Calibration/01/D", "text"), "_anno.smc"),
        (lambda raw, anno: change(anno, "Calibration/02/RT", looks_away(anno)), "do not look at one point"),
        (lambda raw, anno: change(raw, "Camera/00/color/0", np.arange(99, dtype=np.uint8)), "_raw.smc is not a pict"),
        (lambda raw, anno: change(anno, "Camera/00/mask/0", "text"), "_anno.smc is not a picture"),
        (lambda raw, anno: change(anno, "Camera/00/mask/0", png(np.zeros((20, 30)))), "not as large as its picture"),
        (lambda raw, anno: change(raw, "Camera/00/color/0", h5py.ExternalLink(anno, "x")), "_raw.smc"),
        (
            lambda raw, anno: change(raw, "Camera/00/color/0", h5py.ExternalLink(anno, "Camera/00/mask/0")),
            "leads to another file",
        ),
    ],
)
def test_renderme_says_what_is_wrong(tmp_path, rig, damage, said):
    write_renderme(tmp_path, Rig("few", rig.shots[:3]))
    damage(*smc(tmp_path))
    with pytest.raises(UserError, match=said) as told:
        next(renderme360(tmp_path)).shots[0].load()
    assert str(tmp_path) in str(told.value) and "\n" not in str(told.value)


def looks_away(anno: Path) -> np.ndarray:
    with h5py.File(anno) as file:
        return file["Calibration/02/RT"][()] @ np.diag([-1.0, 1, -1, 1])


def test_too_much_is_not_read(tmp_path, rig):
    write_renderme(tmp_path, Rig("few", rig.shots[:3]))
    raw, _ = smc(tmp_path)
    with h5py.File(raw, "a") as file:
        del file["Camera/00/color/0"]
        file.create_dataset("Camera/00/color/0", (1 << 40,), np.uint8, chunks=(1 << 20,))
    with pytest.raises(UserError, match="1048576 MB"):
        next(renderme360(tmp_path)).shots[0].load()
