"""The client without an event loop, made from `relay.client.aio`: see there, and in `relay.client`."""
