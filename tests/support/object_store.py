"""An object store that speaks S3 on 127.0.0.1."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from pyarrow import fs

BUCKET = "bucket"


@dataclass
class ObjectStore:
    """A bucket of a server."""

    port: int

    def uri(self, path: str) -> str:
        """Where something is, with all that it takes to get there."""
        return f"s3://key:secret@{BUCKET}/{path}?{self._options}"

    @property
    def _options(self) -> str:
        return f"scheme=http&endpoint_override=127.0.0.1%3A{self.port}&region=us-east-1"

    @property
    def _filesystem(self) -> fs.FileSystem:
        return fs.FileSystem.from_uri(f"s3://key:secret@{BUCKET}?{self._options}&allow_bucket_creation=true")[0]

    def put(self, path: str, content: bytes) -> None:
        with self._filesystem.open_output_stream(f"{BUCKET}/{path}") as file:
            file.write(content)

    def get(self, path: str) -> bytes:
        with self._filesystem.open_input_file(f"{BUCKET}/{path}") as file:
            return file.readall()

    def names(self, below: str) -> list[str]:
        selector = fs.FileSelector(f"{BUCKET}/{below}", allow_not_found=True, recursive=True)
        found = self._filesystem.get_file_info(selector)
        return sorted(info.path.removeprefix(f"{BUCKET}/") for info in found if info.is_file)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server with an empty bucket."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        store = ObjectStore(server.get_host_and_port()[1])
        store._filesystem.create_dir(BUCKET)
        yield store
    finally:
        server.stop()
