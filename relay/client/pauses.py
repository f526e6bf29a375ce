"""How each of the two clients waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from relay.clock import SystemClock

AsyncPause = Callable[[float], Awaitable[None]]
Pause = Callable[[float], None]

async_pause: AsyncPause = SystemClock().sleep
pause: Pause = SystemClock().pause
