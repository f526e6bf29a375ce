"""What people get wrong when they set Relay up, looked for before it costs them a result.

findings   what a check says
local      the settings, the keys, the directory, the disk: nobody is asked
stored     the database
outside    what answers at the addresses: the relay itself, and whatever is in front of it
"""
