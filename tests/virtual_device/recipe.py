"""The root file system that all virtual devices share: Debian, and Python 3.6 with ONNX Runtime.

It is built once, by debootstrap from the mirror that apt is set up for, and kept under the hash of its recipe.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from tests.virtual_device.places import ROOTS, VirtualDeviceError, locked, run

__all__ = ["find_python36", "root_file_system"]

_PACKAGES = ("dbus", "libpam-systemd", "openssh-server", "sudo", "systemd-sysv")
# Nothing here is ever upgraded by itself, and nobody sits at a console.
_NOT_WANTED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "getty.target",
)  # fmt: skip
# The last that have wheels for Python 3.6, and the last pip that knows these wheels (JetPack 4 has no newer Python).
_PIP = "pip==21.3.1"
_WHEELS = ("numpy==1.19.5", "onnxruntime==1.10.0")
_NOT_COPIED = (
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtledemo",
    "site-packages",
    "__pycache__",
    "_tkinter*",
)
# What is compiled and linked. ONNX Runtime itself does not start without a /sys.
_PROOF = "import bz2, ctypes, hashlib, lzma, sqlite3, ssl, zlib, numpy"


def root_file_system(say=lambda text: None) -> Path:
    """The folder, built first if need be: some minutes, told to `say`. Read only. Raises VirtualDeviceError."""
    python = find_python36()
    root = ROOTS / _recipe_hash(python)
    if root.exists():
        return root
    with locked(ROOTS):
        if root.exists():
            return root
        start_s = time.monotonic()
        say("building the root file system, once: some minutes")
        partial = ROOTS / f"{root.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        _bootstrap(partial, python)
        _put_python(partial, python)
        partial.rename(root)
        say(f"built {root} in {time.monotonic() - start_s:.0f} s")
    return root


def find_python36() -> Path | None:
    """Where a Python 3.6 is: EDGESYNTH_PYTHON36, pyenv's or the one on the PATH."""
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("3.6*/bin/python3.6"))
    found = os.environ.get("EDGESYNTH_PYTHON36") or (pyenv[-1] if pyenv else shutil.which("python3.6"))
    return Path(found).resolve() if found else None


def _recipe_hash(python: Path | None) -> str:
    if python is None:
        raise VirtualDeviceError("no Python 3.6 to put onto the device: name one by EDGESYNTH_PYTHON36, or use pyenv")
    digest = hashlib.sha256(str(python).encode())
    digest.update(" ".join(_mirror()).encode())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:16]


def _mirror() -> tuple[str, str]:
    """The suite of this machine's own system, and the address that apt has it from."""
    system = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), flags=re.MULTILINE))
    suite = system.get("VERSION_CODENAME", "")
    form = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    for line in run("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines():
        release, component, address = line.split(maxsplit=2)
        if (release, component) == (suite, "main"):
            return suite, address
    raise VirtualDeviceError(f"apt has no source of '{suite} main': the system of the device is bootstrapped from it")


def _bootstrap(root: Path, python: Path) -> None:
    suite, address = _mirror()
    packages = sorted({*_PACKAGES, *_libraries_of(python)})
    run("debootstrap", "--variant=minbase", "--include=" + ",".join(packages), suite, root, address)
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(root / folder)
    (root / "var" / "cache" / "apt" / "archives" / "partial").mkdir(parents=True)
    (root / "var" / "lib" / "apt" / "lists").mkdir()
    for key in (root / "etc" / "ssh").glob("ssh_host_*"):  # each device has its own
        key.unlink()
    (root / "etc" / "machine-id").write_text("")
    (root / "etc" / "fstab").write_text("")
    run("chroot", root, "systemctl", "--quiet", "mask", *_NOT_WANTED)
    run("chroot", root, "systemctl", "--quiet", "set-default", "multi-user.target")
    run("chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "nvidia")
    for group in ("video", "sudo"):
        run("chroot", root, "usermod", "--append", "--groups", group, "nvidia")


def _libraries_of(python: Path) -> set[str]:
    """The packages of the libraries that this Python and its compiled modules are linked to."""
    modules = [path for path in _library_of(python).glob("lib-dynload/*.so") if "tkinter" not in path.name]
    linked = run("ldd", python, *modules)
    names = {Path(path).name for path in re.findall(r"=> (/(?:usr/)?lib/\S+)", linked)}
    owners = run("dpkg-query", "--search", *(f"*/{name}" for name in sorted(names)))
    return {line.split(":")[0] for line in owners.splitlines() if not line.startswith("diversion")}


def _library_of(python: Path) -> Path:
    return python.parent.parent / "lib" / "python3.6"


def _put_python(root: Path, python: Path) -> None:
    """The interpreter under /usr/local, as /usr/bin/python3 too, with the engine's wheels."""
    prefix = root / "usr" / "local"
    library = prefix / "lib" / "python3.6"
    shutil.copytree(_library_of(python), library, ignore=shutil.ignore_patterns(*_NOT_COPIED), symlinks=True)
    shutil.copy2(python, prefix / "bin" / "python3.6")
    for shared in python.parent.parent.glob("lib/libpython3*.so*"):
        shutil.copy2(shared, prefix / "lib" / shared.name, follow_symlinks=False)
    run("chroot", root, "ldconfig")
    for folder in ("usr/bin", "usr/local/bin"):
        (root / folder / "python3").unlink(missing_ok=True)
        (root / folder / "python3").symlink_to("/usr/local/bin/python3.6")
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "venv", folder)
        pip = [Path(folder) / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
        run(*pip, "install", _PIP)
        run(*pip, "install", "--only-binary=:all:", "--target", library / "site-packages", *_WHEELS)
    with (library / "site-packages" / "onnxruntime" / "__init__.py").open("a") as file:
        file.write("\nfrom tx2_faults import InferenceSession  # of the personality: faults that a test may ask for\n")
    run("chroot", root, "python3", "-m", "compileall", "-q", "/usr/local/lib/python3.6")
    run("chroot", root, "python3", "-c", _PROOF)
