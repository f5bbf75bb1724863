"""Ray: every run is a task, on a Ray of its own on this machine or on a cluster that is there already.

Without an address (``--address``, or Ray's own ``RAY_ADDRESS``) a Ray is started here, on the loopback interface alone, and stopped at the
end. With ``auto`` or ``host:port`` the command joins a cluster, and must run on one of its nodes (Ray's rule). All nodes need ELBOard,
installed alike, and the folder of runs on a file system that they share.

Ray places the tasks and says which of them died; everything else is decided by claims and records, as under the other engines, so Ray's own
retries are off. The driver may be killed: Ray then ends its tasks, and the next sweep goes on from their checkpoints. What held a claim on
another host is waited for until the claim's lease is over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.sweeps.capacity import Capacity, cores, fitted, gpus
from elboard.sweeps.engines import Engine
from elboard.sweeps.plan import Plan
from elboard.sweeps.work import Outcome, Outcomes, Resources, Watch, processes

STORE = 128 * 2**20  # bytes of shared memory; nothing large goes through Ray
OWN = {  # variables of a Ray that is started here
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # it listens on 127.0.0.1; otherwise on the address of the default route
    "RAY_worker_niceness": "0",  # as workers of the local engine; Ray's own is 15
}


@contextlib.contextmanager
def _connected(address: str, jobs: int | None) -> Iterator[bool]:
    """A connection to Ray: the caller's where there is one, else to ``address``, else to a Ray started here for as long as this lasts (then
    the value is True)."""
    for name, value in ({} if address else OWN).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise UserError("the engine ray needs Ray: pip install 'elboard[ray]'") from None
    if ray.is_initialized():
        yield False
        return
    _knock(address)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    own = {"num_cpus": jobs or cores(), "num_gpus": len(gpus()) or None, "include_dashboard": False, "object_store_memory": STORE}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address or "local", **quiet, **({} if address else own))
    except Exception as error:  # of many classes, a bare Exception among them
        words = f"no connection to Ray{f' at {address}' if address else ''}: {' '.join(str(error).split())[:300]}"
        untold = address and "RAY_AUTH_MODE" not in os.environ
        hint = "; a cluster of `ray start` wants its token: set RAY_AUTH_MODE=token" if untold else ""
        raise UserError(words + hint) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)  # Ray has set its own, which exits at once
    try:
        yield not address
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray itself tries for minutes, with many words. Raises UserError where nothing listens."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"no Ray at {address} ({error}); give the host:port of its head node, or auto") from None


class Ray(Engine):
    """The command waits and shows progress."""

    def run(self, plan: Plan, how: Mapping[str, Any], force: bool, watch: Watch) -> list[Outcome]:
        """Raises UserError for what Ray cannot do, and KeyboardInterrupt after running tasks have saved checkpoints."""
        for spec in [*plan.runs, *(search.template for search in plan.searches)]:
            if spec.config["trainer"]["num_nodes"] > 1:
                raise UserError(f"{spec.method} on {spec.task}: trainer.num_nodes is more than 1, which the engine slurm alone can do")
        address = how["address"] or os.environ.get("RAY_ADDRESS", "")
        if "://" in address:
            raise UserError(f"--address {address}: Ray Client is not supported; give host:port, on a node of the cluster")
        outcomes = Outcomes(plan.runs, plan.known, force, watch, plan.frontier())
        if outcomes.todo or plan.searches:
            with _connected("" if address == "local" else address, how["jobs"]) as own:
                from elboard.sweeps.engines.ray_tasks import Tasks

                Tasks(outcomes, plan.tracker, _needs(plan, own), None if own else how["jobs"]).run()
        return outcomes.in_order()


def _needs(plan: Plan, own: bool) -> Callable[[RunSpec], Resources]:
    """What a run needs: if the plan says nothing one core, and one GPU where the cluster has any; as many as it has processes.

    More than this machine has is cut down to it. A cluster may grow, so there such runs wait, which is said.
    """
    import ray

    nodes, said = [Counter(node["Resources"]) for node in ray.nodes() if node["Alive"]], set()

    def need_of(spec: RunSpec) -> Resources:
        trainer, together = spec.config["trainer"], processes(spec)
        on_gpu = trainer["accelerator"] != "cpu" and any(node["GPU"] for node in nodes)
        need = plan.resources.get(spec.key, Resources(gpus=float(on_gpu)))
        if together > 1:
            need = replace(need, cpus=max(need.cpus, together), gpus=max(need.gpus, float(together * on_gpu)))
        if own:
            machine = Capacity(int(nodes[0]["CPU"]), {str(i): 1.0 for i in range(int(nodes[0]["GPU"]))})
            return replace(fitted(need, machine), memory=min(need.memory, nodes[0]["memory"] / 2**30))
        asked = Counter({"CPU": need.cpus, "GPU": need.gpus, "memory": need.memory * 2**30})
        if need not in said and not any(asked <= node for node in nodes):
            said.add(need)
            words = f"{need.cpus} cores, {need.gpus:g} GPUs and {need.memory:g} GiB"
            print(f"{spec.method} on {spec.task} needs {words}, more than any node has now: it waits for one", file=sys.stderr)
        return need

    return need_of
