"""Fetching published files from a hub on this machine: whole, checked, resumed, and nothing half done left behind."""

import errno
import hashlib
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch

from portrait360.models.weights import download as downloads
from portrait360.models.weights import importer, registry
from portrait360.models.weights.download import download, open_url, probe
from portrait360.models.weights.fetch import (
    Order,
    bring_file,
    describe_order,
    fetch,
    find_file,
    is_imported,
    require_disk,
)
from portrait360.models.weights.published_files import PUBLISHED, PublishedFile, fetch_command
from portrait360.models.weights.registry import MODEL_SPECS, TEXT
from portrait360.models.weights.store import verify
from portrait360.utils.errors import UserError
from tests.fixtures import tiny
from tests.fixtures.hub_server import COMMIT, serve

REPOSITORY, FILE = "somebody/heads", "back_head.th"
PAGE = f"https://huggingface.co/{REPOSITORY}"
ON_HUB = f"/{REPOSITORY}/resolve/main/{FILE}"


def ignore(stage: str, count: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def content() -> bytes:
    """What is only downloaded."""
    return np.random.default_rng(0).bytes(3 << 17)


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """What is also imported."""
    buffer = BytesIO()
    torch.save(tiny.state_of(tiny.system("back-head")), buffer)
    return buffer.getvalue()


@pytest.fixture
def hub(monkeypatch, content, tmp_path):
    with serve() as server:
        server.files = {ON_HUB: content, f"/mirror/{FILE}": content}
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0))
        monkeypatch.setitem(registry.MODEL_SPECS, "back-head", tiny.system("back-head"))
        monkeypatch.setattr(importer, "MODEL_SPECS", registry.MODEL_SPECS)
        yield server


