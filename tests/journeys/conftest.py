"""Stages for this room."""

from tests.support.stage_fixtures import (  # noqa: F401
    journey_url,
    open_stage,
    silence,
    sqlite_first,
    sqlite_stage,
    sqlite_stage_url,
    stage,
    stage_postgres,
    stage_postgres_url,
    stage_template,
)
