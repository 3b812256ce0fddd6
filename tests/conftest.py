"""One thread a test process: two processes then use two cores, and none waits for the other's threads.

Also the photos that several files of tests look at.
"""

import gc
import os
from hashlib import sha256
from pathlib import Path

gc.disable()  # until all libraries are there: they and the tests are a million objects that stay
for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(name, "1")  # before any library is there; programs that tests start inherit it

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from filelock import FileLock  # noqa: E402
from PIL import Image  # noqa: E402

from portrait360.pipeline.portrait import crop_reading, matting, matting_network  # noqa: E402
from portrait360.pipeline.reading.reading import Reading  # noqa: E402
from portrait360.utils.files import atomic_write  # noqa: E402
from portrait360.utils.images import Picture, load_picture  # noqa: E402
from tests.fixtures.photos import ASTRONAUT, IMAGE  # noqa: E402
from tests.long_tests import is_long, load_long_tests  # noqa: E402

torch.set_num_threads(1)

LARGEST = 3 << 20  # values of a picture whose matte is kept

# Files whose tests take longest come first, so that both processes end together; the first two compile other kernels.
LONGEST = (
    "synth/test_render.py",
    "pipeline/test_make.py",
    "apps/test_docs.py",
    "apps/test_web.py",
    "pipeline/views/test_published.py",
    "pipeline/avatar/test_avatar.py",
    "pipeline/test_avatar_run.py",
    "pipeline/reconstruction/test_fit.py",
    "synth/test_heads.py",
    "pipeline/refinement/test_stage.py",
    "training/test_published_task.py",
    "pipeline/export/test_avatar_glb.py",
    "evaluation/test_runner.py",
    "pipeline/refinement/test_refine.py",
    "pipeline/proxy/test_gan_inversion.py",
    "pipeline/proxy/test_proxy.py",
    "evaluation/test_metrics.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long_tests = load_long_tests()
    for item in items:
        if is_long(item.nodeid, long_tests):
            item.add_marker(pytest.mark.long)

    def rank(item: pytest.Item) -> int:
        name = item.nodeid.split("::")[0].removeprefix("tests/")
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """All libraries are there now and stay: the garbage collector need not look through them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def keep_cache_apart(tmp_path_factory):
    """What tests measure of this machine says nothing of the user's runs; programs that tests start inherit it."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory, worker_id) -> Path:
    """Where one process leaves what the other one loads."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session", autouse=True)
def remember_mattes(shared_folder):
    """Every picture is shown to the network of mattes once: it takes two thirds of the time of a portrait."""
    folder = shared_folder / "mattes"
    folder.mkdir(exist_ok=True)

    def run(rgb, run_network=matting_network._run_network):
        if rgb.size > LARGEST:
            return run_network(rgb)
        path = folder / f"{sha256(str(rgb.shape).encode() + rgb.tobytes()).hexdigest()}.npy"
        if not path.is_file():
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                np.save(file, run_network(rgb))
        return np.load(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matting_network, "_run_network", run)
        yield


@pytest.fixture(scope="session", autouse=True)
def remember_readings(shared_folder):
    """So does every crop the network that reads it: it takes most of the rest. Files keep what it says exactly."""
    folder = shared_folder / "readings"
    folder.mkdir(exist_ok=True)

    def read(rgb, read_picture=crop_reading.read_picture):
        path = folder / f"{sha256(str((rgb.shape, rgb.dtype)).encode() + rgb.tobytes()).hexdigest()}.npz"
        if not path.is_file():
            read_picture(rgb).save(path)
        return Reading.load(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crop_reading, "read_picture", read)
        yield


@pytest.fixture(scope="module")
def photo() -> Picture:
    return load_picture(ASTRONAUT)


@pytest.fixture(scope="session")
def portrait():
    from portrait360.pipeline.portrait.alignment import make_portrait

    return make_portrait(ASTRONAUT)


@pytest.fixture(scope="session")
def proxy(portrait):
    from portrait360.pipeline.proxy.from_portrait import proxy_from_photo

    return proxy_from_photo(portrait)


@pytest.fixture(scope="session")
def quick_avatar(portrait, proxy, shared_folder):
    """The astronaut's avatar without a search for the hair; one process makes it, the other one loads it."""
    from portrait360.pipeline.avatar import NAME
    from portrait360.pipeline.avatar.ablation import Ablation
    from portrait360.pipeline.avatar.avatar import Avatar
    from portrait360.pipeline.avatar.from_portrait import make_avatar

    folder = shared_folder / "quick_avatar"
    with FileLock(f"{folder}.lock"):
        if not (folder / NAME).is_file():
            make_avatar(portrait, proxy, ablation=Ablation(search=False)).save(folder)
        return Avatar.load(folder)


@pytest.fixture(scope="session")
def light_avatars(shared_folder):
    """Make avatars of small portraits, light ones; of each portrait once, whatever is said of its head."""
    from portrait360.pipeline.avatar import NAME
    from portrait360.pipeline.avatar.avatar import Avatar
    from tests.fixtures.light_avatars import make_light_avatar

    def make(portrait, cover, *_, known={}, **__):  # noqa: B006
        key = sha256(portrait.rgb.tobytes() + portrait.alpha.tobytes()).hexdigest()
        folder = shared_folder / f"light_avatar_{key}"
        with FileLock(f"{folder}.lock"):
            if not (folder / NAME).is_file():
                make_light_avatar(portrait, cover).save(folder)
        if key not in known:
            known[key] = Avatar.load(folder)
        return known[key]

    return make


@pytest.fixture(scope="module")
def cutout(photo) -> Picture:
    """With a matte of its own: an ellipse for the head, another for the shoulders. No network is asked for one."""
    alpha = np.zeros(photo.rgb.shape[:2], np.float32)
    cv2.ellipse(alpha, (227, 100), (74, 85), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    cv2.ellipse(alpha, (200, 420), (190, 210), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    return Picture(photo.rgb, alpha)


@pytest.fixture
def quick(monkeypatch):
    """Where the matte does not matter it is not looked for."""

    def disc(rgb: np.ndarray, inside: tuple[float, float], second: object = None) -> np.ndarray:
        y, x = np.indices(rgb.shape[:2])
        return (np.hypot(x - inside[0], y - inside[1]) < 0.15 * min(rgb.shape[:2])).astype(np.float32)

    monkeypatch.setattr(matting, "find_matte", disc)


@pytest.fixture(scope="module")
def small() -> Image.Image:
    """Cut close to the head, with transparency around it."""
    image = IMAGE.crop((120, 0, 340, 220)).convert("RGBA")
    alpha = np.zeros((220, 220), np.uint8)
    cv2.ellipse(alpha, (107, 110), (85, 110), 0, 0, 360, 255, -1)
    image.putalpha(Image.fromarray(alpha))
    return image


@pytest.fixture(scope="session")
def rig_head():
    from portrait360.synth.build import build
    from portrait360.synth.render.bake import prepare_scene
    from portrait360.synth.sampling.sampler import sample

    return prepare_scene(build(sample(12, "human")))


@pytest.fixture(scope="session")
def rig(rig_head):
    """Eight cameras around it, all as far away as ours."""
    from portrait360.geometry.cameras import RADIUS
    from tests.fixtures.rigs import shots_of

    return shots_of(rig_head, [RADIUS] * 8)


@pytest.fixture(scope="module")
def few_styles():
    """What must hold of an avatar does so whatever its hair; fewer styles, and fewer steps, are sooner tried."""
    from portrait360.pipeline.avatar.hair import search as hair_search

    def choose(*given, choose_all=hair_search.choose_styles):
        return choose_all(*given)[:2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hair_search, "choose_styles", choose)
        patch.setattr(hair_search, "LAST_STEPS", hair_search.LAST_STEPS[:2])
        yield
