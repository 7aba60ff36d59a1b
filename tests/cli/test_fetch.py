"""`stbench datasets fetch`, with the hub replaced."""

from types import SimpleNamespace

import huggingface_hub
import pytest


@pytest.fixture
def hub(monkeypatch):
    def infos(self, repository, paths, repo_type):
        return [SimpleNamespace(path=path, size=3) for path in paths]

    def download(repository, path, *, repo_type, local_dir):
        (local_dir / path).parent.mkdir(parents=True, exist_ok=True)
        (local_dir / path).write_bytes(b"abc")

    monkeypatch.setattr(huggingface_hub.HfApi, "get_paths_info", infos)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_terms_and_size_are_shown_and_must_be_agreed_to(stbench, hub, tmp_path):
    words = ["datasets", "fetch", "kidney", "--slide", "NCBI692", "--data-root", tmp_path]
    ended = stbench(*words)
    assert "add --yes to agree" in ended.reason
    for said in ("MahmoodLab/hest", "CC BY-NC-SA 4.0", "3 of 1 slides", "9 B"):
        assert said in ended.out.replace("files       ", "files "), said
    assert files(tmp_path) == []
    assert stbench(*words, "--yes").code == 0
    assert files(tmp_path) == ["kidney/metadata/NCBI692.json", "kidney/patches/NCBI692.h5", "kidney/st/NCBI692.h5ad"]


def test_a_second_call_has_nothing_to_fetch(stbench, hub, tmp_path):
    words = ["datasets", "fetch", "dlpfc", "--data-root", tmp_path]
    assert stbench(*words, "--yes").code == 0
    again = stbench(*words)
    assert again.code == 0
    assert "0 missing here" in again.out


def test_dry_run_fetches_nothing(stbench, hub, tmp_path):
    ended = stbench("datasets", "fetch", "prad", "--images", "--dry-run", "--data-root", tmp_path)
    assert ended.code == 0
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["kidney"], "expected a folder for the data"),
        (["kidney", "--slide", "NCBI1", "--data-root", "d"], "unknown slide of kidney 'NCBI1'"),
        (["kidney", "--source", "study", "--data-root", "d"], "unknown source of kidney 'study'"),
        (["simulated", "--data-root", "d"], "expected a source to fetch from"),
    ],
)
def test_mistakes_are_named(stbench, hub, words, message):
    assert message in stbench("datasets", "fetch", *words).reason
