"""Our networks give the outputs of the published ones; and the comparison can fail."""

from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from tests.fixtures.paths import GOLDEN
from tests.parity.golden import compare, main

FILES = sorted(GOLDEN.glob("*.safetensors"))
SMALLEST = GOLDEN / "vae_tiny.safetensors"


def test_all_published_networks_are_here():
    assert {path.stem for path in FILES} >= {"dp360_tiny", "dp3d_tiny", "backhead_tiny", "vae_tiny"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_outputs_are_those_of_the_published_networks(path, capsys):
    assert compare(path), capsys.readouterr().out


def copy(to: Path, change) -> Path:
    """The smallest golden file, changed by `change(tensors, metadata)`."""
    with safe_open(SMALLEST, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        metadata = file.metadata()
    change(tensors, metadata)
    save_file(tensors, to, metadata)
    return to


def bad_lines(capsys) -> list[str]:
    return [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("BAD")]


def test_an_unchanged_copy_passes(tmp_path, capsys):
    assert main([str(copy(tmp_path / "same.safetensors", lambda tensors, metadata: None))]) == 0
    assert capsys.readouterr().out.endswith("PASS\n")


def test_other_weights_fail(tmp_path, capsys):
    def other_salt(_tensors, metadata):
        metadata["salt"] += "'"

    assert main([str(copy(tmp_path / "salt.safetensors", other_salt)), str(SMALLEST)]) == 1
    assert capsys.readouterr().out.endswith("FAIL\n")  # although the last file passes


def test_one_number_that_differs_fails(tmp_path, capsys):
    def nudge(tensors, _metadata):
        decoded = tensors["out.decoded"]
        decoded.view(-1)[7] += 3e-4 * decoded.abs().max()

    assert main([str(copy(tmp_path / "nudged.safetensors", nudge))]) == 1
    assert bad_lines(capsys) == ["out.decoded"]


def test_an_output_that_we_do_not_make_fails(tmp_path, capsys):
    def add(tensors, _metadata):
        tensors["out.unheard_of"] = tensors["out.decoded"].clone()

    assert main([str(copy(tmp_path / "more.safetensors", add))]) == 1
    assert bad_lines(capsys) == ["out.unheard_of"]


def test_a_weight_of_another_name_is_refused(tmp_path):
    def rename(_tensors, metadata):
        metadata["parameters"] = metadata["parameters"].replace("quant_conv.bias", "quant_conv.offset", 1)

    with pytest.raises(SystemExit, match="offset"):
        main([str(copy(tmp_path / "renamed.safetensors", rename))])


def test_no_file_is_no_success():
    assert main([]) == 2


@pytest.mark.parametrize("content", [b"", b"not a golden file"])
def test_what_cannot_be_compared_fails(tmp_path, capsys, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    assert main([str(tmp_path / "x.safetensors"), str(tmp_path / "missing.safetensors")]) == 1
    assert capsys.readouterr().out.endswith("FAIL\n")
