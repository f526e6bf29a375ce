"""The `relay` command. Thin: it reads arguments and prints; noun groups speak HTTP to a relay.

Nothing heavy is imported before a command runs, so that `relay --help` answers at once.
"""
