"""The machinery under the stages: what is due is claimed, worked on, kept leased and settled. It knows no stage.

Scheduler   reads due keys into lanes, picks by the stage's policy, claims by primary key, hands over to the crew
Crew        the work in flight in this process: slots reserved, tasks running, leases extended
Duty        a function that is run again and again (housekeeping, replay planning, heartbeat)
Supervisor  starts all of it, restarts what fails, stops it in order
"""
