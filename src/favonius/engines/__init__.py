"""Everything that answers a prompt, behind `types.Engine`."""
