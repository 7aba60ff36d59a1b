"""Downloads from stand-ins: a local web server for GitHub, huggingface_hub's own errors for the hub."""

import errno
import hashlib
import json
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from stbench.data.fetch import RemoteFile, Source, fetch, plan_download
from stbench.data.fetch.github import GithubSource
from stbench.data.fetch.hub import HubSource
from stbench.errors import DataError, UserError
from stbench.locks import sole

http = import_module(errors.HfHubHTTPError.__mro__[1].__module__.partition(".")[0])  # the hub's own, by version
CONTENT = {
    "data/ST-cnts/A1.tsv.gz": b"counts of A1" * 1000,
    "data/ST-spotfiles/A1_selection.tsv": b"x\ty\n",
    "data/ST-imgs/A/A1/HE_BC23209_A1.jpg": b"picture",
    "data/ST-cnts/A10.tsv.gz": b"another section",
    "data/ST-pat/lbl/A1_labeled_coordinates.tsv": b"labels are not needed",
}


def blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        state = self.server.state
        state.asked.append((self.path, self.headers.get("Range")))
        if self.path == "/list":
            tree = [{"path": p, "type": "blob", "size": len(c), "sha": blob(c)} for p, c in CONTENT.items()]
            return self.answer(200, json.dumps({"tree": tree}).encode())
        content = CONTENT[self.path.removeprefix("/files/")]
        if state.damage:
            content = content[::-1]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        return self.answer(206 if start else 200, content[start:], cut=state.cut)

    def answer(self, status, content, cut=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.state = SimpleNamespace(asked=[], cut=None, damage=False)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield server.state, GithubSource("owner/study", "0" * 40, f"{address}/list", f"{address}/files")
    server.shutdown()
    server.server_close()


def test_exactly_the_needed_files_arrive(server, tmp_path):
    _, source = server
    plan = plan_download(source, ["A1"], tmp_path)
    assert plan.size == sum(len(CONTENT[path]) for path in list(CONTENT)[:3])
    fetch(plan)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == set(list(CONTENT)[:3])
    assert all((tmp_path / path).read_bytes() == CONTENT[path] for path in found)


def test_what_is_here_is_not_fetched_again(server, tmp_path):
    state, source = server
    fetch(plan_download(source, ["A1"], tmp_path))
    state.asked.clear()
    again = plan_download(source, ["A1"], tmp_path)
    assert (again.missing, again.size) == ((), 0)
    fetch(again)
    assert [path for path, _ in state.asked] == ["/list"]


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path):
    state, source = server
    state.cut = 5000
    with pytest.raises(UserError, match="broke off; repeat the command"):
        fetch(plan_download(source, ["A1"], tmp_path))
    assert not (tmp_path / "data/ST-cnts/A1.tsv.gz").exists()
    state.cut = None
    fetch(plan_download(source, ["A1"], tmp_path))
    assert ("/files/data/ST-cnts/A1.tsv.gz", "bytes=5000-") in state.asked
    assert (tmp_path / "data/ST-cnts/A1.tsv.gz").read_bytes() == CONTENT["data/ST-cnts/A1.tsv.gz"]


def test_damaged_files_are_removed(server, tmp_path):
    state, source = server
    state.damage = True
    with pytest.raises(DataError, match="came damaged and was removed"):
        fetch(plan_download(source, ["A1"], tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_fills_up_leaves_no_file_that_looks_whole(server, tmp_path):
    _, source = server
    path = tmp_path / "data/ST-cnts/A1.tsv.gz"
    part = path.with_name("A1.tsv.gz.part")
    path.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"the disk is full .* fetching data/ST-cnts/A1\.tsv\.gz"):
        fetch(plan_download(source, ["A1"], tmp_path))
    assert not path.exists()
    part.unlink()
    fetch(plan_download(source, ["A1"], tmp_path))
    assert path.read_bytes() == CONTENT["data/ST-cnts/A1.tsv.gz"]


def test_two_processes_do_not_write_one_file(server, tmp_path):
    _, source = server
    plan = plan_download(source, ["A1"], tmp_path)
    refused = pytest.raises(UserError, match=r"another process is fetching into .*; wait for it, then repeat")
    with sole(tmp_path / ".fetching.lock", "busy"), refused:
        fetch(plan)
    fetch(plan)
    assert {path.name[0] for path in tmp_path.rglob("*")} == {"d", "S", "A", "H"}


def test_no_server_is_no_network(tmp_path):
    source = GithubSource("owner/study", "0" * 40, "http://127.0.0.1:9/list", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"github\.com/owner/study: no network"):
        plan_download(source, ["A1"], tmp_path)


class Fixed(Source):
    name, terms = "fixed", "none"

    def __init__(self, files, error=None):
        self.listed, self.error = files, error

    def files(self, slides, *, images):
        return self.listed

    def get(self, file, folder, reporter):
        raise self.error


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\x", ""])
def test_names_outside_the_folder_are_refused(path):
    with pytest.raises(DataError, match="outside its folder"):
        RemoteFile(path, 1)


def test_too_little_disk_is_said_before_anything_is_fetched(tmp_path):
    with pytest.raises(UserError, match=r"expected 1000000\.0 GB of free disk"):
        plan_download(Fixed([RemoteFile("a", 10**15)]), ["A1"], tmp_path / "not" / "there")
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "choose another --data-root")]
)
def test_a_disk_that_fails_underway_is_told_apart(tmp_path, number, message):
    plan = plan_download(Fixed([RemoteFile("a", 1)], OSError(number, "no")), ["A1"], tmp_path)
    with pytest.raises(UserError, match=message):
        fetch(plan)


