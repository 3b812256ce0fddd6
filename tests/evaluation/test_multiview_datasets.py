"""Loaders of real data sets, on look-alike folders."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from portrait360.evaluation.multiview_datasets import CameraRig, Subjects, load_nersemble, load_renderme360
from portrait360.pipeline.export.video import save_turntable
from portrait360.utils.errors import UserError
from tests.fixtures.rigs import FRONT, bent, places, png, smc, write_renderme
from tests.fixtures.scenes import psnr

h5py = pytest.importorskip("h5py")

LENS = np.array([-1.5, 3.0, 0.02, -0.015, 1.0])  # strong, for photos with so narrow a field


def opened(subjects: Subjects) -> CameraRig:
    """The first of them."""
    return next(iter(subjects.values()))()


# NeRSemble


def write_nersemble(folder: Path, rig: CameraRig, size: tuple[int, int] = (550, 802)) -> Path:
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
    return write_nersemble(tmp_path_factory.mktemp("nersemble"), CameraRig("few", rig.shots[:4]))


def test_nersemble_gives_back_its_cameras_and_pictures(films, rig):
    loaded = opened(load_nersemble(films))
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
    first, last = (opened(load_nersemble(films, "EXP-1-head", frame)).shots[0].load().rgb for frame in (0, 2))
    assert psnr(0.5 * first, last) > 33
    with pytest.raises(UserError, match="ends before frame 3"):
        opened(load_nersemble(films, frame=3)).shots[0].load()
    with pytest.raises(UserError, match="EMO-1.images contains no videos"):
        opened(load_nersemble(films, "EMO-1"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda at: (at / "calibration" / "camera_params.json").unlink(), "no file .*camera_params"),
        (lambda at: (at / "calibration" / "camera_params.json").write_text("{"), "not JSON"),
        (lambda at: (at / "calibration" / "camera_params.json").write_text("[" * 10**5), "not JSON"),
        (lambda at: (at / "calibration" / "camera_params.json").write_text("[]"), "lists no cameras"),
        (lambda at: calibration(at, intrinsics=[[1, 2], [3, 4]]), "no 3 x 3 intrinsics"),
        (lambda at: calibration(at, intrinsics=[[-1, 0, 0], [0, 1, 0], [0, 0, 1]]), "no 3 x 3 intrinsics"),
        (lambda at: calibration(at, world_2_cam={"222200": [[10**400]]}), "camera 222200, has no 4 x 4 camera pose"),
        (lambda at: calibration(at, world_2_cam={"222200": np.ones((4, 4)).tolist()}), "not a rotation"),
        (lambda at: calibration(at, world_2_cam={"9": np.eye(4).tolist()}), "contains no videos"),
        (lambda at: film(at).write_bytes(film(at).read_bytes()[:300]), "not a complete video"),
        (lambda at: film(at).write_bytes(b""), "not a complete video"),
        (lambda at: film(at).write_bytes(film(at).read_bytes()[:4000]), "cam_222200.mp4 is not a complete video"),
    ],
)
def test_nersemble_says_what_is_wrong(tmp_path, films, damage, said):
    write_again(films, tmp_path / "017")
    damage(tmp_path / "017")
    with pytest.raises(UserError, match=said) as told:
        opened(load_nersemble(tmp_path)).shots[0].load()
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


@pytest.mark.parametrize("loader", [load_nersemble, load_renderme360])
def test_folders_without_anybody(tmp_path, loader):
    with pytest.raises(UserError, match="There is no folder"):
        loader(tmp_path / "nowhere")
    (tmp_path / "raw").mkdir()
    with pytest.raises(UserError, match="contains no (NeRSemble participants|RenderMe-360 actors)"):
        loader(tmp_path)


# RenderMe-360


@pytest.mark.parametrize("inverse", [False, True])
def test_renderme_gives_back_its_cameras_and_pictures(tmp_path, rig, inverse):
    """Whether RT is cam2world, as is said, or world2cam."""
    loaded = opened(load_renderme360(write_renderme(tmp_path, rig, inverse=inverse)))
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
        loaded = opened(
            load_renderme360(write_renderme(tmp_path / str(inverse), CameraRig("", centred), inverse=inverse))
        )
        for shot, camera in zip(loaded.shots, places(), strict=True):
            np.testing.assert_allclose(shot.cam2world, camera.cam2world, atol=1e-9)


def test_the_lens_is_taken_out(tmp_path, rig):
    shot = rig.shots[FRONT]
    folder = write_renderme(tmp_path, rig, lens=LENS)
    photo, head = shot.load(), shot.load().alpha > 0.5
    assert psnr(bent(photo.rgb, shot.K, LENS)[head], photo.rgb[head]) < 30  # the lens does bend
    loaded = opened(load_renderme360(folder)).shots[FRONT]
    np.testing.assert_array_equal(loaded.distortion, LENS)
    assert psnr(loaded.load().rgb[head], photo.rgb[head]) > 33
    assert psnr(loaded.load().alpha[20:-20, 20:-20], photo.alpha[20:-20, 20:-20]) > 33


def test_the_first_expression_is_taken(tmp_path, rig):
    few = CameraRig("few", rig.shots[:4])
    for part in ("h1", "e2"):
        write_renderme(tmp_path, few, part=part)
    assert opened(load_renderme360(tmp_path)).name == "0026_e2_0"
    assert opened(load_renderme360(tmp_path, "h1")).name == "0026_h1_0"
    write_renderme(tmp_path, few)
    assert opened(load_renderme360(tmp_path)).name == "0026_e0_0"


def change(path: Path, key: str, value) -> None:
    with h5py.File(path, "a") as file:
        del file[key]
        if value is not None:
            file[key] = value


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw, anno: anno.unlink(), "no file .*_anno.smc"),
        (lambda raw, anno: anno.write_bytes(b"PK"), "_anno.smc is not a complete .smc"),
        (lambda raw, anno: raw.write_bytes(raw.read_bytes()[:5000]), "_raw.smc is not a complete .smc"),
        (lambda raw, anno: change(raw, "Camera", None), "_raw.smc contains no pictures of frame 0"),
        (lambda raw, anno: change(anno, "Calibration/01/K", None), "_anno.smc contains no Calibration/01/K"),
        (lambda raw, anno: change(anno, "Calibration/01/K", "text"), "_anno.smc, camera 01 has no 3 x 3 intrinsics"),
        (lambda raw, anno: change(anno, "Calibration/01/RT", np.ones((4, 4))), "camera 01, has a camera pose that"),
        (lambda raw, anno: change(anno, "Calibration/01/D", np.ones(3)), "camera 01 has a lens"),
        (lambda raw, anno: change(anno, "Calibration/01/D", "text"), "_anno.smc"),
        (lambda raw, anno: change(anno, "Calibration/02/RT", looks_away(anno)), "do not look at a common point"),
        (
            lambda raw, anno: change(raw, "Camera/00/color/0", np.arange(99, dtype=np.uint8)),
            "_raw.smc is not a read",
        ),
        (lambda raw, anno: change(anno, "Camera/00/mask/0", "text"), "_anno.smc is not a read"),
        (lambda raw, anno: change(anno, "Camera/00/mask/0", png(np.zeros((20, 30)))), "not as large as its picture"),
        (lambda raw, anno: change(raw, "Camera/00/color/0", h5py.ExternalLink(anno, "x")), "_raw.smc"),
        (
            lambda raw, anno: change(raw, "Camera/00/color/0", h5py.ExternalLink(anno, "Camera/00/mask/0")),
            "refers to another file",
        ),
    ],
)
def test_renderme_says_what_is_wrong(tmp_path, rig, damage, said):
    write_renderme(tmp_path, CameraRig("few", rig.shots[:3]))
    damage(*smc(tmp_path))
    with pytest.raises(UserError, match=said) as told:
        opened(load_renderme360(tmp_path)).shots[0].load()
    assert str(tmp_path) in str(told.value) and "\n" not in str(told.value)


def looks_away(anno: Path) -> np.ndarray:
    with h5py.File(anno) as file:
        return file["Calibration/02/RT"][()] @ np.diag([-1.0, 1, -1, 1])


def test_too_much_is_not_read(tmp_path, rig):
    write_renderme(tmp_path, CameraRig("few", rig.shots[:3]))
    raw, _ = smc(tmp_path)
    with h5py.File(raw, "a") as file:
        del file["Camera/00/color/0"]
        file.create_dataset("Camera/00/color/0", (1 << 40,), np.uint8, chunks=(1 << 20,))
    with pytest.raises(UserError, match="1048576 MB"):
        opened(load_renderme360(tmp_path)).shots[0].load()
