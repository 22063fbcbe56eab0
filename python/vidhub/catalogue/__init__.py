"""What exists: units' cameras, their rules and ids."""
