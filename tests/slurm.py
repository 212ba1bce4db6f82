"""A real Slurm cluster of two nodes with a core each, on this machine, for tests."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "srun", "sinfo")
missing = [
    name for name in NEEDED if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
]

_CONFIGURATION = """
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthInfo=socket={directory}/munge.socket
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SwitchType=switch/none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=n1,n2 Default=YES
"""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def cluster(directory: Path) -> Iterator[dict[str, str]]:
    """Yields the environment in which srun finds the cluster. `directory` has a short name."""
    (directory / "state").mkdir(parents=True)
    key = directory / "munge.key"
    key.write_bytes(os.urandom(64))
    key.chmod(0o400)
    configuration = directory / "slurm.conf"
    configuration.write_text(
        _CONFIGURATION.format(host=socket.gethostname(), ports=_free_ports(3), directory=directory)
    )
    environment = {
        **os.environ,
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
        "SLURM_CONF": str(configuration),
    }
    munged = ["munged", "--foreground", "--force", f"--socket={directory}/munge.socket"]
    munged += [f"--{name}-file={directory}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    nodes = [["slurmd", "-D", "-N", name] for name in ("n1", "n2")]
    with open(directory / "out.log", "wb") as log:
        processes = [
            subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            for command in (munged, ["slurmctld", "-D"], *nodes)
        ]
        try:
            _wait_until_idle(environment)
            yield environment
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


def _wait_until_idle(environment: dict[str, str]) -> None:
    for _ in range(60):
        answer = subprocess.run(
            ["sinfo", "--noheader", "--format=%t %D"],
            env=environment,
            capture_output=True,
            text=True,
        )
        if answer.stdout.strip() == "idle 2":
            return
        time.sleep(0.5)
    raise RuntimeError(f"the cluster did not start: {answer.stdout}{answer.stderr}")
