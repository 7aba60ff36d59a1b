"""`stbench methods parity`."""

from pathlib import Path

from safetensors.numpy import load_file, save_file

PARITY = Path(__file__).parents[1] / "parity" / "flag"


def test_files_that_pass(stbench):
    ended = stbench("methods", "parity", PARITY / "vesde.safetensors", PARITY / "image_dit.safetensors")
    assert ended.code == 0
    assert "image_dit.safetensors" in ended.out
    assert any(line.split()[:1] == ["reverse_drift"] and " ok" in line for line in ended.out.splitlines())
    assert "FAIL" not in ended.out


def test_a_file_that_differs_ends_with_code_one(stbench, tmp_path):
    from safetensors import safe_open

    with safe_open(str(PARITY / "vesde.safetensors"), framework="np") as file:
        metadata = file.metadata()
    tensors = load_file(PARITY / "vesde.safetensors")
    tensors["output/g"] = tensors["output/g"] * 1.01
    save_file(tensors, tmp_path / "off.safetensors", metadata=metadata)
    ended = stbench("methods", "parity", PARITY / "vesde.safetensors", tmp_path / "off.safetensors")
    assert ended.code == 1
    (line,) = (line for line in ended.out.splitlines() if "FAIL" in line)
    assert line.startswith("g ")


def test_a_damaged_file_ends_in_one_line(stbench, tmp_path):
    (tmp_path / "damaged.safetensors").write_bytes(b"damaged")
    assert "unreadable file" in stbench("methods", "parity", tmp_path / "damaged.safetensors").reason
