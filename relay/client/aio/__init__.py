"""The client with an event loop. What is written here is written for both: see `relay.client`."""
