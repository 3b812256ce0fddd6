"""Animals and statues."""
