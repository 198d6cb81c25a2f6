"""Which power rails of a board add up to what goes into it."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

__all__ = ["TotalRule", "total_rule"]

# A board is known by the names of its rails. The first line whose rails are all there holds, so a rail that measures
# the whole input comes before any sum, and nothing that one rail feeds is added to that rail.
# Sources: energymon's jetson/JetsonPowerRails.md (github.com/energymon/energymon, commit b24da67c); for AGX Orin
# NVIDIA's developer forum, topic 223111; lines of real boards in tests/agent/data/tegrastats.
_TOTALS = (
    ("VDD_IN",),  # TX1, TX2, Xavier NX, Orin NX, Orin Nano: the input of the module
    ("POM_5V_IN",),  # Nano
    ("VIN",),  # AGX Thor, on releases that read its INA238: the input of the board
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier: six rails side by side
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin; VDDQ_VDD2_1V8AO is fed from VIN_SYS_5V0
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),  # AGX Thor otherwise
)


class TotalRule(NamedTuple):
    """The rails whose sum is the input power. Without any, `reason` says why."""

    rails: Tuple[str, ...]
    reason: Optional[str] = None

    @property
    def text(self) -> Optional[str]:
        """As records spell it: "VDD_IN", "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0"; None without rails."""
        return "+".join(self.rails) or None


def total_rule(names: Sequence[str]) -> TotalRule:
    """The rule for a board with rails of these names. A rail that is needed and there twice leaves no rule."""
    for rails in _TOTALS:
        if set(rails) <= set(names):
            twice = [rail for rail in rails if names.count(rail) > 1]
            if twice:
                return TotalRule((), "there are several rails called " + twice[0])
            return TotalRule(rails)
    if not names:
        return TotalRule((), "there are no power rails")
    missing = _one_missing(names)
    if missing:
        return TotalRule((), "rail {} is missing".format(missing[0]))
    return TotalRule((), "of no known board are the rails " + ", ".join(sorted(set(names))))


def _one_missing(names: Sequence[str]) -> List[str]:
    """The one rail that a sum lacks."""
    for rails in _TOTALS:
        absent = [rail for rail in rails if rail not in names]
        if len(rails) > 1 and len(absent) == 1:
            return absent
    return []
