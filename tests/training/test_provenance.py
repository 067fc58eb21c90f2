"""Where a run comes from."""

import sys

import pytest

from refusion.training.provenance import git_revision


@pytest.mark.skipif(sys.platform == "win32", reason="the program that stands for git is a shell script")
def test_git_may_write_what_the_encoding_of_the_system_lacks(tmp_path, monkeypatch):
    git = tmp_path / "git"
    git.write_bytes(b"#!/bin/sh\nprintf 'M\\303\\274ller \\377' >&2\nprintf 'b\\303\\244'\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    monkeypatch.setattr("locale.getencoding", lambda *_: "ascii")
    assert git_revision() == "bä-dirty"
