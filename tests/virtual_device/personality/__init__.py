"""What a Jetson TX2 with JetPack 4.6.1 has and Debian has not, as files that are put onto each virtual device."""

import shutil
from pathlib import Path

__all__ = ["put_personality"]

_HERE = Path(__file__).parent
_PLACES = {
    "etc/environment": 0o644,
    "etc/nv_tegra_release": 0o644,
    "etc/nvpmodel.conf": 0o644,
    "etc/edgesynth-simulated": 0o644,
    "etc/ssh/sshd_config.d/keys-only.conf": 0o644,
    "etc/systemd/system/tx2-hardware.service": 0o644,
    "usr/bin/jetson_clocks": 0o755,
    "usr/bin/tegrastats": 0o755,
    "usr/lib/tx2/hardware.py": 0o644,
    "usr/lib/tx2/power_model.py": 0o644,
    "usr/local/lib/python3.6/site-packages/tx2_faults.py": 0o644,
    "usr/sbin/nvpmodel": 0o755,
}


def put_personality(root: Path) -> None:
    """Into a root directory that has not been booted yet."""
    for place, mode in _PLACES.items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_HERE / target.name, target)
        target.chmod(mode)
    wants = root / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "tx2-hardware.service").symlink_to("/etc/systemd/system/tx2-hardware.service")
    (root / "var/lib/nvpmodel").mkdir()
    (root / "var/lib/nvpmodel/status").write_text("pmode:0003 fmode:quiet\n")
