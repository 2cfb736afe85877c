"""``--cluster`` and ``--redis``: what is given, who answers there, and the campaign that follows from it.

Rule 1: whatever is wrong is told before the search begins, every fault at once.
Rule 2: the extra ``cluster`` may be missing: it is imported here, and only if it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from machines.addresses import faults_of, shown
from machines.given import refuse

if TYPE_CHECKING:
    from distributed import Client

    from machines.campaign import Campaign
    from machines.searching import Plan
    from machines.totals import Totals


def check_given(cluster: str | None, redis: str | None, workers: str, cases: int | None) -> None:
    """Refuse what cannot be meant, and what needs something that is not installed."""
    faults = faults_of(cluster, redis)
    if cluster is not None and workers != "all":
        faults.append("--workers: a cluster has the workers that it has")
    if redis is not None and cases is not None:
        faults.append("--redis: where --cases are counted, nothing is shared: give --seconds")
    needed = {"distributed": cluster, "redis": redis}
    for name in (name for name, given in needed.items() if given is not None):
        try:
            importlib.import_module(name)
        except ImportError:
            faults.append(f"{name} is not installed: pip install 'workflow-lockstep[cluster]'")
    if faults:
        refuse("; ".join(faults))
    if redis is not None:
        from machines.sharing import Link  # noqa: PLC0415  # the extra may be missing

        if why := Link(redis).ping():
            refuse(f"--redis {shown(redis)}", f"no server answers: {why}")


@contextlib.contextmanager
def cluster_at(address: str | None, plan: Plan) -> Iterator[Client | None]:
    """The cluster at an address, if one is given."""
    if address is None:
        yield None
        return
    from machines.cluster import ClusterError, connected  # noqa: PLC0415  # the extra may be missing

    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(connected(address, plan.target, plan.redis))
        except ClusterError as error:
            refuse(f"--cluster {address}", error)
        yield client


def with_workers(plan: Plan, client: Client | None) -> Plan:
    """The plan with as many workers as the cluster has."""
    if client is None:
        return plan
    from machines.cluster import threads  # noqa: PLC0415  # the extra may be missing

    return replace(plan, workers=threads(client))


def campaign_of(
    plan: Plan, client: Client | None, watch: Callable[[Totals], None], first: Mapping[int, int]
) -> Campaign:
    """The campaign, here or on a cluster."""
    from machines.campaign import Campaign  # noqa: PLC0415  # Hypothesis takes half a second to import

    if client is None:
        return Campaign(plan, watch, first)
    from machines.cluster import ClusterCampaign  # noqa: PLC0415  # the extra may be missing

    return ClusterCampaign(plan, client, watch, first)
