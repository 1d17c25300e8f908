"""The limit of the operating system on open files, of which every connection is one."""

import resource

_OTHER_FILES = 512
"""For the runtime, the jobs, spooled uploads and gRPC."""


def allow_open_files(connections: int) -> None:
    """Raises this process's limit as far as it may, if so many connections would not fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
