#!/usr/bin/env python3
"""Assembles a single-layer OCI image from files, without a registry and without a build daemon.

Owns: the bytes of the archive, which are the same for the same files. Never: what belongs into an image.

usage: mkimage.py OUT.tar REF ENTRYPOINT_JSON SPEC...
  SRC:DEST[:MODE]   a file, or a folder with everything in it; DEST is absolute in the image
  -:DEST[:MODE]     an empty folder
  link=TARGET:DEST  a symbolic link
Import it with: ctr -a SOCKET -n k8s.io images import OUT.tar
"""
import gzip
import hashlib
import io
import json
import os
import platform
import sys
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# The user "nonroot" of distroless images.
USER = "65532:65532"


def add_file(layer: tarfile.TarFile, source: str, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    entry.size = os.path.getsize(source)
    with open(source, "rb") as content:
        layer.addfile(entry, content)


def add_folder(layer: tarfile.TarFile, source: str, name: str) -> None:
    for folder, folders, files in os.walk(source):
        folders.sort()
        inside = os.path.normpath(os.path.join(name, os.path.relpath(folder, source)))
        for file in sorted(files):
            path = os.path.join(folder, file)
            if os.path.islink(path):
                add_link(layer, os.readlink(path), os.path.join(inside, file))
            else:
                add_file(layer, path, os.path.join(inside, file), 0o755 if os.access(path, os.X_OK) else 0o644)


def add_link(layer: tarfile.TarFile, target: str, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
    layer.addfile(entry)


def add(layer: tarfile.TarFile, spec: str) -> None:
    source, destination, *rest = spec.split(":")
    name = destination.strip("/")
    mode = int(rest[0], 8) if rest else 0o755
    if source == "-":
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        layer.addfile(entry)
    elif source.startswith("link="):
        add_link(layer, source.removeprefix("link="), name)
    elif os.path.isdir(source):
        add_folder(layer, source, name)
    else:
        add_file(layer, source, name, mode)


def main() -> int:
    if len(sys.argv) < 5:
        print(__doc__, file=sys.stderr)
        return 2
    out, reference, entrypoint, specs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4:]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for spec in specs:
            add(layer, spec)
    plain = buffer.getvalue()
    blobs = {}

    def blob(content: bytes, media: str) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}

    packed = blob(gzip.compress(plain, 1, mtime=0), LAYER)
    config = blob(json.dumps({
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()), "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": ["PATH=/bin"], "User": USER},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()]},
    }).encode(), CONFIG)
    manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [packed]}).encode(), MANIFEST)
    manifest["annotations"] = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1],
    }
    index = {"schemaVersion": 2, "manifests": [manifest]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
    files |= {f"blobs/sha256/{digest}": content for digest, content in blobs.items()}
    with tarfile.open(out, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    print(reference, manifest["digest"], packed["size"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
