"""Build a static page that steps the environment in a browser: `python docs/browser/build.py build/browser`.

Pyodide is CPython compiled to WebAssembly. By default the page loads it from `PYODIDE`; `--pyodide FOLDER` copies a release of
Pyodide into the page, which then needs no other host. `--lab` adds JupyterLite with a notebook.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
VERSION = "0.27.7"
PYODIDE = f"https://cdn.jsdelivr.net/pyodide/v{VERSION}/full/"
"""The address of a release of Pyodide, where `--pyodide` names none."""
CORE = ("pyodide.js", "pyodide.mjs", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
PACKAGES = ("numpy", "sqlite3")
"""Compiled packages of the release: numpy, and the module of the standard library that Pyodide ships apart."""
LAB = ("comm",)
"""What the kernel of JupyterLite needs besides its own wheels and those of Pyodide."""
PAGE = ("index.html", "page.js", "worker.js", "race.py")


def build_wheels(folder: Path) -> list[str]:
    """Build or download the wheels of the core; return the names of those that are pure Python.

    Raises:
        SystemExit: A dependency other than numpy is compiled, so a browser cannot run it.
    """
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as every:
        command = [sys.executable, "-m", "pip", "wheel", "-q", "-w", every, "-c", str(ROOT / "constraints.txt"), str(ROOT)]
        subprocess.run(command, check=True)  # noqa: S603 - our own words
        for wheel in sorted(Path(every).glob("*.whl")):
            if wheel.name.endswith("-none-any.whl"):
                shutil.copy(wheel, folder)
            elif not wheel.name.startswith("numpy-"):
                sys.exit(f"{wheel.name} is compiled, and Pyodide's {', '.join(PACKAGES)} do not hold it")
    return sorted(wheel.name for wheel in folder.glob("*.whl"))


def copy_release(release: Path, folder: Path) -> None:
    """Copy the files of a release of Pyodide that the page needs, and check compiled packages by the hashes of its lock file.

    Raises:
        SystemExit: A file is missing, of another version, or not the one of the lock file.
    """
    lock = json.loads((release / "pyodide-lock.json").read_text(encoding="utf-8"))
    if lock["info"]["version"] != VERSION:
        sys.exit(f"{release} holds Pyodide {lock['info']['version']}, the page is written for {VERSION}")
    hashes = {package["file_name"]: package["sha256"] for package in lock["packages"].values()}
    needed = {lock["packages"][name]["file_name"] for name in PACKAGES}
    folder.mkdir(parents=True)
    for name in (*CORE, *sorted(needed), *(name for name in hashes if name not in needed and (release / name).is_file())):
        if not (release / name).is_file():
            sys.exit(f"{release} holds no {name}, which Pyodide {VERSION} has")
        content = (release / name).read_bytes()
        if name in hashes and hashlib.sha256(content).hexdigest() != hashes[name]:
            sys.exit(f"{release / name} is not the file that the lock file of Pyodide {VERSION} names")
        (folder / name).write_bytes(content)


def build_lab(out: Path, pyodide: str) -> None:
    """Build JupyterLite with the notebooks of this folder; it needs jupyterlite-core and jupyterlite-pyodide-kernel."""
    address = pyodide if "://" in pyodide else f"../../{pyodide}"  # from the pages of JupyterLite, two folders down
    kernel = {"@jupyterlite/pyodide-kernel-extension:kernel": {"pyodideUrl": f"{address}pyodide.js"}}
    settings = {"jupyter-lite-schema-version": 0, "jupyter-config-data": {"litePluginSettings": kernel}}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "jupyter-lite.json").write_text(json.dumps(settings), encoding="utf-8")
        notebooks = [f"--contents={path}" for path in sorted(Path(__file__).parent.resolve().glob("*.ipynb"))]
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, "-c", str(ROOT / "constraints.txt"), *LAB]
        subprocess.run(pip, check=True)  # noqa: S603 - our own words
        found = sorted([*(out / "wheels").glob("*.whl"), *Path(folder).glob("*.whl")])
        wheels = [f"--piplite-wheels={path}" for path in found]
        command = [sys.executable, "-m", "jupyter", "lite", "build", f"--output-dir={out / 'lab'}", *notebooks, *wheels]
        subprocess.run(command, check=True, cwd=folder)  # noqa: S603 - our own words


def main() -> None:
    """Build the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the page; an existing one is replaced")
    parser.add_argument("--pyodide", default=PYODIDE, help="address of a release of Pyodide, or a folder that holds one")
    parser.add_argument("--lab", action="store_true", help="add JupyterLite with a notebook")
    args = parser.parse_args()
    if args.out.exists():
        shutil.rmtree(args.out)
    wheels = build_wheels(args.out / "wheels")
    pyodide = args.pyodide if "://" in args.pyodide else "pyodide/"
    if pyodide != args.pyodide:
        copy_release(Path(args.pyodide), args.out / "pyodide")
    for name in PAGE:
        shutil.copy(Path(__file__).parent / name, args.out)
    settings = {"pyodide": f"{pyodide.rstrip('/')}/", "packages": PACKAGES, "wheels": wheels}
    (args.out / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    if args.lab:
        build_lab(args.out.resolve(), settings["pyodide"])
    print(f"python -m http.server --bind 127.0.0.1 --directory {args.out}   # then open the address that it prints")


if __name__ == "__main__":
    main()