SLIDES = ["NCBI692", "NCBI693"]


def hub_paths(slides, picture="patches", ending="h5"):
    parts = (("st", "h5ad"), ("metadata", "json"), (picture, ending))
    return [f"{folder}/{slide}.{end}" for slide in slides for folder, end in parts]


@pytest.fixture
def hub(monkeypatch):
    """The hub as functions that a test replaces."""
    state = SimpleNamespace(present=hub_paths(SLIDES), error=None, got=[])

    def infos(self, repository, paths, repo_type):
        if state.error:
            raise state.error
        return [SimpleNamespace(path=path, size=7) for path in paths if path in state.present]

    def download(repository, path, *, repo_type, local_dir):
        if state.error:
            raise state.error
        target = local_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"content")
        state.got.append((repository, path, repo_type))

    monkeypatch.setattr(huggingface_hub.HfApi, "get_paths_info", infos)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: state.token)
    state.token = "token"
    return state


def source():
    return HubSource("MahmoodLab/hest", "put the files into DATA/kidney")


def test_the_hub_is_asked_for_three_files_a_slide(hub, tmp_path):
    plan = plan_download(source(), SLIDES, tmp_path)
    assert [file.path for file in plan.missing] == hub_paths(SLIDES)
    fetch(plan)
    assert [path for _, path, _ in hub.got] == hub_paths(SLIDES)
    assert plan_download(source(), SLIDES, tmp_path).missing == ()


def test_whole_pictures_replace_patches(hub, tmp_path):
    hub.present = hub_paths(SLIDES, "wsis", "tif")
    plan = plan_download(source(), SLIDES, tmp_path, images=True)
    assert [file.path for file in plan.wanted] == hub.present


def test_a_slide_the_hub_lacks_is_named(hub, tmp_path):
    with pytest.raises(UserError, match=r"found no st/NCBI999\.h5ad \(3 in all\)"):
        plan_download(source(), ["NCBI999"], tmp_path)


def hub_error(kind, status):
    request = http.Request("GET", "https://huggingface.co")
    return kind("refused", response=http.Response(status, request=request))


def connection_error():
    return http.ConnectError("Name or service not known")


@pytest.mark.parametrize(
    ("error", "token", "message"),
    [
        (partial(hub_error, errors.GatedRepoError, 401), None, r"expected a token, found none.*hf auth login"),
        (partial(hub_error, errors.RepositoryNotFoundError, 401), None, "expected a token, found none"),
        (partial(hub_error, errors.GatedRepoError, 403), "token", r"terms of the data set were not accepted"),
        (partial(hub_error, errors.HfHubHTTPError, 403), "token", r"terms of the data set were not accepted"),
        (partial(hub_error, errors.HfHubHTTPError, 503), "token", r"the hub answered 503; try again later"),
        (connection_error, "token", r"no network \(Name or service not known\); go online, or put the files into DATA"),
        (partial(errors.LocalEntryNotFoundError, "cannot reach"), "token", "no network"),
        (partial(errors.OfflineModeIsEnabled, "offline"), "token", "HF_HUB_OFFLINE is set"),
    ],
)
def test_ways_the_hub_refuses_are_told_apart(hub, tmp_path, error, token, message):
    hub.error, hub.token = error(), token
    with pytest.raises(UserError, match=message):
        plan_download(source(), SLIDES, tmp_path)


def test_a_full_disk_during_a_transfer_from_the_hub(hub, tmp_path):
    plan = plan_download(source(), SLIDES, tmp_path)
    hub.error = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(UserError, match=r"disk is full.*st/NCBI692\.h5ad"):
        fetch(plan)