@pytest.fixture
def order(tmp_path, content) -> Order:
    size = len(content)
    file = PublishedFile("back-head", FILE, size, size // 2, "its licence", REPOSITORY)
    return Order(file, tmp_path / "downloads", tmp_path / "weights" / "back-head")


@pytest.fixture
def whole(hub, order, checkpoint) -> Order:
    """Of a file that can be imported."""
    hub.files = {ON_HUB: checkpoint, f"/mirror/{FILE}": checkpoint}
    size = len(checkpoint)
    return replace(order, file=replace(order.file, bytes=size, imported=size // 2))


def bring(order: Order) -> str:
    """Everything but the import."""
    return bring_file(order, find_file(order), ignore)[1]


def bring_and_import(order: Order, **options):
    return fetch(order, find_file(order), ignore, **options)


def left(order: Order) -> list[str]:
    return sorted(path.name for path in order.downloads.iterdir()) if order.downloads.is_dir() else []


def test_a_file_of_the_hub_is_imported_at_once(hub, whole, checkpoint):
    assert not is_imported(whole)
    manifest = bring_and_import(whole)
    digest = hashlib.sha256(checkpoint).hexdigest()
    source = manifest["source"]
    assert source == {
        "name": FILE,
        "bytes": len(checkpoint),
        "sha256": digest,
        "from": PAGE,
        "revision": COMMIT,
    }
    assert is_imported(whole) and verify(whole.target) == []
    assert left(whole) == [FILE] and whole.download_path.read_bytes() == checkpoint


def test_the_downloaded_file_is_deleted_on_request(hub, whole):
    bring_and_import(whole, delete=True)
    assert left(whole) == [] and verify(whole.target) == []


def test_the_description_says_all_that_matters(hub, order, content):
    text = "\n".join(describe_order(order, find_file(order)))
    digest = hashlib.sha256(content).hexdigest()
    for word in (FILE, f"{len(content)} bytes", digest, "its licence", str(order.target), PAGE):
        assert word in text
    assert "not known here" in "\n".join(describe_order(order, None))


def test_a_cut_connection_is_continued_where_it_was(hub, order, content):
    hub.cut_after = len(content) // 3
    bring(order)
    step = len(content) // 3
    assert hub.ranges == [f"bytes={start}-" for start in (0, step, 2 * step)]
    assert order.download_path.read_bytes() == content


def test_another_run_continues_what_was_cut(hub, order, content, monkeypatch):
    """Also one that was killed: what arrived lies on the disk."""
    hub.cut_after = 1000
    monkeypatch.setattr(downloads, "_append", once(downloads._append))
    with pytest.raises(UserError, match=r"The connection was cut after 0\.00 of .* to continue from there"):
        bring(order)
    monkeypatch.undo()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    (partial,) = left(order)
    assert partial.endswith(".partial") and (order.downloads / partial).stat().st_size == 1000
    hub.cut_after, found = None, find_file(order)
    counts: list[int] = []
    download(found.remote, order.download_path, counts.append)
    assert hub.ranges[-1] == "bytes=1000-" and sum(counts) == len(content)
    assert left(order) == [FILE] and order.download_path.read_bytes() == content


def once(append):
    """The first connection, and then none that brings anything."""
    calls = []

    def limited(remote, file, have, digest, on_bytes):
        calls.append(have)
        return append(remote, file, have, digest, on_bytes) if len(calls) == 1 else (digest, "The connection was cut")

    return limited


def test_a_server_without_ranges_begins_again(hub, order, content):
    found = find_file(order)
    order.downloads.mkdir()
    downloads.partial_file(found.remote, order.download_path).write_bytes(content[:500])
    hub.knows_ranges = False
    counts: list[int] = []
    download(found.remote, order.download_path, counts.append)
    assert order.download_path.read_bytes() == content and sum(counts) == len(content)


def test_what_is_left_of_another_version_is_not_continued(hub, order, content):
    order.downloads.mkdir()
    old = order.downloads / f".{FILE}.0123456789ab.partial"
    old.write_bytes(b"x" * 500)
    bring(order)
    assert left(order) == [FILE] and hub.ranges == ["bytes=0-"]


def test_a_partial_file_that_is_too_long_begins_again(hub, order, content):
    found = find_file(order)
    order.downloads.mkdir()
    downloads.partial_file(found.remote, order.download_path).write_bytes(content + b"more")
    download(found.remote, order.download_path)
    assert order.download_path.read_bytes() == content


@pytest.mark.parametrize("change", [b"more", None])
def test_a_file_that_changed_its_size_meanwhile_is_not_taken(hub, order, content, change):
    found = find_file(order)
    hub.files[ON_HUB] = content + change if change else content[:-1]
    with pytest.raises(UserError, match="does not have the size"):
        bring_file(order, found, ignore)
    assert not order.download_path.exists()


def test_a_busy_server_is_asked_again(hub, order):
    hub.busy = 2
    bring(order)
    assert left(order) == [FILE] and len(hub.ranges) == 3


def test_a_server_that_stays_busy_is_said(hub, order):
    hub.busy = 99
    with pytest.raises(
        UserError, match=r"answered with an error \(503\) after 0\.00 of .*run the same command again"
    ):
        bring(order)


def test_other_content_than_stated_is_deleted(hub, order, content):
    hub.files[ON_HUB] = content[:-1] + bytes([content[-1] ^ 1])
    hub.stated = hashlib.sha256(content).hexdigest()
    with pytest.raises(UserError, match=f"instead of {hub.stated}, so the file was deleted"):
        bring(order)
    assert left(order) == [] and not order.target.exists()


def test_our_own_hash_must_be_the_hubs(hub, order):
    ours = replace(order, file=replace(order.file, sha256="0" * 64))
    with pytest.raises(UserError, match="is not the published file"):
        bring(ours)
    assert left(order) == [] and hub.ranges == []


def test_a_hub_that_states_no_hash_is_refused(hub, order):
    hub.stated = "f" * 40  # as of a file that is none of git's large ones
    with pytest.raises(UserError, match=r"does not state a SHA-256.*--from"):
        bring(order)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_file_of_another_size_is_not_downloaded(hub, order, factor):
    other = replace(order, file=replace(order.file, bytes=int(order.file.bytes * factor)))
    with pytest.raises(UserError, match="it is incomplete or a different file"):
        bring(other)
    assert hub.ranges == []


@pytest.mark.parametrize(
    ("status", "words"), [(404, "There is no file at"), (401, "hf auth login"), (500, "try again")]
)
def test_errors_of_the_hub_are_one_sentence(hub, order, status, words):
    hub.status = status
    with pytest.raises(UserError, match=words) as caught:
        bring(order)
    assert "\n" not in str(caught.value) and left(order) == []


def test_an_error_in_the_middle_is_said(hub, order, monkeypatch):
    found = find_file(order)
    hub.status = 404
    with pytest.raises(UserError, match="There is no file at"):
        fetch(order, found, ignore)
    assert not order.target.exists() and not order.download_path.exists()


def test_a_token_goes_to_the_hub_and_nowhere_else(hub, order, monkeypatch):
    hub.token = "hf_secret"
    with pytest.raises(UserError, match="HF_TOKEN"):
        bring(order)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    bring(order)
    by_place = {path.startswith("/cdn/"): authorization for *_, path, _, authorization in hub.seen[1:]}
    assert by_place == {False: "Bearer hf_secret", True: None}


def test_a_full_disk_is_said_before(hub, order, monkeypatch):
    found = find_file(order)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1 << 30, 1 << 30, 5))
    with pytest.raises(UserError, match=r"GB free; .* GB are needed"):
        require_disk([(order, found)])
    assert hub.ranges == []


def test_the_room_for_download_and_import_is_counted_once(hub, order, content, monkeypatch):
    found, margin = find_file(order), 1 << 20
    needed = int((len(content) + order.file.imported) * 1.01) + margin + 1
    for free, enough in ((needed, True), (needed - 10_000, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: shutil._ntuple_diskusage(free, 0, free))
        if enough:
            require_disk([(order, found)])
            continue
        with pytest.raises(UserError):
            require_disk([(order, found)])
    order.downloads.mkdir()
    downloads.partial_file(found.remote, order.download_path).write_bytes(content[:20_000])
    require_disk([(order, found)])  # part of it is there already


def test_a_disk_that_fills_up_keeps_what_arrived(hub, order, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    complete = downloads._complete
    monkeypatch.setattr(downloads, "_complete", lambda remote, file, on_bytes: complete(remote, Full(file), on_bytes))
    with pytest.raises(UserError, match="is full; make room and run the same command again"):
        bring(order)
    assert [name for name in left(order) if not name.endswith(".partial")] == []


def test_offline_nothing_is_asked(hub, order, monkeypatch):
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(variable, "1")
        with pytest.raises(UserError, match="downloads are disabled"):
            bring(order)
        monkeypatch.delenv(variable)
    for source in (None, f"{hub.url}/mirror"):
        with pytest.raises(UserError, match="downloads are disabled"):
            bring(replace(order, offline=True, source=source))
    assert hub.seen == []


def test_offline_what_is_on_this_machine_is_imported(hub, order, content, tmp_path):
    offline = replace(order, offline=True)
    order.downloads.mkdir()
    order.download_path.write_bytes(content)
    assert bring(offline) == hashlib.sha256(content).hexdigest() and hub.seen == []


def test_the_cache_of_the_hubs_own_library_is_used(hub, whole, checkpoint, tmp_path):
    from huggingface_hub import hf_hub_download

    hf_hub_download(REPOSITORY, FILE, endpoint=hub.url, cache_dir=tmp_path / "hub-cache")
    hub.seen.clear()
    bring_and_import(replace(whole, offline=True), delete=True)
    assert verify(whole.target) == [] and hub.seen == [] and left(whole) == []
    assert find_file(whole).path.read_bytes() == checkpoint  # it is not ours to delete


def test_a_damaged_file_in_that_cache_is_refused(hub, order, content, tmp_path):
    """The hash that the hub stated when it was downloaded is the name that its library gave it."""
    from huggingface_hub import hf_hub_download

    path = hf_hub_download(REPOSITORY, FILE, endpoint=hub.url, cache_dir=tmp_path / "hub-cache")
    assert hashlib.sha256(content).hexdigest() in "\n".join(describe_order(order, find_file(order)))
    with open(path, "r+b") as file:
        file.write(b"damaged")
    with pytest.raises(UserError, match="delete it and download it again"):
        bring(order)


@pytest.mark.parametrize("place", ["mirror", f"mirror/{FILE}"])
def test_a_mirror(hub, whole, checkpoint, place):
    hub.etag = '"v1"'
    manifest = bring_and_import(replace(whole, source=f"{hub.url}/{place}"))
    assert manifest["source"]["sha256"] == hashlib.sha256(checkpoint).hexdigest()
    assert manifest["source"]["from"] == f"{hub.url}/mirror/{FILE}" and "revision" not in manifest["source"]
    assert all(authorization is None for *_, authorization in hub.seen)


def test_what_may_be_a_password_is_not_written_down(hub, whole):
    source = f"{hub.url}/mirror?signature=secret"
    secret = replace(whole, source=source)
    assert secret.url == f"{hub.url}/mirror/{FILE}?signature=secret"
    assert replace(whole, source=secret.url).url == secret.url
    hub.files[f"/mirror/{FILE}?signature=secret"] = hub.files[f"/mirror/{FILE}"]
    text = "\n".join(describe_order(secret, find_file(secret))) + json.dumps(bring_and_import(secret))
    assert "secret" not in text and f"{hub.url}/mirror/{FILE}" in text


def test_a_damaged_import_is_fetched_again(hub, whole):
    bring_and_import(whole)
    (whole.target / "vae.safetensors").unlink()
    assert not is_imported(whole)
    bring_and_import(whole)
    assert is_imported(whole) and verify(whole.target) == []


@pytest.mark.parametrize("etag", ['"v1"', None])
def test_a_cut_download_from_a_mirror_continues_only_if_its_content_is_the_same(hub, order, content, etag):
    hub.etag = etag
    remote = probe(f"{hub.url}/mirror/{FILE}", None)
    order.downloads.mkdir()
    downloads.partial_file(remote, order.download_path).write_bytes(b"?" * 500 if etag is None else content[:500])
    hub.seen.clear()
    download(remote, order.download_path)
    assert [wanted for _, _, wanted, _ in hub.seen] == ["bytes=500-" if etag else "bytes=0-"]
    assert order.download_path.read_bytes() == content


def test_a_mirror_is_held_to_our_own_hash(hub, order, content):
    file = replace(order.file, sha256="0" * 64)
    with pytest.raises(UserError, match="so the file was deleted"):
        bring(replace(order, file=file, source=f"{hub.url}/mirror"))
    assert left(order) == []


def test_a_mirror_that_nobody_serves(order):
    with pytest.raises(UserError, match="cannot be reached"):
        bring(replace(order, source="http://127.0.0.1:9"))
    with pytest.raises(UserError, match="is not a web address"):
        open_url("file:///etc/passwd", {})


@pytest.mark.parametrize("how", ["folder", "file"])
def test_a_file_that_the_user_downloaded(whole, hub, checkpoint, tmp_path, how):
    folder = tmp_path / "Downloads"
    folder.mkdir()
    (folder / FILE).write_bytes(checkpoint)
    bring_and_import(replace(whole, source=str(folder if how == "folder" else folder / FILE)), delete=True)
    assert verify(whole.target) == [] and (folder / FILE).is_file() and hub.seen == []


def test_a_file_that_only_a_browser_can_download(order):
    file = replace(order.file, repository=None, elsewhere="https://page")
    with pytest.raises(UserError, match=r"with a browser, from https://page; then run .* back-head --from FILE"):
        bring(replace(order, file=file))


def test_a_bad_local_file_is_said(order, content, tmp_path, hub):
    path = tmp_path / FILE
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="incomplete or a different file"):
        bring(replace(order, source=str(path)))
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"but {FILE} has {'0' * 64}"):
        bring(replace(order, file=replace(order.file, sha256="0" * 64), source=str(path)))
    with pytest.raises(UserError, match="There is no file"):
        bring(replace(order, source=str(tmp_path / "nowhere")))


def test_without_the_hubs_library_a_mirror_still_works(hub, order):
    program = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from portrait360.models.weights.hub import find_on_hub, find_in_cache\n"
        "from portrait360.models.weights.published_files import PUBLISHED\n"
        "from portrait360.models.weights.download import probe\n"
        f"assert probe('{hub.url}/mirror/{FILE}', None).size == {order.file.bytes}\n"
        "assert find_in_cache(PUBLISHED['back-head']) is None\n"
        "from portrait360.utils.errors import UserError\n"
        "try:\n    find_on_hub(PUBLISHED['back-head'])\n"
        "except UserError as error:\n    print(error, 'torch' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'portrait360[hub]'" in ended.stdout and ended.stdout.endswith("False\n")


def test_sizes_in_the_list_are_those_of_the_networks():
    """Within what the list allows for; PanoHead's pickle holds two networks that an import leaves out."""
    for name, spec in MODEL_SPECS.items():
        tensors, file = spec.expected_tensors(), PUBLISHED[name]
        numbers = {n: math.prod(s.shape) for n, s in tensors.items()}
        assert file.has_size(4 * sum(numbers.values())) or file.sha256
        half = 2 * sum(count for n, count in numbers.items() if not n.startswith(TEXT))
        assert file.imported == pytest.approx(half, rel=0.01)


def test_every_published_file_says_where_it_is_and_under_which_licence():
    for name, file in PUBLISHED.items():
        assert name == file.name and file.licence and file.page.startswith("https://")
        assert file.sha256 is None or len(file.sha256) == 64
        assert "drive.google.com" in file.page or file.repository in file.page
    assert PUBLISHED["panohead"].repository == PUBLISHED["back-head"].repository == "gym890/diffportrait360"
    assert fetch_command(["back-head"]) == "portrait360 weights fetch back-head"
    assert json.dumps(fetch_command(["diffportrait3d"])).endswith('--from FILE"')
