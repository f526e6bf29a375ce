"""What differs between providers, as data: one TOML profile each, and the code that reads messages by it."""
