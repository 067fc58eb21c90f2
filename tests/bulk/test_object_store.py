"""Bulk fusion from and to an object store."""

import io
from pathlib import Path

from PIL import Image
from support.bulk import pairs, shards, spoil, write
from support.command import refusion
from support.object_store import object_store

MODEL = "refusion-ir-vis"


def test_an_object_store_holds_what_a_disk_would(tmp_path):
    rows = spoil(pairs(20))
    source = write(tmp_path / "pairs.parquet", rows)
    common = ("--model", MODEL, "--rows-per-shard", 4, "--workers", 1)
    assert refusion("fuse-dataset", source, tmp_path / "out", *common).code == 1
    with object_store() as store:
        store.put("sets/0.parquet", source.read_bytes())
        result = refusion("fuse-dataset", store.uri("sets/*.parquet"), store.uri("fused"), *common)
        assert result.code == 1, result.err
        assert "16 fused, 4 failed, 0 of these rows done before." in result.out
        assert "secret" not in result.out + result.err
        names = store.names("fused")
        assert {Path(name).name: store.get(name) for name in names if "/data/" in name} == shards(tmp_path / "out")
        failures = (tmp_path / "out" / "failures.jsonl").read_bytes()
        assert store.get("fused/failures.jsonl") == failures
        assert b"secret" not in store.get("fused/manifest.json")
        again = refusion("fuse-dataset", store.uri("sets"), store.uri("fused"), *common)
        assert "20 of these rows done before" in again.out, again.err
        for index, row in enumerate(rows[14:16]):
            for name in ("ir", "vis"):
                store.put(f"images/{name}/{index}.png", row[name]["bytes"])
        result = refusion("fuse-dataset", store.uri("images"), store.uri("files"), *common, "--images")
        assert result.code == 0, result.err
        Image.open(io.BytesIO(store.get("files/images/000000/000000001.png"))).verify()
        result = refusion("fuse-dataset", store.uri("nothing"), store.uri("x"), *common)
        assert result.code == 2
        assert "neither Parquet files nor pairs" in result.err
        assert "secret" not in result.err
