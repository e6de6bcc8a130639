"""Which machine this is, for the record of a measurement."""

import os
import platform
from pathlib import Path


def machine():
    """The processor's name and how many cores this process may use: a dict of JSON types."""
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        name = next((x.split(": ")[1] for x in info.read_text().splitlines() if x.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": name, "cores": cores, "system": platform.system()}
