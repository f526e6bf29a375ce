"""The composition root: Settings become a running Relay. The only folder that sees everything.

floor      clock, database, configuration, bindings, payloads: what all stages stand on
hands      per working stage: slots, tasks, leases and a scheduler (only in a process that works)
serving    what is listened on; observing: what /metrics shows
relay      the stages and the edge put together; start, stop
run        a process around it: signals, the ready line, the exit code
"""

from relay.app.relay import Relay
from relay.app.run import run_serve, run_worker

__all__ = ["Relay", "run_serve", "run_worker"]
