"""The nouns of the management API, one file each: what comes in, what goes out, what is done."""
