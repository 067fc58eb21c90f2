"""Uploads that would fill the disk of the demo."""

import shutil
import threading

import httpx
import pytest

from refusion.demo.server import serve


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    demo = serve(wait=False)
    yield demo.local_url.rstrip("/")
    demo.close()


def test_uploads_are_refused_while_little_disk_is_free(url, tmp_path, monkeypatch):
    upload = {"files": ("a.png", bytes(100_000))}
    assert httpx.post(f"{url}/gradio_api/upload", files=upload).is_success
    monkeypatch.setattr("refusion.demo.disk.KEPT_FREE", shutil.disk_usage(tmp_path).total)
    answer = httpx.post(f"{url}/gradio_api/upload", files=upload)
    assert answer.status_code == 507
    assert answer.json()["detail"] == (
        "The disk of this demo is nearly full; uploads are removed after an hour, so try again later."
    )
    assert httpx.get(f"{url}/config").is_success


def test_an_upload_is_stopped_while_it_arrives(url, tmp_path, monkeypatch):
    first, filled = threading.Event(), threading.Event()
    kept = []

    def body():
        yield b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for part in range(400):
            if part == 20:
                first.set()
                filled.wait(60)
            yield bytes(100_000)
        yield b"\r\n--B--\r\n"

    def send():
        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        try:
            kept.append(httpx.post(f"{url}/gradio_api/upload", content=body(), headers=headers, timeout=60).status_code)
        except httpx.TransportError:
            kept.append(507)  # The server answered and closed the connection before the rest was sent.

    sender = threading.Thread(target=send)
    sender.start()
    first.wait(60)
    monkeypatch.setattr("refusion.demo.disk.KEPT_FREE", shutil.disk_usage(tmp_path).total)
    filled.set()
    sender.join(60)
    assert kept == [507]
    stored = sum(path.stat().st_size for path in (tmp_path / "uploads").rglob("*") if path.is_file())
    assert stored < 20_000_000
