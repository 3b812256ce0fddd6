"""From the rendering of a head to a picture as people take, scan or paint them, with its labels."""
