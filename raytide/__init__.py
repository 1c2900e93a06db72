"""The thin public face: what users import, the client, and the CLI."""
