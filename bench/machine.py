"""What the figures were measured on, and whether anything else was running meanwhile."""

import os
import platform
import re
import resource
from pathlib import Path

# What decides the speed of a product, as Linux spells it.
FEATURES = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
    "asimd", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip
# Above this share of the cores in other hands, the figures deserve no trust.
OTHERS_MAX = 0.05


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    """The fields of the first processor; empty where there is no /proc."""
    file = Path("/proc/cpuinfo")
    first = file.read_text().split("\n\n")[0] if file.exists() else ""
    pairs = [line.split(":", 1) for line in first.splitlines() if ":" in line]
    return {key.strip(): value.strip() for key, value in pairs}


def processor() -> str:
    """Name, model number (names can be vague), cores, and the features that matter."""
    info = _cpuinfo()
    name = info.get("model name") or platform.processor() or platform.machine()
    number = (
        f" (family {info['cpu family']}, model {info['model']})" if "cpu family" in info else ""
    )
    flags = (info.get("flags") or info.get("Features") or "").split()
    features = " ".join(feature for feature in FEATURES if feature in flags)
    return f"{name}{number}, {cores()} cores, {features}".rstrip(", ")


def directory_name() -> str:
    """The processor as the name of a directory."""
    info = _cpuinfo()
    name = info.get("model name") or platform.processor() or platform.machine()
    words = re.sub(r"\(R\)|\(TM\)|CPU|Processor|@.*", " ", name)
    if "cpu family" in info:
        words += f" family {info['cpu family']} model {info['model']}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


class Others:
    """The share of the cores' time that went to other processes, or was taken by the host, since
    it was made; `None` where the system does not say."""

    def __init__(self) -> None:
        self.before = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float] | None:
        """Seconds of all cores: in total, not idle, and of our finished children."""
        file = Path("/proc/stat")
        if not file.exists():
            return None
        # user, nice, system, idle, iowait, irq, softirq, steal
        ticks = [int(word) for word in file.read_text().split("\n", 1)[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        busy = sum(ticks) - ticks[3] - ticks[4]
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(ticks) / second, busy / second, sum(u.ru_utime + u.ru_stime for u in used)

    def share(self) -> float | None:
        now = self._read()
        if now is None or self.before is None:
            return None
        total, busy, ours = (after - before for after, before in zip(now, self.before, strict=True))
        return max(0.0, busy - ours) / total if total > 0 else None
