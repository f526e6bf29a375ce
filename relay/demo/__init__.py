"""Stand-ins: the four seed providers and a subscriber that behave like the real ones, and `relay demo`, the show.

The demo, the tests and the playground use the same stand-ins, so what the demo shows is what the tests hold.
"""
