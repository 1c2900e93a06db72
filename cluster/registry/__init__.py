"""What features exist: definitions that a user writes, and the checked catalog made from them. Pure."""
