"""The browser app: jobs one after the other, and a page for them."""
