"""The image that bench/images and bench/layers load: 8 layers, more than 300 MB of files of this machine."""

import os
import pathlib
import shutil

from harness import CACHE, ENV, run


def big_image(work):
    """Archives of one image: its layers plain, as docker save writes them, and packed. The files are the machine's own."""
    cached = CACHE / "images/bench-300.tar", CACHE / "images/bench-300-gzip.tar"
    if all(path.exists() for path in cached):
        return cached
    run(ENV / "rootfs.sh", "--busybox", f"{work}/root")
    roots = [f"{work}/root"]
    files = []
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/include", "/usr/share", "/usr/lib/python3", "/usr/bin"):
        for path, _, names in os.walk(folder):
            files += [pathlib.Path(path, name) for name in sorted(names)]
    files = [path for path in files if path.is_file() and not path.is_symlink() and path.stat().st_size < 20 << 20]
    limit = 46 << 20
    for number in range(7):
        root, size = pathlib.Path(f"{work}/layer{number}"), 0
        while size < limit and files:
            path = files.pop(0)
            target = root / f"layer{number}" / str(path).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            size += path.stat().st_size
        roots.append(str(root))
    for path, options in zip(cached, ([], ["--gzip"])):
        run(ENV / "oci-image.sh", *options, "--tag", "bench:1", "--cmd", "sh", *roots, f"{path}.new", timeout=900)
        os.rename(f"{path}.new", path)
    return cached
