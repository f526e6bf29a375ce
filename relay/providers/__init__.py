"""Providers are data: one TOML file each, and pure functions that read and write a provider's messages by it.

`loader` makes a `profile` (parts: `callback`, `fetch`, `submit`, `call`) of a file, `starting` a file to start from;
`reading` is about notifications and answers to fetches, `pages` about what lies behind one more hop or in pages,
`submitting` about jobs sent through Relay (`splice` and `multipart` put things in), `cancelling` about cancelling them.
"""
