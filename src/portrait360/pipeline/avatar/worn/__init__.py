"""What an avatar wears on its head: hats, wound cloth and glasses."""
