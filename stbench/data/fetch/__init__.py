"""Downloading cohorts: only what is needed, nothing half-written, every failure told apart."""

from stbench.data.fetch.plan import Download, RemoteFile, Source, fetch, plan_download, size_text
from stbench.data.fetch.sources import choose_source

__all__ = ["Download", "RemoteFile", "Source", "choose_source", "fetch", "plan_download", "size_text"]
