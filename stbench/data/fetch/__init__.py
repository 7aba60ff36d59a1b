"""Downloading cohorts: only what is needed, nothing half-written, every failure told apart."""

from stbench.data.fetch.plan import Download, RemoteFile, Source, fetch, plan_download

__all__ = ["Download", "RemoteFile", "Source", "fetch", "plan_download"]
